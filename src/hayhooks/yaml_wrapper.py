"""A pipeline wrapper made from nothing but a pipeline YAML."""

import inspect
from pathlib import Path
from typing import Any, Literal, Self

from hayhooks.callbacks import default_on_tool_call_end, default_on_tool_call_start
from hayhooks.core.errors import InvalidRequest
from hayhooks.core.haystack.answer import answer_of
from hayhooks.core.haystack.inputs import coerce_pipeline_inputs
from hayhooks.core.haystack.streaming import StreamingComponents, streaming_generator
from hayhooks.core.haystack.streaming_targets import default_components
from hayhooks.core.haystack.yaml import read_spec
from hayhooks.core.haystack.yaml_pipeline import YAMLPipeline, load
from hayhooks.events import PipelineEvent
from hayhooks.wrapper import BasePipelineWrapper
from hayhooks.yaml_request import chat_arguments
from hayhooks.yaml_stream import ChatStream


class YAMLPipelineWrapper(BasePipelineWrapper):
    """Serves a pipeline YAML: its ``inputs`` are the request's fields, its ``outputs`` say what comes back.

    It answers chats when its inputs and outputs, or its ``chat`` section, say how. A subclass may override any hook.
    Make one with ``from_yaml`` or ``from_file``. The YAML is read at once, the pipeline is loaded by ``setup``.
    """

    def __init__(self, source_code: str, description: str | None = None) -> None:
        self._spec = read_spec(source_code)
        self._loaded: YAMLPipeline | None = None
        self.description = description or self._spec.description or ""
        self.skip_mcp = self._spec.skip_mcp
        self.prompts = dict(self._spec.prompts)
        self.skip_mcp_chat = self._spec.skip_mcp_chat
        self.public = self._spec.public
        self.required_scope = self._spec.required_scope
        self.streaming_components = self._spec.streaming_components
        self.result_default: Literal["components", "outputs"] = "components"

    @classmethod
    def from_yaml(cls, source_code: str, description: str | None = None) -> Self:
        """A wrapper around the YAML text *source_code*.

        Raises:
            ValueError: The YAML is no pipeline; the message says where it breaks.
        """
        return cls(source_code, description)

    @classmethod
    def from_file(cls, path: str | Path, description: str | None = None) -> Self:
        """A wrapper around the YAML file at *path*. Raises as ``from_yaml``, and OSError."""
        return cls(Path(path).read_text(encoding="utf-8"), description)

    @property
    def is_declared(self) -> bool:
        """Whether the YAML declares inputs or outputs."""
        return self._spec.is_declared

    @property
    def run_api_signature(self) -> inspect.Signature:
        """The request model, from the sockets that the declared inputs go to. After ``setup``."""
        assert self._loaded is not None
        return self._loaded.signature

    @property
    def component_outputs(self) -> dict[str, tuple[str, str]]:
        """Where the declared outputs stand in what ``run_api`` returns, when that goes by component."""
        return {} if self._gives_declared else dict(self._spec.outputs)

    @property
    def output_types(self) -> dict[str, Any]:
        """What the declared outputs are. After ``setup``."""
        return dict(self._loaded.output_types) if self._loaded is not None else {}

    @property
    def _gives_declared(self) -> bool:
        return (self._spec.result or self.result_default) == "outputs"

    @property
    def can_chat(self) -> bool:
        """Whether the pipeline takes part in a chat. After ``setup``."""
        return self._loaded is not None and self._loaded.chat is not None

    @property
    def unclear_chat(self) -> str | None:
        """Why it does not, when the pipeline looks as if it could."""
        return self._loaded.unclear if self._loaded is not None else None

    def setup(self) -> None:
        """Load the pipeline.

        Raises:
            ValueError: A declared input or output does not exist, or the ``chat`` section cannot work.
        """
        self._loaded = load(self._spec)
        self.pipeline = self._loaded.pipeline

    def run_api(self, /, **arguments: Any) -> dict[str, Any]:
        """Run the pipeline with the declared inputs.

        Returns ``{component: {socket: value}}``, or ``{output name: value}`` when the YAML says ``result: outputs``.
        """
        loaded = self._loaded
        assert loaded is not None
        data = loaded.data_for(arguments)
        if not self.is_declared:
            data = coerce_pipeline_inputs(loaded.pipeline, data)
        result = loaded.run(data)
        if self._gives_declared and self._spec.outputs:
            return loaded.declared_outputs(result)
        return result

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Run the pipeline with the conversation: its answer, or a stream of it when the request asks for one.

        Further fields of *body* that have the name of a declared input fill it.
        """
        del model
        loaded = self._loaded
        if loaded is None or loaded.chat is None:
            raise NotImplementedError("The pipeline takes no part in chats.")
        streaming = self._streaming(loaded) if body.get("stream") else None
        data = loaded.data_for(chat_arguments(loaded, messages, body, streaming))
        if not body.get("stream"):
            return answer_of(loaded.output(loaded.chat.answer, loaded.run(data)))
        stream = None
        if streaming:
            stream = streaming_generator(
                loaded.pipeline,
                data,
                on_tool_call_start=self.on_tool_call_start,
                on_tool_call_end=self.on_tool_call_end,
                on_reasoning=getattr(self, "on_reasoning", None),
                # Which documents are shown is for the YAML to say; where it does not, for show_sources.
                on_pipeline_end=_says_nothing if loaded.chat.sources is not None else None,
                streaming_components=streaming,
                include_outputs_from=set(loaded.include_outputs_from),
            )
        return ChatStream(loaded, data, stream, getattr(self, "on_pipeline_end", None))

    def on_tool_call_start(self, tool_name: str, arguments: dict[str, Any], tool_call_id: str | None) -> Any:
        """What a chat stream says when the pipeline calls a tool: a status."""
        return default_on_tool_call_start(tool_name, arguments, tool_call_id)

    def on_tool_call_end(self, tool_name: str, arguments: dict[str, Any], result: str, error: bool) -> Any:
        """What it says when the tool has answered: the end of that status, nothing in the text of the answer."""
        said = default_on_tool_call_end(tool_name, arguments, result, error)
        return [item for item in said if isinstance(item, PipelineEvent)]

    def run_pipeline(self, data: dict[str, Any]) -> dict[str, Any]:
        """Run the pipeline as Haystack does: inputs by component in, outputs by component out."""
        try:
            inputs = coerce_pipeline_inputs(self.pipeline, data)
            self.pipeline.validate_input(inputs)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return self.pipeline.run(inputs)  # type: ignore[no-any-return]

    def _streaming(self, loaded: YAMLPipeline) -> StreamingComponents | None:
        """What streams: what the YAML says, else the server's setting, else what says the answer."""
        if not loaded.can_stream or loaded.chat is None:
            return None
        speaker = loaded.chat.speaker
        return self.streaming_components or default_components(loaded.pipeline) or ([speaker] if speaker else None)


def _says_nothing(result: Any) -> None:
    """In the place of the default that shows all documents of *result*."""
    del result
