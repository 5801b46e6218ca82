"""An answer's head and the beginning of its body, sent in one piece."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MOST_JOINED = 64 * 1024  # bytes of a body; copying more costs more than a second call


class Joining:
    """Stands between a request's answer and its transport until the body begins, or the event loop goes on.

    uvicorn writes an answer's head and its body apart, and uvloop makes a system call of each: for a small answer the
    second is the dearest part of all. A head of which nothing follows at once goes out alone.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None
        cycle.transport = self  # type: ignore[assignment]  # all of a transport that a cycle asks for is here

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep a head, or send it with what follows."""
        if self._head is None and self._cycle.response_started:
            self._head = data
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._head is None or len(data) > MOST_JOINED:  # 100 Continue, or a long body
            self._leave()
            self._transport.write(data)
        else:
            self._head += data
            self._leave()

    def close(self) -> None:
        """Close, with all sent that was written."""
        self._leave()
        self._transport.close()

    def let_go(self) -> None:
        """Stand there no longer: the caller has left."""
        if self._cycle.transport is self:  # type: ignore[comparison-overlap]
            self._cycle.transport = self._transport

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._leave()

    def _leave(self) -> None:
        """Send what there is; once that is an answer's, it goes on without this."""
        head = self._head
        if head and self._cycle.transport is self:  # type: ignore[comparison-overlap]
            self._cycle.transport = self._transport
            self._head = b""
            self._transport.write(head)
