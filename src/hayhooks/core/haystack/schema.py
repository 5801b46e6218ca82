"""Haystack's data classes as pydantic types, so that hooks get real objects and schemas say what is accepted."""

from typing import Any

from haystack.dataclasses import ChatMessage, Document
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from hayhooks.core.haystack.input_items import messages_of
from hayhooks.core.haystack.platform import MAJOR

_NULLABLE_STRING = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_NULLABLE_OBJECT = {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]}
_DOCUMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Document",
    "description": "A Haystack document. Without an id, one is made from the content.",
    "properties": {
        "id": _NULLABLE_STRING,
        "content": _NULLABLE_STRING,
        "meta": _NULLABLE_OBJECT,
        "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]},
    },
}
_DOCUMENT_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "id": (str, "a string"),
    "content": (str, "a string or null"),
    "meta": (dict, "an object"),
    "score": ((int, float), "a number or null"),
    "embedding": (list, "a list of numbers or null"),
    "blob": (dict, "an object or null"),
    "sparse_embedding": (dict, "an object or null"),
}
_ABSENT = ("id", "meta")  # null is the same as nothing
_PART_NAMES = {  # a field that only this kind of part has: the name of the kind
    "origin": "tool_call_result",
    "tool_name": "tool_call",
    "reasoning_text": "reasoning",
    "base64_image": "image",
    "base64_data": "file",
}
_CHAT_MESSAGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "ChatMessage",
    "description": "A chat message, as Haystack writes it or in the OpenAI form.",
    "properties": {
        "role": {"type": "string", "enum": ["user", "system", "developer", "assistant", "tool"]},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "object", "additionalProperties": True}},
                {"type": "null"},
            ]
        },
        "name": _NULLABLE_STRING,
        "meta": _NULLABLE_OBJECT,
    },
    "required": ["role"],
}


_CHAT_MESSAGE_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "content": ((str, list), "a string, a list of objects or null"),
    "name": (str, "a string or null"),
    "meta": (dict, "an object or null"),
}


def teach_pydantic() -> None:
    """Give Document and ChatMessage the hooks that pydantic looks for; again is the same as once.

    They work wherever a user's annotation mentions them, inside models, lists and unions too. In answers both keep
    the shape of their dataclass fields, which clients know.
    """
    if "__get_pydantic_core_schema__" not in vars(Document):
        _teach(Document, _document, _DOCUMENT_SCHEMA)
    if "__get_pydantic_core_schema__" not in vars(ChatMessage):
        _teach(ChatMessage, _chat_message, _CHAT_MESSAGE_SCHEMA)


def _document(data: dict[str, Any]) -> Document:
    # Haystack's constructor takes whatever it gets, and the pipeline stumbles over it later.
    _check_fields(data, _DOCUMENT_FIELDS)
    if any(not isinstance(number, (int, float)) or isinstance(number, bool) for number in data.get("embedding") or ()):
        raise TypeError("embedding must hold numbers")
    return Document.from_dict({key: value for key, value in data.items() if value is not None or key not in _ABSENT})


def _chat_message(data: dict[str, Any]) -> ChatMessage:
    if "_role" in data:  # as it stands in an answer
        data = {key.removeprefix("_"): value for key, value in data.items()}
    _check_fields(data, _CHAT_MESSAGE_FIELDS)
    content = data.get("content")
    if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
        raise TypeError("content must be a list of objects")
    if content is None or isinstance(content, str) or "tool_calls" in data or _has_openai_parts(content):
        return _from_openai(data)
    return ChatMessage.from_dict({**data, "content": [_named_part(part) for part in content]})


def _check_fields(data: dict[str, Any], fields: dict[str, tuple[type | tuple[type, ...], str]]) -> None:
    for key, (kinds, what) in fields.items():
        value = data.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise TypeError(f"{key} must be {what}")


def _named_part(part: Any) -> Any:
    """A part of a message under the name that Haystack's own form gives it; in answers the fields stand alone."""
    if not isinstance(part, dict):
        return part
    name = next((name for field, name in _PART_NAMES.items() if field in part), None)
    return part if name is None else {name: part}


def _has_openai_parts(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) and "type" in part for part in content)


def _from_openai(data: dict[str, Any]) -> ChatMessage:
    message = dict(data)
    meta = message.pop("meta", None)
    if message.get("role") == "developer":
        message["role"] = "system"
    if MAJOR < 3 and _has_openai_parts(message.get("content")):
        # Haystack 3 reads these itself; of the one before, the Responses API's reader does.
        found = messages_of([{**message, "type": "message"}])
        if not found:
            raise ValueError("the message has no content that can be read")
        result = found[0]
    else:
        result = ChatMessage.from_openai_dict_format(message)
    if meta:
        result.meta.update(meta)
    return result


def _teach(cls: Any, build: Any, json_schema: dict[str, Any]) -> None:
    def validate(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("dict_type", "Input should be an object that describes a {name}", {"name": name})
        try:
            return build(value)
        except Exception as error:
            raise PydanticCustomError(
                "value_error", "Not a valid {name}: {reason}", {"name": name, "reason": str(error)[:300]}
            ) from None

    name = cls.__name__

    def core(_cls: Any, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(validate)

    def json(_cls: Any, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if handler.mode == "serialization":
            return {"type": "object", "title": name, "additionalProperties": True}
        return dict(json_schema)

    cls.__get_pydantic_core_schema__ = classmethod(core)
    cls.__get_pydantic_json_schema__ = classmethod(json)
