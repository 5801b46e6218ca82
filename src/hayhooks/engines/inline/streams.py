"""The streams that an invocation answers with."""

from collections.abc import AsyncIterator
from typing import Any

from hayhooks.core.events import Event
from hayhooks.engines.bridge import TaskBridge, ThreadBridge
from hayhooks.engines.inline.values import Media, events_of


class EventStream:
    """What a bridge carries, as events; then what the stream after it does, when there is one."""

    __slots__ = ("_bridge", "media", "rest")

    def __init__(self, bridge: ThreadBridge | TaskBridge, media: Media) -> None:
        self._bridge = bridge
        self.media = media
        self.rest: EventStream | None = None  # must be there before the bridge ends

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Events as they come, several at a time when they come fast."""
        stream: EventStream | None = self
        while stream is not None:
            async for items in stream._bridge.batches():
                yield events_of(items)
            stream = stream.rest


class WholeStream:
    """A plain answer of a chat hook: a stream of one batch."""

    __slots__ = ("_events", "media")

    def __init__(self, value: Any) -> None:
        self._events = events_of([said(value)])
        self.media: Media = "text"

    async def batches(self) -> AsyncIterator[list[Event]]:
        """The one batch."""
        yield self._events


def said(value: Any) -> Any:
    """*value*, which a chat hook returned in place of a stream.

    Raises:
        TypeError: There is none.
    """
    if value is None:
        raise TypeError("The chat hook returned None. Return text, a generator, a ChatMessage or a completion.")
    return value
