"""The parts that a scripted answer of the model server is made of."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """Text of the answer, streamed word by word."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning text, sent as ``reasoning_content`` before the answer, as open reasoning models do."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model wants made; the finish reason becomes ``tool_calls``."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""  # made from its position when empty


@dataclass(frozen=True, slots=True)
class Failure:
    """The model fails here: as an HTTP error when it is the first part, otherwise inside the stream."""

    message: str = "The model failed."
    status: int = 500
    code: str | None = "server_error"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is dropped here without an end."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the answer ends, instead of what the server would say; the last part."""

    reason: str


class Gate:
    """A point in an answer where the server waits until the test lets it pass."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reached = threading.Event()  # set when the answer has come this far
        self._loop = loop
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let this answer, and any later one, pass."""
        self._loop.call_soon_threadsafe(self._opened.set)

    async def passed(self) -> None:
        """Wait, on the server's loop, until the gate is open."""
        self.reached.set()
        await self._opened.wait()


Part = str | Text | Reasoning | ToolCall | Failure | Cut | Gate | Finish
Reply = str | Part | Sequence[Part]
