"""The body of a Responses request: what the server itself reads of it, checked."""

from collections.abc import Callable, Mapping
from typing import Any

from hayhooks.surfaces._json import invalid

Check = Callable[[Any], bool]

MAX_METADATA = 16  # pairs; Source: OpenAI API reference, "metadata"


def model_of(body: Mapping[str, Any]) -> str:
    """The name of the model. Raises InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model", "'model' must be the name of a model.")
    return model


def check_response_body(data: dict[str, Any]) -> None:
    """Check the request, and say what it leaves to the server; fields that we do not know are for the hook.

    Raises:
        InvalidRequest: Naming the field.
    """
    for field, (is_right, what) in _FIELDS.items():
        if data.get(field) is not None and not is_right(data[field]):
            raise invalid(field, f"'{field}' must be {what}.")
    check_metadata(data)
    data["stream"] = bool(data.get("stream"))
    data["background"] = bool(data.get("background"))
    data["store"] = data.get("store") is not False
    if data["background"] and not data["store"]:
        raise invalid("background", "A background response must be stored: leave 'store' out or set it to true.")
    if data.get("previous_response_id") is not None and data.get("conversation") is not None:
        raise invalid("previous_response_id", "'previous_response_id' and 'conversation' exclude each other.")
    continues = data.get("previous_response_id") is not None or data.get("conversation") is not None
    given = data.get("input")
    if given is None and not continues:
        raise invalid("input", "'input' must be text or a list of input items.")
    if isinstance(given, list):
        if not given and not continues:
            raise invalid("input", "'input' must have at least one item.")
        check_items("input", given)
    if isinstance(data.get("instructions"), list):
        check_items("instructions", data["instructions"])
    for place, tool in enumerate(data.get("tools") or ()):
        _check_tool(f"tools.{place}", tool, f"tools[{place}]")
        if tool["type"] == "namespace":
            if not isinstance(tool.get("tools"), list):
                raise invalid(f"tools.{place}.tools", f"'tools[{place}].tools' must be a list of tools.")
            for inner, one in enumerate(tool["tools"]):
                _check_tool(f"tools.{place}.tools.{inner}", one, f"tools[{place}].tools[{inner}]")


def check_items(field: str, items: list[Any]) -> None:
    """Refuse what cannot be an input item. Raises InvalidRequest."""
    for place, item in enumerate(items):
        where = f"{field}[{place}]"
        if not isinstance(item, dict):
            raise invalid(f"{field}.{place}", f"'{where}' must be an object.")
        kind = item.get("type", "message")
        if not isinstance(kind, str):
            raise invalid(f"{field}.{place}.type", f"'{where}.type' must be text.")
        if item.get("id") is not None and not isinstance(item["id"], str):
            raise invalid(f"{field}.{place}.id", f"'{where}.id' must be text.")
        for name, is_right, what in _ITEMS.get(kind, ()):
            if not is_right(item.get(name)):
                raise invalid(f"{field}.{place}.{name}", f"'{where}.{name}' must be {what}.")


def check_metadata(data: Mapping[str, Any]) -> None:
    """Refuse metadata that is no small set of texts. Raises InvalidRequest."""
    metadata = data.get("metadata")
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("metadata", "'metadata' must be an object whose values are text.")
    if len(metadata) > MAX_METADATA:
        raise invalid("metadata", f"'metadata' must have at most {MAX_METADATA} pairs.")


def _check_tool(field: str, tool: Any, where: str) -> None:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise invalid(field, f"'{where}' must be an object with a 'type'.")
    if tool["type"] in ("function", "namespace") and not (isinstance(tool.get("name"), str) and tool["name"]):
        raise invalid(f"{field}.name", f"'{where}' must have a 'name'.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_conversation(value: Any) -> bool:
    return isinstance(value.get("id") if isinstance(value, dict) else value, str)


def _is_format(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("format") or {}, dict)


def _is_content(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, (dict, str)) for part in value))


def _is_named(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_FIELDS: dict[str, tuple[Check, str]] = {
    "input": (lambda value: isinstance(value, (str, list)), "text or a list of input items"),
    "instructions": (lambda value: isinstance(value, (str, list)), "text or a list of input items"),
    "stream": (_is_flag, "true or false"),
    "store": (_is_flag, "true or false"),
    "background": (_is_flag, "true or false"),
    "parallel_tool_calls": (_is_flag, "true or false"),
    "previous_response_id": (_is_text, "the id of a response"),
    "conversation": (_is_conversation, "the id of a conversation, or an object with it"),
    "tools": (lambda value: isinstance(value, list), "a list of tools"),
    "tool_choice": (lambda value: isinstance(value, (str, dict)), "a word or an object"),
    "text": (_is_format, "an object, with 'format' an object"),
    "reasoning": (_is_object, "an object"),
    "include": (lambda value: isinstance(value, list), "a list"),
    "stream_options": (_is_object, "an object"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "top_logprobs": (lambda value: _is_count(value) or (value == 0 and value is not False), "a whole number"),
    "max_output_tokens": (_is_count, "a whole number from 1"),
    "max_tool_calls": (_is_count, "a whole number from 1"),
    "truncation": (lambda value: value in ("auto", "disabled"), "'auto' or 'disabled'"),
    "user": (_is_text, "text"),
    "safety_identifier": (_is_text, "text"),
    "prompt_cache_key": (_is_text, "text"),
    "service_tier": (_is_text, "text"),
}
# What each kind of item cannot do without; other kinds are the hook's business.
_ITEMS: dict[str, tuple[tuple[str, Check, str], ...]] = {
    "message": (("role", _is_named, "text"), ("content", _is_content, "text or a list of parts")),
    "function_call": (
        ("call_id", _is_named, "text"), ("name", _is_named, "text"), ("arguments", _is_text, "JSON as text"),
    ),
    "function_call_output": (("call_id", _is_named, "text"), ("output", _is_content, "text or a list of parts")),
    "item_reference": (("id", _is_named, "the id of an item"),),
}  # fmt: skip
