"""What hooks return and yield, turned into events."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, to_json

from hayhooks.core.events import Chunk, Completion, Data, Event, Texts, UserEvent, Vectors
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
        return to_json(value, inf_nan_mode="null", fallback=json_form)
    except PydanticSerializationError as error:
        if "utf-8" in str(error).lower():  # bytes that are not text
            return to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=json_form)
        raise TypeError(f"The result has no JSON form: {error}") from None
    except ValueError as error:  # circular references
        raise TypeError(f"The result has no JSON form: {error}") from None


def stream_source(value: Any) -> tuple[Any, Media] | None:
    """The iterator inside *value* and how it wants to be sent, or None when *value* is no stream."""
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, SSEStream):
        return value.stream, "sse"
    if isinstance(value, (Iterator, AsyncIterator)):
        return value, "text"
    return None


def is_async_stream(source: Any) -> bool:
    """Whether the stream is iterated on the event loop."""
    return isinstance(source, AsyncIterator)


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
    if item is None:  # yielded: nothing to say just now
        return Chunk()
    if isinstance(item, str):
        return Chunk(str(item))
    if isinstance(item, Vectors):
        return item
    if isinstance(item, (bytes, bytearray)):
        return Chunk(bytes(item).decode(errors="replace"))
    dump = getattr(item, "model_dump", None)
    if callable(dump) and str(getattr(item, "object", "")).startswith("chat.completion"):
        item = dump(exclude_none=True)
    if isinstance(item, dict):
        if isinstance(item.get("choices"), list):
            return Completion(item)
        if item.get("role") == "assistant" and ("content" in item or "tool_calls" in item):
            return Completion({"choices": [{"message": item}]})
        event = item.get("event")
        if len(item) == 1 and isinstance(event, dict) and "type" in event:
            return UserEvent(str(event["type"]), event.get("data"))
    return Data(encode(item))


def json_form(value: Any) -> Any:
    """What pydantic does not know, in terms that it knows.

    Raises:
        TypeError: When *value* has no JSON form.
    """
    for method in ("to_dict", "tolist", "isoformat"):  # Haystack's objects, numpy's, and others' dates
        if callable(getattr(value, method, None)) and not isinstance(value, type):
            return getattr(value, method)()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")
