"""Sending a stream."""

import asyncio
from collections.abc import Sequence

from starlette.types import Send

from hayhooks.core.load import Load
from hayhooks.surfaces._http import Header, HTTPOptions

# What keeps a stream moving: caches hold nothing back, nginx does not buffer.
STREAM_HEADERS: tuple[Header, ...] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class StreamSender:
    """Sends a stream whose headers wait for its first bytes, so that an early failure still gets a status.

    While nothing comes it sends *heartbeat* after each ``heartbeat_s`` seconds of silence, where the format has one.
    Whoever makes one must close it.

    Raises:
        Overloaded: There are too many streams.
    """

    __slots__ = (
        "_handle",
        "_headers",
        "_heartbeat",
        "_heartbeat_s",
        "_last",
        "_load",
        "_loop",
        "_send",
        "_tasks",
        "has_begun",
        "has_ended",
    )

    def __init__(
        self, send: Send, headers: Sequence[Header], options: HTTPOptions, heartbeat: bytes | None = None
    ) -> None:
        options.load.enter_stream()
        self._load: Load | None = options.load
        self._send = send
        self._headers = [*headers, *STREAM_HEADERS]
        self._heartbeat = heartbeat
        self._heartbeat_s = options.heartbeat_s
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_begun = False
        self.has_ended = False
        if heartbeat is not None:
            self._handle = self._loop.call_later(options.heartbeat_s, self._tick)

    async def write(self, data: bytes) -> None:
        """Send *data*; waits while the caller is slow to read."""
        if self.has_ended:  # a heartbeat that came late
            return
        if not self.has_begun:
            await self._begin()
        self._last = self._loop.time()
        if self._load is not None:
            self._load.written += 1
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send *data* and say that it is all."""
        self.close()
        self.has_ended = True
        if not self.has_begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    def close(self) -> None:
        """It is over, and there are no more heartbeats."""
        if self._load is not None:
            self._load.leave_stream()
            self._load = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    async def _begin(self) -> None:
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})

    def _tick(self) -> None:
        silent_s = self._loop.time() - self._last
        if silent_s >= self._heartbeat_s:
            assert self._heartbeat is not None
            task = self._loop.create_task(self.write(self._heartbeat))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            silent_s = 0.0
        self._handle = self._loop.call_later(self._heartbeat_s - silent_s, self._tick)
