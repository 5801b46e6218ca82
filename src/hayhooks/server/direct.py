"""Requests that need little: read whole, and answered in one piece without the framework."""

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


class DirectCycle(RequestResponseCycle):
    """One request, all of which has been read, and its answer. The app need not be called, but can be.

    Source of the form of an answer: RFC 9112, 4 and 5.
    """

    connection: "Tasks | None" = None  # until it is answered or lost
    on_leave: Callable[[], None] | None = None
    is_in_task = False

    def whole(self, body: bytes, header: Header) -> None:
        """Answer with 200 and *body*, which is JSON, and with one *header* more."""
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        name, value = header
        head = b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\n%b: %b\r\n%b\r\n" % (
            STATUS_LINE[200], _heads.of(self.default_headers), len(body), name, value,
            b"" if self.keep_alive else b"connection: close\r\n",
        )  # fmt: skip
        if len(body) > MOST_JOINED:
            self.transport.write(head)
            self.transport.write(body)
        else:
            self.transport.write(head + body)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.connection = None
        on_response, self.on_response = self.on_response, _nothing
        on_response()

    def hand_over(self, app: ASGIApp) -> None:
        """Let *app* answer, in a task; without effect when the connection is lost."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call(self, app)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*, which answers, in a task."""
        assert self.connection is not None
        self.is_in_task = True
        self.connection.start(coroutine)


class Tasks(Protocol):
    """What a connection makes tasks of."""

    def call(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        """Let *app* answer."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*."""


def _nothing() -> None:
    return


class _Heads:
    """The fields that every answer has, as bytes: uvicorn makes a new list of them once a second."""

    def __init__(self) -> None:
        self._of: list[tuple[bytes, bytes]] | None = None
        self._bytes = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._of:
            self._of = headers
            self._bytes = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._bytes


_heads = _Heads()
