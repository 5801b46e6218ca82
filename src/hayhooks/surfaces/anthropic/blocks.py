"""Content blocks of a Message, and how they are streamed: one after the other, each begun, continued and closed."""

from typing import Any

import msgspec
from pydantic_core import from_json

from hayhooks.core.events import ToolCallDelta
from hayhooks.surfaces._json import json_bytes


class Blocks:
    """Numbers the blocks and writes their events into lists of bytes.

    When something else begins, the open block is closed. Only a tool call whose arguments are not whole yet stays
    open beside it: models may write several at a time, and clients join pieces by their block's number.
    """

    def __init__(self) -> None:
        self._count = 0
        self._prose: str | None = None  # kind of the open block of text or thinking
        self._prose_number = 0
        self._head = b""  # of that block's deltas
        self._calls: dict[int, _Call] = {}

    def texts(self, texts: list[bytes], parts: list[bytes]) -> None:
        """Text of the answer, a delta for each of *texts*, which are JSON strings."""
        self._continue("text", texts, parts)

    def thinking(self, texts: list[bytes], parts: list[bytes]) -> None:
        """What the model thinks."""
        self._continue("thinking", texts, parts)

    def call(self, delta: ToolCallDelta, parts: list[bytes]) -> None:
        """A tool call, or a further piece of one."""
        call = self._calls.get(delta.index)
        if call is None:
            self._close_whole(parts)
            call = self._calls[delta.index] = _Call(self._count)
            self._start(call_block(delta), parts)
        if delta.arguments and not call.is_closed:
            call.arguments += delta.arguments
            piece = {"type": "input_json_delta", "partial_json": delta.arguments}
            parts += (_delta_head(call.number), json_bytes(piece), b"}\n\n")

    def close(self, parts: list[bytes]) -> None:
        """Close what is still open."""
        self._close_prose(parts)
        for call in self._calls.values():
            if not call.is_closed:
                call.is_closed = True
                parts.append(_stop(call.number))

    def _continue(self, kind: str, texts: list[bytes], parts: list[bytes]) -> None:
        if not texts:
            return
        if self._prose != kind:
            self._close_whole(parts)
            self._prose, self._prose_number = kind, self._count
            self._head = _delta_head(self._count) + b'{"type":"%b_delta","%b":' % (kind.encode(), kind.encode())
            self._start(prose_block(kind), parts)
        head, tail = self._head, b"}}\n\n"
        parts += (head, (tail + head).join(texts), tail)

    def _start(self, block: dict[str, Any], parts: list[bytes]) -> None:
        start = {"type": "content_block_start", "index": self._count, "content_block": block}
        parts += (b"event: content_block_start\ndata: ", json_bytes(start), b"\n\n")
        self._count += 1

    def _close_whole(self, parts: list[bytes]) -> None:
        """Close all but the calls that go on."""
        self._close_prose(parts)
        for call in self._calls.values():
            if not call.is_closed and call.is_whole:
                call.is_closed = True
                parts.append(_stop(call.number))

    def _close_prose(self, parts: list[bytes]) -> None:
        if self._prose is not None:
            parts.append(_stop(self._prose_number))
            self._prose = None


class _Call:
    """A tool call that has a block."""

    __slots__ = ("arguments", "is_closed", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.arguments = ""
        self.is_closed = False

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are an object; none at all may still come."""
        try:
            return isinstance(msgspec.json.decode(self.arguments), dict)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False


def prose_block(kind: str) -> dict[str, Any]:
    """A block of *kind* ``text`` or ``thinking`` without a word in it yet."""
    # Thinking is signed for those whose models check it later; nobody does here.
    return {"type": kind, kind: "", **({"citations": None} if kind == "text" else {"signature": ""})}


def call_block(delta: ToolCallDelta) -> dict[str, Any]:
    """A tool call, without its input yet."""
    return {"type": "tool_use", "id": delta.id, "name": delta.name or "", "input": {}, "caller": {"type": "direct"}}


def tool_input(arguments: str) -> dict[str, Any]:
    """A call's *arguments* as an object: as far as they go when the model was cut off, empty when they are none."""
    try:
        value = from_json(arguments, allow_partial=True) if arguments.strip() else {}
    except (ValueError, UnicodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _delta_head(number: int) -> bytes:
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % number


def _stop(number: int) -> bytes:
    return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % number
