"""Pipelines in YAML: Haystack's own format plus what the pipeline's users give and get."""

import inspect
import json
import keyword
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from haystack.marshal import YamlMarshaller

from hayhooks.core.haystack.platform import Pipeline

OWN_KEYS = ("inputs", "outputs", "streaming_components", "result", "description", "skip_mcp")


class InvalidYAML(ValueError):
    """The YAML is no pipeline, or declares inputs and outputs that the pipeline does not have."""


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """What a pipeline YAML says."""

    definition: Mapping[str, Any]  # Haystack's part
    inputs: Mapping[str, tuple[tuple[str, str], ...]]  # name: its (component, socket) targets
    outputs: Mapping[str, tuple[str, str]]  # name: (component, socket)
    streaming_components: Sequence[str] | Literal["all"] | None = None
    result: Literal["components", "outputs"] | None = None  # what /run answers with
    description: str | None = None
    skip_mcp: bool = False

    @property
    def is_declared(self) -> bool:
        """Whether the YAML says what goes in or comes out."""
        return bool(self.inputs or self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class YAMLPipeline:
    """A loaded pipeline with its declared inputs and outputs resolved against its components."""

    spec: PipelineSpec
    pipeline: Any
    signature: inspect.Signature
    include_outputs_from: frozenset[str] = field(default_factory=frozenset)

    def data_for(self, arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The pipeline's ``data`` for these arguments; a list of targets fans one value out."""
        if not self.spec.is_declared:
            return dict(arguments)
        data: dict[str, dict[str, Any]] = {}
        for name, value in arguments.items():
            for component, socket in self.spec.inputs.get(name, ()):
                data.setdefault(component, {})[socket] = value
        return data

    def declared_outputs(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's result under its declared output names; a branch not taken gives null."""
        return {name: result.get(component, {}).get(socket) for name, (component, socket) in self.spec.outputs.items()}


def read_spec(source: str) -> PipelineSpec:
    """What the YAML in *source* says, before anything is loaded.

    Raises:
        InvalidYAML: With the line where the YAML breaks, or the key that is wrong.
    """
    try:
        document = YamlMarshaller().unmarshal(source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidYAML(f"Not valid YAML: {error.problem or error}{where}") from None
    except (yaml.YAMLError, TypeError) as error:  # Haystack makes a tag that asks for an object a TypeError
        raise InvalidYAML(f"Not valid YAML: {error.__cause__ or error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("components"), dict):
        raise InvalidYAML("Not a pipeline: a pipeline YAML is a mapping with the key 'components'.")
    result = document.get("result")
    if result not in (None, "components", "outputs"):
        raise InvalidYAML("'result' must be 'outputs' or 'components'.")
    streaming = document.get("streaming_components")
    if streaming is not None and streaming != "all" and not _is_list_of_str(streaming):
        raise InvalidYAML("'streaming_components' must be 'all' or a list of component names.")
    description, skip_mcp = document.get("description"), document.get("skip_mcp")
    if description is not None and not isinstance(description, str):
        raise InvalidYAML("'description' must be text.")
    if skip_mcp is not None and not isinstance(skip_mcp, bool):
        raise InvalidYAML("'skip_mcp' must be true or false.")
    return PipelineSpec(
        definition={key: value for key, value in document.items() if key not in OWN_KEYS},
        inputs=_inputs(document.get("inputs") or {}),
        outputs=_outputs(document.get("outputs") or {}),
        streaming_components=streaming,
        result=result,
        description=description,
        skip_mcp=bool(skip_mcp),
    )


def with_keys(source: str, values: Mapping[str, Any]) -> str:
    """The YAML *source*, which can be read, with these top-level keys: at its end, or replacing those it has."""
    if not values:
        return source
    marshaller = YamlMarshaller()
    document = marshaller.unmarshal(source)
    if not values.keys() & document.keys():
        # The author's text stays as it is, unless it is a form that has no end to write to, as JSON.
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in values.items()]
        longer = source + ("" if source.endswith("\n") else "\n") + "".join(lines)
        with suppress(yaml.YAMLError):
            if marshaller.unmarshal(longer) == {**document, **values}:
                return longer
    return marshaller.marshal({**document, **values})


def load(spec: PipelineSpec) -> YAMLPipeline:
    """Load the pipeline and resolve its declared inputs and outputs.

    Haystack's own allowlist for deserialization stays in force. Blocks.

    Raises:
        InvalidYAML: A declared target does not exist; the message lists what does.
    """
    pipeline = Pipeline.from_dict(dict(spec.definition))
    sockets = pipeline.inputs(include_components_with_connected_inputs=True)
    parameters = []
    for name, targets in spec.inputs.items():
        found = [_input_socket(name, component, socket, sockets) for component, socket in targets]
        parameters.append(_parameter(name, found))
    produced = pipeline.outputs(include_components_with_connected_outputs=True)
    for name, (component, socket) in spec.outputs.items():
        _check_output(name, component, socket, produced)
    if not spec.is_declared:
        # Nothing declared: components are the fields, as Pipeline.run takes them.
        parameters = [inspect.Parameter("components", inspect.Parameter.VAR_KEYWORD, annotation=dict[str, Any])]
    if spec.streaming_components not in (None, "all"):
        unknown = [name for name in spec.streaming_components or () if name not in spec.definition["components"]]
        if unknown:
            raise InvalidYAML(f"'streaming_components' names {unknown[0]!r}, which is no component of the pipeline.")
    return YAMLPipeline(
        spec=spec,
        pipeline=pipeline,
        signature=inspect.Signature(parameters),
        include_outputs_from=frozenset(component for component, _ in spec.outputs.values()),
    )


def _inputs(declared: Any) -> dict[str, tuple[tuple[str, str], ...]]:
    if not isinstance(declared, dict):
        raise InvalidYAML("'inputs' must map names to 'component.socket' or a list of them.")
    resolved = {}
    for name, targets in declared.items():
        listed = [targets] if isinstance(targets, str) else targets
        if not _is_list_of_str(listed) or not listed:
            raise InvalidYAML(f"Input {name!r} must be 'component.socket' or a list of them.")
        if not str(name).isidentifier() or keyword.iskeyword(str(name)) or name == "self":
            raise InvalidYAML(f"Input {name!r} must be a name of letters, digits and '_', and no word of Python's.")
        resolved[str(name)] = tuple(_target("Input", name, target) for target in listed)
    return resolved


def _outputs(declared: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(declared, dict):
        raise InvalidYAML("'outputs' must map names to 'component.socket'.")
    return {str(name): _target("Output", name, target) for name, target in declared.items()}


def _target(what: str, name: Any, target: Any) -> tuple[str, str]:
    component, dot, socket = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not dot or not component or not socket:
        raise InvalidYAML(f"{what} {name!r} must be 'component.socket', not {target!r}.")
    return component, socket


def _input_socket(name: str, component: str, socket: str, sockets: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = sockets.get(component, {}).get(socket)
    if found is None:
        raise InvalidYAML(f"Input {name!r} goes to {component}.{socket}, which does not exist. {_known(sockets)}")
    return found


def _check_output(name: str, component: str, socket: str, produced: Mapping[str, Any]) -> None:
    if socket not in produced.get(component, {}):
        raise InvalidYAML(f"Output {name!r} comes from {component}.{socket}, which does not exist. {_known(produced)}")


def _known(sockets: Mapping[str, Any]) -> str:
    names = [f"{component}.{socket}" for component, found in sockets.items() for socket in found]
    return "There are: " + ", ".join(names[:40]) + "."


def _parameter(name: str, sockets: Sequence[Mapping[str, Any]]) -> inspect.Parameter:
    """A request field that fans out: optional only when every socket has a default."""
    mandatory = [socket for socket in sockets if socket["is_mandatory"]]
    first = (mandatory or list(sockets))[0]
    # Of a wrapper's hook, ``headers: Any`` means the request's headers; here it is an input like every other.
    annotation = object if name == "headers" and first["type"] is Any else first["type"]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=annotation,
        default=inspect.Parameter.empty if mandatory else first.get("default_value"),
    )


def _is_list_of_str(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
