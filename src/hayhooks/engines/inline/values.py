"""What hooks return and yield, turned into events."""

import base64
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response

from hayhooks.core.events import Chunk, Completion, Data, Event, Raw, Result, Texts, UserEvent
from hayhooks.core.haystack.convert import (
    chunk_of,
    chunks_of_message,
    is_chat_message,
    is_streaming_chunk,
    plain_text,
)
from hayhooks.events import PipelineEvent
from hayhooks.sse import SSEStream

Media = Literal["text", "sse"]
_ONLY_TEXT = {str}
_PLAIN = (str, dict, list, int, float, bool, type(None))


def encode(value: Any) -> bytes:
    """*value* as JSON. Models, dataclasses, dates, enums and arrays all have a form; NaN becomes null.

    Raises:
        TypeError: When some value has no JSON form.
    """
    try:
        return to_json(value, inf_nan_mode="null", fallback=_fallback)
    except PydanticSerializationError as error:
        if "utf-8" in str(error).lower():  # bytes that are not text
            return to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=_fallback)
        raise TypeError(f"The result has no JSON form: {error}") from None
    except ValueError as error:  # circular references
        raise TypeError(f"The result has no JSON form: {error}") from None


def stream_source(value: Any) -> tuple[Any, Media] | None:
    """The iterator inside *value* and how it wants to be sent, or None when *value* is no stream."""
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, SSEStream):
        return value.stream, "sse"
    if isinstance(value, (Iterator, AsyncIterator)) or hasattr(value, "drive"):
        return value, "text"
    return None


def is_async_stream(source: Any) -> bool:
    """Whether the stream is iterated on the event loop."""
    return isinstance(source, AsyncIterator) or inspect.iscoroutinefunction(getattr(source, "drive", None))


def plain_reply(value: Any) -> Result | Raw:
    """The answer of a plain run."""
    if isinstance(value, Response):
        return Raw(value)
    return Result(encode(value))


def events_of(items: list[Any]) -> list[Event]:
    """Yielded items, and whole answers of chat hooks, as events."""
    if {*map(type, items)} == _ONLY_TEXT:
        return [Texts(items)]
    events: list[Event] = []
    texts: list[str] = []  # of the plain text since the last other event
    for item in items:
        if type(item) is str:
            texts.append(item)
            continue
        if is_streaming_chunk(item):
            text = plain_text(item)
            if text is not None:
                texts.append(text)
                continue
        if texts:
            events.append(Texts(texts))
            texts = []
        if is_streaming_chunk(item):
            events.append(chunk_of(item))
        elif isinstance(item, PipelineEvent):
            events.append(UserEvent(item.type, item.data))
        elif is_chat_message(item):
            events.extend(chunks_of_message(item))
        else:
            events.append(_other(item))
    if texts:
        events.append(Texts(texts))
    return events


def _other(item: Any) -> Event:
    if isinstance(item, str):
        return Chunk(str(item))
    if isinstance(item, (bytes, bytearray)):
        return Chunk(bytes(item).decode(errors="replace"))
    dump = getattr(item, "model_dump", None)
    if callable(dump) and str(getattr(item, "object", "")).startswith("chat.completion"):
        item = dump(exclude_none=True)
    if isinstance(item, dict):
        if "choices" in item:
            return Completion(item)
        event = item.get("event")
        if len(item) == 1 and isinstance(event, dict) and "type" in event:
            return UserEvent(str(event["type"]), event.get("data"))
    return Data(encode(item))


def _fallback(value: Any) -> Any:
    for method in ("to_dict", "tolist", "isoformat"):  # Haystack's objects, numpy's, and others' dates
        if callable(getattr(value, method, None)) and not isinstance(value, type):
            return getattr(value, method)()
    if isinstance(value, memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")
