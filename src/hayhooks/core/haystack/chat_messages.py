"""The messages of an OpenAI chat call as Haystack messages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from haystack.dataclasses import ChatMessage, ToolCall

from hayhooks.core.haystack.input_items import messages_of


def chat_messages_of(messages: Iterable[Any]) -> list[ChatMessage]:
    """One message for each of *messages*, in order, but for those that say nothing."""
    found: list[ChatMessage] = []
    calls: dict[str, ToolCall] = {}  # by id, for the results that come later
    for message in messages:
        role = _field(message, "role")
        if role == "tool":
            found.append(_result(message, calls))
            continue
        said = messages_of([message])
        made = [_call(call) for call in _field(message, "tool_calls") or ()] if role == "assistant" else []
        if made:
            calls |= {call.id: call for call in made if call.id}
            said = [ChatMessage.from_assistant(said[0].text if said else None, tool_calls=made)]
        found += said
    return found


def _call(call: Any) -> ToolCall:
    function = _field(call, "function")
    arguments = _field(function, "arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = {}
    name, call_id = _field(function, "name"), _field(call, "id")
    return ToolCall(str(name or ""), arguments if isinstance(arguments, dict) else {}, id=call_id or None)


def _result(message: Any, calls: Mapping[str, ToolCall]) -> ChatMessage:
    call_id = str(_field(message, "tool_call_id") or "")
    # A client may cut its history in the midst of it, and keep the result alone.
    origin = calls.get(call_id) or ToolCall(str(_field(message, "name") or ""), {}, id=call_id or None)
    said = messages_of([{"role": "assistant", "content": _field(message, "content")}])
    return ChatMessage.from_tool(tool_result=(said[0].text if said else None) or "", origin=origin)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
