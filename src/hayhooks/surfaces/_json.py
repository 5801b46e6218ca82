"""JSON that hooks gave, and JSON that callers sent."""

import json
from typing import Any

import msgspec
from msgspec.json import encode

from hayhooks.core.errors import InvalidRequest

_encoder = msgspec.json.Encoder()


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


def json_texts_between(texts: list[str], head: bytes, tail: bytes) -> bytes:
    """Each of *texts* that is not empty, as JSON between *head* and *tail*."""
    said = list(filter(None, texts)) if "" in texts else texts
    if not said:
        return b""
    try:
        lines = _encoder.encode_lines(said)  # one line each: JSON has no line breaks inside of a text
    except UnicodeEncodeError:
        return b"".join([head + json_bytes(text) + tail for text in said])
    return head + lines[:-1].replace(b"\n", tail + head) + tail


def json_texts(texts: list[str]) -> list[bytes]:
    """Each of *texts* that is not empty, as JSON."""
    try:
        return [encode(text) for text in texts if text]
    except UnicodeEncodeError:
        return [json_bytes(text) for text in texts if text]
