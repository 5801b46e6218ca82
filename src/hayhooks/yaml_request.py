"""A chat request as the declared inputs of a pipeline YAML."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import to_json

from hayhooks.core.errors import InvalidRequest
from hayhooks.core.haystack.platform import runs_own_tools
from hayhooks.core.haystack.streaming_targets import StreamingComponents
from hayhooks.core.haystack.yaml_pipeline import YAMLPipeline
from hayhooks.messages import chat_messages_from_openai, get_last_user_message

if TYPE_CHECKING:
    from haystack.dataclasses import ChatMessage

# Fields that always speak of the request itself.
_RESERVED = ("model", "messages", "stream", "stream_options")
_ROLES = ("system", "developer", "user", "assistant", "tool")
# What a generator of Haystack takes as generation_kwargs, under the names of the API.
_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
    "frequency_penalty", "logit_bias", "reasoning_effort", "verbosity", "response_format",
)  # fmt: skip
_TOOL_PARAMETERS = ("tools", "tool_choice", "parallel_tool_calls")


def chat_arguments(
    loaded: YAMLPipeline,
    messages: list[dict[str, Any]],
    body: Mapping[str, Any],
    streaming: StreamingComponents | None = None,
) -> dict[str, Any]:
    """The declared inputs for a chat request: the conversation where the plan wants it, fields of the same name.

    *streaming* names the components that will stream.

    Raises:
        InvalidRequest: A message or a field does not fit; it says which.
    """
    plan = loaded.chat
    assert plan is not None
    arguments = _fields(loaded, body)
    if plan.messages is not None:
        arguments[plan.messages] = _conversation(messages)
    if plan.query is not None:
        text = get_last_user_message(messages)
        if text is not None:
            arguments[plan.query] = text
        elif plan.messages is None or loaded.is_required(plan.query):
            raise _invalid("messages", "There is no user message with text in it.", "missing")
    if plan.parameters is not None:
        given = _model_parameters(loaded, body, streaming)
        if given:
            arguments[plan.parameters] = {**given, **(arguments.get(plan.parameters) or {})}
    return arguments


def _model_parameters(
    loaded: YAMLPipeline, body: Mapping[str, Any], streaming: StreamingComponents | None
) -> dict[str, Any]:
    assert loaded.chat is not None
    # The tools of a caller would take the place of an agent's own.
    names = _PARAMETERS if runs_own_tools(loaded.pipeline) else (*_PARAMETERS, *_TOOL_PARAMETERS)
    given = {name: body[name] for name in names if body.get(name) is not None}
    takers = [component for component, _ in loaded.spec.inputs[loaded.chat.parameters or ""]]
    if streaming and (streaming == "all" or all(taker in streaming for taker in takers)):
        # Some protocols always tell the usage. Models report that of a stream when asked, and refuse to be asked else.
        given["stream_options"] = {"include_usage": True}
    return given


def _conversation(messages: list[dict[str, Any]]) -> list["ChatMessage"]:
    for place, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            raise _invalid(f"messages.{place}", f"'messages[{place}].role' must be one of {', '.join(_ROLES)}.", "enum")
        # Haystack lets it pass, and the generator stumbles over it.
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise _invalid(f"messages.{place}.tool_call_id", "A tool message needs its 'tool_call_id'.", "missing")
    try:
        conversation = chat_messages_from_openai(messages)
    except (AttributeError, TypeError, ValueError):  # parts or tool calls of a form that the API does not have
        raise _invalid("messages", "'messages' cannot be read as the messages of a chat.", "invalid") from None
    if not conversation:
        raise _invalid("messages", "'messages' says nothing.", "invalid")
    return conversation


def _fields(loaded: YAMLPipeline, body: Mapping[str, Any]) -> dict[str, Any]:
    assert loaded.chat is not None
    taken = (*_RESERVED, *loaded.chat.filled)
    fields = {}
    for name in loaded.spec.inputs:
        if name in taken or body.get(name) is None:
            continue
        with _refused(name):
            fields[name] = loaded.read(name, to_json(body[name]))
    return fields


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Turn what pydantic says of the field *name* into an error for the caller."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise _invalid(where, f"{where}: {first['msg']}", first["type"]) from None


def _invalid(where: str, message: str, kind: str) -> InvalidRequest:
    return InvalidRequest(message, [{"loc": ["body", *where.split(".")], "msg": message, "type": kind}])
