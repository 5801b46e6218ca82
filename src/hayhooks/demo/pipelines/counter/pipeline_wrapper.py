"""A pipeline that counts, a number every tenth of a second, until somebody stops it."""

import time
from collections.abc import Iterator
from typing import Any

from haystack import Pipeline, component
from haystack.dataclasses import StreamingChunk
from haystack.dataclasses.streaming_chunk import StreamingCallbackT, select_streaming_callback

from hayhooks import BasePipelineWrapper, streaming_generator

FAR = 3000  # five minutes


@component
class Counter:
    """Counts, and notes when it began and ended."""

    def __init__(self) -> None:
        self.counted = 0
        self.is_counting = False

    @component.output_types(counted=int)
    def run(self, far: int, streaming_callback: StreamingCallbackT | None = None) -> dict[str, int]:
        """Count to *far*."""
        callback = select_streaming_callback(None, streaming_callback, requires_async=False) or _ignore
        self.is_counting = True
        try:
            for number in range(1, far + 1):
                self.counted = number
                callback(StreamingChunk(f"{number} "))
                time.sleep(0.1)
        finally:
            self.is_counting = False
        return {"counted": far}


class PipelineWrapper(BasePipelineWrapper):
    """Chat counts; ``run_api`` tells how far."""

    def setup(self) -> None:
        """Build the pipeline of one component."""
        self.counter = Counter()
        self.pipeline = Pipeline()
        self.pipeline.add_component("counter", self.counter)

    def run_api(self) -> dict[str, Any]:
        """Tell whether a count is under way, and the last number."""
        return {"is_counting": self.counter.is_counting, "counted": self.counter.counted}

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[Any]:
        """Count for a long time."""
        return streaming_generator(self.pipeline, {"counter": {"far": FAR}})


def _ignore(chunk: StreamingChunk) -> None:
    pass
