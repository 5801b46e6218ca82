"""JSON that hooks gave, and JSON that callers sent."""

import json
from typing import Any

import msgspec
from msgspec.json import encode

from hayhooks.core.errors import InvalidRequest


def invalid(field: str, message: str) -> InvalidRequest:
    """The error that names *field*, a path with dots, of a request's body."""
    return InvalidRequest(message, [{"loc": ["body", *field.split(".")], "msg": message, "type": "invalid"}])


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a request's body is.

    Raises:
        InvalidRequest: The body is no JSON, or no object.
    """
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return data


def json_bytes(value: Any) -> bytes:
    """*value* as JSON, whatever a hook put into it."""
    try:
        return encode(value)
    except (TypeError, ValueError):  # half of a character pair, as some tokenizers make; an object in an event
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def json_texts(texts: list[str]) -> list[bytes]:
    """Each of *texts* that is not empty, as JSON."""
    try:
        return [encode(text) for text in texts if text]
    except UnicodeEncodeError:
        return [json_bytes(text) for text in texts if text]
