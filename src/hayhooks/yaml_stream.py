"""One streamed chat turn of a pipeline YAML: what its components stream, else its answer; then its sources."""

from collections.abc import Callable, Iterator
from typing import Any

from hayhooks.callbacks import sources_on_pipeline_end
from hayhooks.core.haystack.answer import answer_of, text_of
from hayhooks.core.haystack.convert import is_streaming_chunk
from hayhooks.core.haystack.streaming import PipelineStream, StreamItem
from hayhooks.core.haystack.streaming_hooks import Hooks, OnPipelineEnd
from hayhooks.core.haystack.yaml_pipeline import YAMLPipeline


class ChatStream(Iterator[Any]):
    """The items of the turn, in order. Iterate it, or call `drive`; closing it stops the pipeline at its next chunk.

    What was streamed is the answer. When it held no text, because the answer's branch has no component that streams
    or the component did not, the answer follows as a whole.
    """

    def __init__(
        self,
        loaded: YAMLPipeline,
        data: dict[str, Any],
        stream: PipelineStream | None,
        on_pipeline_end: OnPipelineEnd | None = None,
    ) -> None:
        """Nothing runs before the first item is asked for; *stream* is None when nothing in the pipeline streams."""
        self._loaded = loaded
        self._data = data
        self._stream = stream
        self._hooks = Hooks(on_pipeline_end=on_pipeline_end)
        self._has_streamed = False
        self._has_said_text = False
        self._items = self._iterate()

    def drive(self, put: Callable[[Any], None]) -> None:
        """Run the pipeline in this thread and hand every item to *put*, as `PipelineStream.drive` does."""
        if self._stream is not None:

            def noting(item: StreamItem) -> None:
                self._note(item)
                put(item)

            self._stream.drive(noting)
        for item in self._rest():
            put(item)

    def close(self) -> None:
        """Stop the pipeline at its next chunk, without waiting for that."""
        if self._stream is not None:
            self._stream.close()

    def __next__(self) -> Any:
        return next(self._items)

    def _iterate(self) -> Iterator[Any]:
        for item in self._stream or ():
            self._note(item)
            yield item
        yield from self._rest()

    def _note(self, item: StreamItem) -> None:
        if is_streaming_chunk(item):
            self._has_streamed = True
            self._has_said_text = self._has_said_text or bool(item.content)

    def _rest(self) -> Iterator[Any]:
        loaded = self._loaded
        plan = loaded.chat
        assert plan is not None
        result = self._stream.result if self._stream is not None else loaded.run(self._data)
        if not self._has_said_text:
            answer = answer_of(loaded.output(plan.answer, result))
            # Reasoning and tool calls have been streamed, when anything was.
            said = text_of(answer) if self._has_streamed else answer
            if said != "":
                yield said
        yield from self._hooks.end_items(result)
        if plan.sources is not None:
            yield from sources_on_pipeline_end(loaded.output(plan.sources, result))
