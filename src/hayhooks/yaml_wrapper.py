"""A pipeline wrapper made from nothing but a pipeline YAML."""

import inspect
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.errors import InvalidRequest
from hayhooks.core.haystack.inputs import coerce_pipeline_inputs
from hayhooks.core.haystack.yaml import YAMLPipeline, load, read_spec
from hayhooks.wrapper import BasePipelineWrapper


class YAMLPipelineWrapper(BasePipelineWrapper):
    """Serves a pipeline YAML: its ``inputs`` are the request's fields, its ``outputs`` say what comes back.

    Make one with ``from_yaml`` or ``from_file``. The YAML is read at once, the pipeline is loaded by ``setup``.
    """

    def __init__(self, source_code: str, description: str | None = None) -> None:
        self._spec = read_spec(source_code)
        self._loaded: YAMLPipeline | None = None
        self.description = description or self._spec.description or ""
        self.skip_mcp = self._spec.skip_mcp
        self.streaming_components = self._spec.streaming_components
        self.result_default: Literal["components", "outputs"] = "components"

    @classmethod
    def from_yaml(cls, source_code: str, description: str | None = None) -> "YAMLPipelineWrapper":
        """A wrapper around the YAML text *source_code*.

        Raises:
            ValueError: The YAML is no pipeline; the message says where it breaks.
        """
        return cls(source_code, description)

    @classmethod
    def from_file(cls, path: str | Path, description: str | None = None) -> "YAMLPipelineWrapper":
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

    def setup(self) -> None:
        """Load the pipeline.

        Raises:
            ValueError: A declared input or output does not exist.
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
        result: dict[str, Any] = loaded.pipeline.run(data, include_outputs_from=set(loaded.include_outputs_from))
        if (self._spec.result or self.result_default) == "outputs" and self._spec.outputs:
            return loaded.declared_outputs(result)
        return result

    def run_pipeline(self, data: dict[str, Any]) -> dict[str, Any]:
        """Run the pipeline as Haystack does: inputs by component in, outputs by component out."""
        try:
            inputs = coerce_pipeline_inputs(self.pipeline, data)
            self.pipeline.validate_input(inputs)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return self.pipeline.run(inputs)  # type: ignore[no-any-return]
