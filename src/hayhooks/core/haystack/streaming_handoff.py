"""Bounded buffers between a pipeline that streams and the code that reads the stream.

A reader takes all that is there at once, so a burst of chunks costs one wake-up. A producer that is far ahead waits.
"""

import asyncio
import threading
from collections import deque
from typing import Any

from hayhooks.core.errors import RunCancelled

# Items a pipeline may be ahead of its reader.
HIGH_WATER = 256


class ThreadHandoff:
    """From producing threads to one reading thread."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may close a forgotten stream in the middle of any of these methods.
        lock = threading.RLock()
        self._readable = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._items: deque[Any] = deque()
        self._ended = False
        self._failure: BaseException | None = None
        self._closed = False

    def put(self, item: Any) -> None:
        """Hand over *item*; waits while the reader is far behind.

        Raises:
            RunCancelled: The reader has left.
        """
        with self._room:
            while len(self._items) >= HIGH_WATER and not self._closed:
                self._room.wait()
            if self._closed:
                raise RunCancelled
            self._items.append(item)
            self._readable.notify()

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes; *failure* is raised to the reader after the last item."""
        with self._readable:
            self._ended = True
            self._failure = failure
            self._readable.notify()

    def take(self) -> deque[Any] | None:
        """All items that are there, waiting for one; None when the stream is over. Raises the producer's failure."""
        with self._readable:
            while not self._items and not self._ended and not self._closed:
                self._readable.wait()
            if self._items:
                taken, self._items = self._items, deque()
                self._room.notify_all()
                return taken
            failure, self._failure = self._failure, None
        try:
            if failure is not None and not self._closed:
                raise failure
        finally:
            del failure  # its traceback holds this frame: together they would wait for the garbage collector
        return None

    def close(self) -> None:
        """The reader leaves: items are dropped and the next ``put`` raises. From any thread."""
        with self._readable:
            self._closed = True
            self._items.clear()
            self._readable.notify_all()
            self._room.notify_all()


class TaskHandoff:
    """From producing tasks to one reading task of the same event loop."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None
        self._discards = False

    @property
    def discards(self) -> bool:
        """Whether the reader has left."""
        return self._discards

    def put_nowait(self, item: Any) -> None:
        """Hand over *item* whether there is room or not."""
        if not self._discards:
            self._items.append(item)
            self._wake()

    async def put(self, item: Any) -> None:
        """Hand over *item*, then wait until the reader is no longer far behind."""
        self.put_nowait(item)
        while len(self._items) >= HIGH_WATER:
            self._room.clear()
            await self._room.wait()

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes; *failure* is raised to the reader after the last item."""
        self._ended = True
        self._failure = failure
        self._wake()

    async def take(self) -> deque[Any] | None:
        """All items that are there, waiting for one; None when the stream is over. Raises the producer's failure."""
        while not self._items:
            if self._ended or self._discards:
                failure, self._failure = self._failure, None
                try:
                    if failure is not None and not self._discards:
                        raise failure
                finally:
                    del failure  # its traceback holds this frame
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        taken, self._items = self._items, deque()
        self._room.set()
        return taken

    def close(self) -> None:
        """The reader leaves: what is there and what comes is dropped."""
        self._discards = True
        self._items.clear()
        self._room.set()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
