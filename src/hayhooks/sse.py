"""The wrapper author's way to ask for server-sent events from ``run_api``."""

from collections.abc import AsyncIterator, Iterator
from typing import Any


class SSEStream:
    """Return ``SSEStream(generator)`` from ``run_api`` to stream ``text/event-stream``.

    One ``data:`` event per item: text as it is, a StreamingChunk's content, anything else as JSON.

    Raises:
        TypeError: When *stream* is not an iterator, synchronous or not.
    """

    __slots__ = ("stream",)

    def __init__(self, stream: Iterator[Any] | AsyncIterator[Any]) -> None:
        if not isinstance(stream, (Iterator, AsyncIterator)):
            raise TypeError(f"SSEStream needs a generator or an iterator, not {type(stream).__name__}.")
        self.stream = stream
