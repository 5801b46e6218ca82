"""Bridges that carry a stream from where it is produced to the surface that sends it.

Both hand over items in batches and hold the producer back when the reader is slow, so that memory stays bounded.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from hayhooks.core.errors import RunCancelled
from hayhooks.engines.mailbox import Mailbox

# Items a producer may be ahead of its reader. A thread that produces without pause fills it in about half a
# millisecond and then gives up the interpreter lock; larger makes bursts longer, not faster.
THREAD_HIGH_WATER = 1024
TASK_HIGH_WATER = 1024
# Long texts weigh more: of items larger than this few may be ahead, so that a file streamed in pieces stays on disk.
_LARGE = 16 * 1024
_LARGE_HIGH_WATER = 16
_MIXED_HIGH_WATER = 256  # when some of what is fed are, and others are not
_SIZED = (str, bytes)
# What is reported where nothing can wait is left out when this many items are ahead: room beyond the producer's own.
_REPORT_HIGH_WATER = 2 * 1024


class ThreadBridge:
    """From one producing thread to the event loop."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._items: deque[Any] = deque()
        self._reader_waits = False
        self._waiter: asyncio.Future[None] | None = None
        self._room = threading.Event()
        self._turn = threading.Lock()  # one waits for room at a time: the producer, or a thread that reports
        self._producer_waits = False
        self._ended = False
        self._failure: BaseException | None = None
        self._closed = False

    def put(self, item: Any) -> None:
        """Hand over *item*; waits while the reader is far behind. Producer's thread only.

        Raises:
            RunCancelled: The reader has left.
        """
        if self._closed:
            raise RunCancelled
        items = self._items
        items.append(item)
        if self._reader_waits:
            self._reader_waits = False
            self._mailbox.post(self._wake)
        ahead = len(items)
        if ahead >= _LARGE_HIGH_WATER:
            if ahead >= THREAD_HIGH_WATER:
                self._wait_for_room(THREAD_HIGH_WATER)
            elif type(item) in _SIZED and len(item) > _LARGE:
                self._wait_for_room(_LARGE_HIGH_WATER)

    def feed(self, source: Iterable[Any]) -> None:
        """``put`` every item of *source*. Producer's thread only. Raises as ``put``."""
        items = self._items
        append = items.append
        for item in source:
            if self._closed:
                raise RunCancelled
            append(item)
            if self._reader_waits:
                self._reader_waits = False
                self._mailbox.post(self._wake)
            ahead = len(items)
            if not ahead % _LARGE_HIGH_WATER:  # both marks are multiples: the way up passes here, and most items do not
                if ahead >= THREAD_HIGH_WATER:
                    self._wait_for_room(THREAD_HIGH_WATER)
                elif type(item) in _SIZED and len(item) > _LARGE:
                    self._wait_for_room(_LARGE_HIGH_WATER)

    def report(self, item: Any) -> None:
        """Hand over *item* beside the producer, from any thread; without effect when the stream is over.

        Waits as ``put`` does, but not on the event loop: there an item that is too far ahead is left out.
        """
        if self._closed or self._ended:
            return
        items = self._items
        may_wait = not self._mailbox.is_here
        if not may_wait and len(items) >= _REPORT_HIGH_WATER:
            return
        items.append(item)
        if self._reader_waits:
            self._reader_waits = False
            self._mailbox.post(self._wake)
        if may_wait and len(items) >= THREAD_HIGH_WATER:
            with suppress(RunCancelled):
                self._wait_for_room(THREAD_HIGH_WATER)

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes. Producer's thread only."""
        self._failure = failure
        self._ended = True
        self._mailbox.post(self._wake)

    def close(self) -> None:
        """The reader leaves; the producer's next ``put`` raises. Event loop only."""
        self._closed = True
        self._items.clear()
        self._room.set()

    async def batches(self) -> AsyncIterator[list[Any]]:
        """Items in order, all that are there each time. Raises the producer's failure at the end."""
        items = self._items
        loop = asyncio.get_running_loop()
        while True:
            while not items and not self._ended:
                self._waiter = loop.create_future()
                self._reader_waits = True
                if items or self._ended:  # came between the look and the flag: nobody will wake us
                    self._reader_waits = False
                    break
                await self._waiter
            # The end is looked at first: what was put before it is then surely in the batch.
            ended = self._ended
            count = len(items)
            if count:
                popleft = items.popleft
                batch = [popleft() for _ in range(count)]
                if self._producer_waits:
                    self._producer_waits = False
                    self._room.set()
                yield batch
            elif ended:
                if self._failure is not None:
                    raise self._failure
                return

    def _wake(self, _: object) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wait_for_room(self, high_water: int) -> None:
        with self._turn:
            while len(self._items) >= high_water and not self._closed:
                self._room.clear()
                self._producer_waits = True
                if len(self._items) >= high_water and not self._closed:
                    self._room.wait()
        if self._closed:
            raise RunCancelled


def _has_large(items: list[Any]) -> bool:
    try:
        if max(map(len, items)) <= _LARGE:
            return False
    except TypeError:  # some have no length
        pass
    return any(type(item) in _SIZED and len(item) > _LARGE for item in items)


class TaskBridge:
    """From a producing task to another task of the same loop, in which it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._items: list[Any] = []
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._ended = False
        self._failure: BaseException | None = None
        self._closed = False

    async def put(self, item: Any) -> None:
        """Hand over *item*; waits while the reader is far behind.

        Raises:
            RunCancelled: The reader has left.
        """
        if self._closed:
            raise RunCancelled
        self._items.append(item)
        if self._waiter is not None:
            self._wake()
        ahead = len(self._items)
        if ahead >= _LARGE_HIGH_WATER:
            if ahead >= TASK_HIGH_WATER:
                await self._has_room(TASK_HIGH_WATER)
            elif type(item) in _SIZED and len(item) > _LARGE:
                await self._has_room(_LARGE_HIGH_WATER)

    async def feed(self, source: AsyncIterable[Any]) -> None:
        """``put`` every item of *source*. Raises as ``put``."""
        items = self._items
        append = items.append
        async for item in source:
            if self._closed:  # the source went on in spite of its cancellation
                raise RunCancelled
            append(item)
            if self._waiter is not None:
                self._wake()
            ahead = len(items)
            if not ahead % _LARGE_HIGH_WATER:  # all marks are multiples: the way up passes here, and most items do not
                if ahead >= TASK_HIGH_WATER:
                    await self._has_room(TASK_HIGH_WATER)
                elif (type(item) in _SIZED and len(item) > _LARGE) or (
                    not ahead % _MIXED_HIGH_WATER and _has_large(items)
                ):
                    await self._has_room(_LARGE_HIGH_WATER)

    def report(self, item: Any) -> None:
        """Hand over *item* beside the producer, from any thread; without effect when the stream is over.

        Never waits: the loop may wait for the very thread that reports. An item too far ahead is left out.
        """
        if self._closed or self._ended:
            return
        if threading.get_ident() == self._thread:
            self._add(item)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
                self._loop.call_soon_threadsafe(self._add, item)

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes."""
        self._failure = failure
        self._ended = True
        if self._waiter is not None:
            self._wake()

    def close(self) -> None:
        """The reader leaves; what is there is dropped, and the next ``put`` raises."""
        self._closed = True
        self._items.clear()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def batches(self) -> AsyncIterator[list[Any]]:
        """Items in order, all that are there each time. Raises the producer's failure at the end."""
        items = self._items
        while True:
            if items:
                batch = items[:]
                items.clear()
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                yield batch
            elif self._ended:
                if self._failure is not None:
                    raise self._failure
                return
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    def _add(self, item: Any) -> None:
        if self._closed or self._ended or len(self._items) >= _REPORT_HIGH_WATER:
            return
        self._items.append(item)
        if self._waiter is not None:
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _has_room(self, high_water: int) -> None:
        """Wait until the reader has taken what is there."""
        while len(self._items) >= high_water and not self._closed:
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await self._room
