"""Input items: with ids, as the API lists them, and as the messages of a chat hook."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hayhooks.surfaces.openai.responses_namespaces import chat_functions, chat_name

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs", "call": "call"}
# What the Responses API calls otherwise, or only itself has.
_NOT_OF_CHAT = frozenset(
    {"input", "instructions", "previous_response_id", "conversation", "background", "include", "text", "reasoning",
     "truncation", "prompt", "max_tool_calls", "tools", "tool_choice"}
)  # fmt: skip


def new_id(kind: str) -> str:
    """A new id for an item of that type, or for a ``call``."""
    return f"{_PREFIXES.get(kind, 'item')}_{uuid.uuid4().hex}"


def items_of(given: Any) -> list[dict[str, Any]]:
    """The ``input`` of a request as a list of items, each with a type and otherwise as the caller sent it."""
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [item if "type" in item else {"type": "message", **item} for item in given]


def with_ids(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """*items*, each with an id, as they are kept."""
    return [item if item.get("id") else {**item, "id": new_id(item["type"])} for item in items]


def listed(item: Mapping[str, Any]) -> dict[str, Any]:
    """A kept item as the API lists it: a message's content is parts."""
    if item.get("type") != "message":
        return {**item, "status": "completed"} if item.get("type") in _PREFIXES and "status" not in item else {**item}
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    content = item.get("content")
    parts = content if isinstance(content, list) else [content or ""]
    texts: list[dict[str, Any]] = [{"type": kind, "text": part} if isinstance(part, str) else part for part in parts]
    full = [{"annotations": [], **part} if part.get("type") == "output_text" else part for part in texts]
    return {"status": "completed", **item, "content": full}


def chat_messages(items: Sequence[Mapping[str, Any]], instructions: Any = None) -> list[dict[str, Any]]:
    """The items as messages of a chat completion, after the instructions; kinds that chat does not know are left out.

    Function calls join the assistant's text before them in one message, as models ask for.
    """
    messages: list[dict[str, Any]] = []
    if isinstance(instructions, str):
        if instructions:
            messages.append({"role": "system", "content": instructions})
    elif instructions:
        messages += chat_messages(items_of(instructions))
    is_turn_open = False  # whether the last message is the assistant's and may get calls
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            role = "system" if item.get("role") == "developer" else item.get("role")
            messages.append({"role": role, "content": _content(item.get("content"), role)})
            is_turn_open = role == "assistant"
        elif kind in ("function_call", "custom_tool_call"):
            if not is_turn_open:
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(_call(item))
            is_turn_open = True
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = _content(item.get("output"), "tool")
            messages.append({"role": "tool", "tool_call_id": str(item.get("call_id") or ""), "content": output})
            is_turn_open = False
    return messages


def chat_body(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The request as a chat hook knows it: nested tools, ``response_format``, ``max_tokens``."""
    chat: dict[str, Any] = {key: value for key, value in body.items() if key not in _NOT_OF_CHAT}
    chat["messages"] = messages
    tools = [_tool(name, function) for name, function in chat_functions(body).items()]
    if tools:
        chat["tools"] = tools
    choice = body.get("tool_choice")
    if choice is not None and (tools or choice == "none"):
        chat["tool_choice"] = _tool_choice(choice)
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    text = body.get("text") or {}
    layout = text.get("format") or {}
    if layout.get("type") == "json_schema":
        schema = {key: value for key, value in layout.items() if key != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif layout.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    return chat


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    arguments = item.get("arguments")
    if item.get("type") == "custom_tool_call":  # its input is text, a function's is JSON
        arguments = json.dumps({"input": item.get("input")}, ensure_ascii=False)
    name = chat_name(item.get("namespace"), item.get("name"))
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else "{}"}
    return {"id": str(item.get("call_id") or item.get("id") or ""), "type": "function", "function": function}


def _content(content: Any, role: Any) -> Any:
    """Text when it is nothing but text; else the parts as chat names them."""
    if not isinstance(content, list):
        return content
    parts = [part for part in map(_part, content) if part is not None]
    if role in ("assistant", "system", "tool") or all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts if part["type"] == "text")
    return parts


def _part(part: Any) -> dict[str, Any] | None:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": str(part.get("text") or "")}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal") or "")}
    if kind == "input_image":
        url = part.get("image_url") or part.get("file_id")
        image = {"url": url, **({"detail": part["detail"]} if part.get("detail") else {})}
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        names = ("file_data", "file_id", "file_url", "filename")
        return {"type": "file", "file": {name: part[name] for name in names if part.get(name)}}
    return dict(part) if isinstance(kind, str) else None  # input_audio is the same in both


def _tool(name: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: tool[key] for key in ("description", "parameters", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": {"name": name, **kept}}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice.get("mode", "auto")
