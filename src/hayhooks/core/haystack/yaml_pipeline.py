"""A pipeline YAML loaded: its declared inputs and outputs resolved against the sockets of its components."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from hayhooks.core.haystack.platform import Pipeline
from hayhooks.core.haystack.schema import teach_pydantic
from hayhooks.core.haystack.sockets import needs_value, takes_none
from hayhooks.core.haystack.streaming_targets import capable_components
from hayhooks.core.haystack.yaml import InvalidYAML, PipelineSpec
from hayhooks.core.haystack.yaml_chat import ChatPlan, plan_chat


@dataclass(frozen=True, slots=True, eq=False)
class YAMLPipeline:
    """A loaded pipeline with its declared inputs and outputs resolved against its components."""

    spec: PipelineSpec
    pipeline: Any
    signature: inspect.Signature
    include_outputs_from: frozenset[str] = field(default_factory=frozenset)
    chat: ChatPlan | None = None  # None when it takes no part in a chat
    unclear: str | None = None  # why not, when it looks as if it could
    can_stream: bool = False
    output_types: Mapping[str, Any] = field(default_factory=dict)  # of the declared outputs
    _adapters: dict[str, TypeAdapter[Any]] = field(default_factory=dict)

    def data_for(self, arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The pipeline's ``data`` for these arguments; a list of targets fans one value out."""
        if not self.spec.is_declared:
            return dict(arguments)
        data: dict[str, dict[str, Any]] = {}
        for name, targets in self.spec.inputs.items():
            value = arguments.get(name)
            if value is None and (name not in arguments or self.signature.parameters[name].default is None):
                continue  # not given: each socket has its own default, or a component that feeds it
            for component, socket in targets:
                data.setdefault(component, {})[socket] = value
        return data

    def read(self, name: str, value: bytes) -> Any:
        """The JSON text *value* as the declared input *name* takes it; the rules are those of ``/run``.

        Raises:
            pydantic.ValidationError: It does not fit.
        """
        adapter = self._adapters.get(name)
        if adapter is None:
            # Kept here and nowhere else: its types may belong to code that goes with this deployment.
            adapter = self._adapters[name] = TypeAdapter(self.signature.parameters[name].annotation)
        return adapter.validate_json(value, strict=True)

    def is_required(self, name: str) -> bool:
        """Whether a run needs the declared input *name*."""
        return self.signature.parameters[name].default is inspect.Parameter.empty

    def run(self, data: dict[str, Any]) -> dict[str, Any]:
        """Run the pipeline; the result has the outputs of every component that is declared. Blocks."""
        result: dict[str, Any] = self.pipeline.run(data, include_outputs_from=set(self.include_outputs_from))
        return result

    def output(self, name: str, result: Mapping[str, Any]) -> Any:
        """The declared output *name* in the pipeline's result; None when its branch was not taken."""
        component, socket = self.spec.outputs[name]
        return result.get(component, {}).get(socket)

    def declared_outputs(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's result under its declared output names; a branch not taken gives null."""
        return {name: self.output(name, result) for name in self.spec.outputs}


def load(spec: PipelineSpec) -> YAMLPipeline:
    """Load the pipeline and resolve what the YAML declares.

    Haystack's own allowlist for deserialization stays in force. Blocks.

    Raises:
        InvalidYAML: A declared target does not exist or cannot work; the message lists what there is.
    """
    teach_pydantic()
    pipeline = Pipeline.from_dict(dict(spec.definition))
    nodes = pipeline.graph.nodes
    takes = {name: nodes[name]["input_sockets"] for name in nodes}
    gives = {name: nodes[name]["output_sockets"] for name in nodes}
    _check_targets(spec, takes, gives)
    _check_streaming(spec, pipeline)
    inputs = {
        name: [takes[component][socket] for component, socket in targets] for name, targets in spec.inputs.items()
    }
    if spec.is_declared:
        _check_runs(spec, pipeline)
        parameters = [_parameter(name, sockets) for name, sockets in inputs.items()]
    else:
        # Nothing declared: components are the fields, as Pipeline.run takes them.
        parameters = [inspect.Parameter("components", inspect.Parameter.VAR_KEYWORD, annotation=dict[str, Any])]
    outputs = {name: gives[component][socket].type for name, (component, socket) in spec.outputs.items()}
    chat = plan_chat(spec, pipeline, inputs, outputs)
    return YAMLPipeline(
        spec=spec,
        pipeline=pipeline,
        signature=inspect.Signature(parameters),
        include_outputs_from=frozenset(component for component, _ in spec.outputs.values()),
        chat=chat if isinstance(chat, ChatPlan) else None,
        unclear=chat if isinstance(chat, str) else None,
        can_stream=bool(capable_components(pipeline)),
        output_types=outputs,
    )


def _check_targets(spec: PipelineSpec, takes: Mapping[str, Any], gives: Mapping[str, Any]) -> None:
    """Every target exists, and no socket is the target of two inputs."""
    taken: dict[tuple[str, str], str] = {}
    for name, targets in spec.inputs.items():
        for component, socket in targets:
            if socket not in takes.get(component, {}):
                raise InvalidYAML(
                    f"Input {name!r} goes to {component}.{socket}, "
                    f"{_wrong(component, socket, takes, gives, 'an output')} {_known(takes)}"
                )
            earlier = taken.setdefault((component, socket), name)
            if earlier != name:
                raise InvalidYAML(f"The inputs {earlier!r} and {name!r} both go to {component}.{socket}.")
        if len({*targets}) < len(targets):
            raise InvalidYAML(f"Input {name!r} goes to the same socket twice.")
    for name, (component, socket) in spec.outputs.items():
        if socket not in gives.get(component, {}):
            raise InvalidYAML(
                f"Output {name!r} comes from {component}.{socket}, "
                f"{_wrong(component, socket, gives, takes, 'an input')} {_known(gives)}"
            )


def _wrong(component: str, socket: str, right: Mapping[str, Any], other: Mapping[str, Any], what: str) -> str:
    if component not in right:
        return "which does not exist: there is no such component."
    if socket in other[component]:
        return f"which is {what} of that component."
    return "which does not exist."


def _known(sockets: Mapping[str, Any]) -> str:
    names = [f"{component}.{socket}" for component, found in sockets.items() for socket in found]
    return "There are: " + ", ".join(names[:40]) + (", ..." if len(names) > 40 else ".")


def _check_streaming(spec: PipelineSpec, pipeline: Any) -> None:
    names = spec.streaming_components
    if names is None or names == "all":
        return
    unknown = [name for name in names if name not in pipeline.graph.nodes]
    if unknown:
        raise InvalidYAML(f"'streaming_components' names {unknown[0]!r}, which is no component of the pipeline.")
    capable = capable_components(pipeline)
    mute = [name for name in names if name not in capable]
    if mute:
        those = f"Those that can: {', '.join(capable)}." if capable else "No component of the pipeline can."
        raise InvalidYAML(f"'streaming_components' names {mute[0]!r}, which cannot stream. {those}")


def _check_runs(spec: PipelineSpec, pipeline: Any) -> None:
    """A run with every declared input has all that the pipeline needs, and nothing twice.

    Haystack decides: it also makes sockets for lists take several values, which they must before the first run.
    """
    everything: dict[str, dict[str, Any]] = {}
    for targets in spec.inputs.values():
        for component, socket in targets:
            everything.setdefault(component, {})[socket] = None
    try:
        pipeline.validate_input(everything)
    except ValueError as error:
        raise InvalidYAML(f"The pipeline could not run with the inputs that are declared. {error}") from None


def _parameter(name: str, sockets: Sequence[Any]) -> inspect.Parameter:
    """A request field that fans out: optional only when every socket has a default, or a component that feeds it."""
    # Of several types the one that says most: an Any would let a document pass as a dictionary.
    told = min(sockets, key=lambda socket: (socket.type is Any, not needs_value(socket), takes_none(socket.type)))
    default = inspect.Parameter.empty if any(map(needs_value, sockets)) else _default(sockets)
    # Of a wrapper's hook, ``headers: Any`` means the request's headers; here it is an input like every other.
    annotation = object if name == "headers" and told.type is Any else told.type
    return _Input(name, annotation, default)


class _Input(inspect.Parameter):
    """A keyword whose name may be any text, as YAML's are: ``my-query``, ``class``."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        super().__init__("input", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        self._told = name

    @property
    def name(self) -> str:
        """As the YAML says it."""
        return self._told


def _default(sockets: Sequence[Any]) -> Any:
    """The default that all sockets share; None where they do not."""
    first = sockets[0].default_value
    is_shared = isinstance(first, (str, int, float)) and all(socket.default_value == first for socket in sockets)
    return first if is_shared or (len(sockets) == 1 and not sockets[0].is_mandatory) else None
