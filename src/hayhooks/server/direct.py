"""Requests that need little: read whole, and answered in one piece without the framework."""

import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from hayhooks.server.joining import MOST_JOINED
from hayhooks.surfaces._http import Header

MOST_BYTES = 64 * 1024  # of a body
# Whoever sends one of these gets all that HTTP has to offer. Pages of other origins want CORS.
_UNUSUAL = frozenset((b"content-encoding", b"expect", b"origin", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
_MOST_FIELDS = 50


def plain_fields(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """The header fields of a request that may be answered directly, as far as they go; else None."""
    fields = dict(headers)
    if (
        len(fields) != len(headers)
        or len(fields) > _MOST_FIELDS
        or not _UNUSUAL.isdisjoint(fields)
        or b"host" not in fields
        or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive"
    ):
        return None
    length = fields.get(b"content-length", b"")
    return fields if length.isdigit() and len(length) < 6 and int(length) <= MOST_BYTES else None


class Ahead:
    """A second way to a connection: a thread sends one answer there, without waiting for the event loop.

    A descriptor of its own: that of the connection may be closed and mean another one by then.
    """

    __slots__ = ("_descriptor", "_lock", "left")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._lock = threading.Lock()
        self.left: bytes | None = None  # of what was sent; None: nothing was

    def send(self, data: bytes) -> None:
        """Send *data*, as far as that goes at once; nothing once it is closed. From any thread."""
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # there is no room, or nobody: for the event loop to find
                sent = 0
            self.left = data[sent:]
            self._close()

    def close(self) -> bool:
        """Have nothing sent from now on. Whether something was."""
        with self._lock:
            if self._descriptor >= 0:
                self._close()
        return self.left is not None

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class DirectCycle(RequestResponseCycle):
    """One request, all of which has been read, and its answer. The app need not be called, but can be.

    Source of the form of an answer: RFC 9112, 4 and 5.
    """

    connection: "Line | None" = None  # until it is answered or lost
    on_leave: Callable[[], None] | None = None
    is_in_task = False
    ahead: Ahead | None = None

    def whole(self, body: bytes, header: Header) -> None:
        """Answer with 200 and *body*, which is JSON, and with one *header* more."""
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        if self.ahead is not None and self.ahead.close():
            if self.ahead.left and not self.transport.is_closing():
                self.transport.write(self.ahead.left)
        elif len(body) > MOST_JOINED:
            self.transport.write(self._head(len(body), header))
            self.transport.write(body)
        else:
            self.transport.write(self._head(len(body), header) + body)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.connection = None
        on_response, self.on_response = self.on_response, _nothing
        on_response()

    def _head(self, body_bytes: int, header: Header) -> bytes:
        name, value = header
        return b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\n%b: %b\r\n%b\r\n" % (
            STATUS_LINE[200], _heads.of(self.default_headers), body_bytes, name, value,
            b"" if self.keep_alive else b"connection: close\r\n",
        )  # fmt: skip

    def open_ahead(self) -> bool:
        """Whether ``send_ahead`` may be called."""
        connection = self.connection
        if connection is None or not self.keep_alive or self.transport.get_write_buffer_size():
            return False
        descriptor = connection.descriptor
        if descriptor is None:
            return False
        try:
            self.ahead = Ahead(descriptor)
        except OSError:  # too many open files
            return False
        return True

    def send_ahead(self, body: bytes, header: Header) -> None:
        """Send what ``whole``, which is to be called next, would send, as far as that goes at once. From any thread."""
        if self.ahead is not None and len(body) <= MOST_JOINED:
            self.ahead.send(self._head(len(body), header) + body)

    def close_ahead(self) -> bool:
        """Have nothing more sent ahead. Whether something was."""
        return self.ahead is not None and self.ahead.close()

    @property
    def is_cut(self) -> bool:
        """Whether a part of the answer was sent ahead, and the rest has not followed."""
        return not self.response_started and self.ahead is not None and bool(self.ahead.left)

    def hand_over(self, app: ASGIApp) -> None:
        """Let *app* answer, in a task; without effect when the connection is lost."""
        self.close_ahead()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call(self, app)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*, which answers, in a task."""
        assert self.connection is not None
        self.is_in_task = True
        self.connection.start(coroutine)


class Line(Protocol):
    """What such a request needs of its connection."""

    @property
    def descriptor(self) -> int | None:
        """Where bytes may be written as they are; None where there is more to it."""

    def call(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        """Let *app* answer."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*."""


def _nothing() -> None:
    return


class _Heads:
    """The fields that every answer has, as bytes: uvicorn makes a new list of them once a second."""

    def __init__(self) -> None:
        self._latest: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """From any thread."""
        latest = self._latest
        if headers is not latest[0]:
            latest = self._latest = (headers, b"".join([b"%b: %b\r\n" % header for header in headers]))
        return latest[1]


_heads = _Heads()
