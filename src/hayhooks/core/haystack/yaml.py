"""Pipelines in YAML: Haystack's own format plus what the pipeline's users give and get."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from haystack.marshal import YamlMarshaller

OWN_KEYS = (
    "inputs", "outputs", "chat", "streaming_components", "result", "description", "skip_mcp", "skip_mcp_chat",
    "prompts", "public", "required_scope",
)  # fmt: skip
_CHAT_INPUTS = ("messages", "query", "parameters")
_CHAT_KEYS = (*_CHAT_INPUTS, "answer", "sources")


class InvalidYAML(ValueError):
    """The YAML is no pipeline, or declares inputs and outputs that the pipeline does not have."""


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """What the ``chat`` section says: names of declared inputs and outputs, None where it leaves it to convention."""

    messages: str | None = None  # the input that gets the conversation
    query: str | None = None  # the input that gets the text of the user's last message
    parameters: str | None = None  # the input that gets the request's model parameters
    answer: str | None = None  # the output that is said
    sources: str | Literal[False] | None = None  # the output whose documents are shown; False for none


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """What a pipeline YAML says."""

    definition: Mapping[str, Any]  # Haystack's part
    inputs: Mapping[str, tuple[tuple[str, str], ...]]  # name: its (component, socket) targets
    outputs: Mapping[str, tuple[str, str]]  # name: (component, socket)
    chat: ChatSpec | Literal[False] | None = None  # None: by convention, if that finds a way
    streaming_components: Sequence[str] | Literal["all"] | None = None
    result: Literal["components", "outputs"] | None = None  # what /run answers with
    description: str | None = None
    skip_mcp: bool = False
    skip_mcp_chat: bool = False
    prompts: Mapping[str, Any] = field(default_factory=dict)  # name: component, or what there is to say of it
    public: bool | None = None  # whether runs ask for no key; None: as the server says
    required_scope: str | None = None  # that a caller's key must have

    @property
    def is_declared(self) -> bool:
        """Whether the YAML says what goes in or comes out."""
        return bool(self.inputs or self.outputs)


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
    # Haystack makes a tag that asks for an object a TypeError; a day that no month has is a ValueError.
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
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
    for key in ("skip_mcp", "skip_mcp_chat"):
        if not isinstance(document.get(key), bool | None):
            raise InvalidYAML(f"'{key}' must be true or false.")
    public, required_scope = document.get("public"), document.get("required_scope")
    if public is not None and not isinstance(public, bool):
        raise InvalidYAML("'public' must be true or false.")
    if required_scope is not None and not isinstance(required_scope, str):
        raise InvalidYAML("'required_scope' must be text.")
    return PipelineSpec(
        definition={key: value for key, value in document.items() if key not in OWN_KEYS},
        inputs=_inputs(document.get("inputs") or {}),
        outputs=_outputs(document.get("outputs") or {}),
        chat=_chat(document.get("chat")),
        streaming_components=streaming,
        result=result,
        description=description,
        skip_mcp=bool(skip_mcp),
        prompts=_prompts(document.get("prompts") or {}),
        skip_mcp_chat=bool(document.get("skip_mcp_chat")),
        public=public,
        required_scope=required_scope,
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


def _prompts(declared: Any) -> dict[str, Any]:
    if not isinstance(declared, dict):
        raise InvalidYAML("'prompts' must map names to components.")
    return {str(name): said for name, said in declared.items()}


def _inputs(declared: Any) -> dict[str, tuple[tuple[str, str], ...]]:
    if not isinstance(declared, dict):
        raise InvalidYAML("'inputs' must map names to 'component.socket' or a list of them.")
    resolved = {}
    for name, targets in declared.items():
        listed = [targets] if isinstance(targets, str) else targets
        if not _is_list_of_str(listed) or not listed:
            raise InvalidYAML(f"Input {name!r} must be 'component.socket' or a list of them.")
        if name in ("", "self"):
            raise InvalidYAML(f"An input cannot be called {name!r}.")
        resolved[str(name)] = tuple(_target("Input", name, target) for target in listed)
    return resolved


def _outputs(declared: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(declared, dict):
        raise InvalidYAML("'outputs' must map names to 'component.socket'.")
    return {str(name): _target("Output", name, target) for name, target in declared.items()}


def _chat(said: Any) -> ChatSpec | Literal[False] | None:
    if said is None or said is False:
        return said
    if said is True:
        return ChatSpec()
    if not isinstance(said, dict):
        raise InvalidYAML("'chat' must be true, false, or say which inputs and outputs a chat uses.")
    unknown = [key for key in said if key not in _CHAT_KEYS]
    if unknown:
        raise InvalidYAML(f"'chat' has no {unknown[0]!r}. It may say: {', '.join(_CHAT_KEYS)}.")
    for key, name in said.items():
        if name is not None and not isinstance(name, str) and not (key == "sources" and name is False):
            raise InvalidYAML(f"'{key}' of 'chat' must be the name of an {'in' if key in _CHAT_INPUTS else 'out'}put.")
    return ChatSpec(**said)


def _target(what: str, name: Any, target: Any) -> tuple[str, str]:
    component, dot, socket = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not dot or not component or not socket:
        raise InvalidYAML(f"{what} {name!r} must be 'component.socket', not {target!r}.")
    return component, socket


def _is_list_of_str(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
