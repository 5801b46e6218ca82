"""Building many things at start: in one thread, and in more only while that waits for something."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Generic, TypeVar

from hayhooks.core.aio import in_thread

T = TypeVar("T")
R = TypeVar("R")

SLOW_S = 0.02  # a build that takes longer waits for something, or could as well share the processors


class Starting(Generic[T, R]):
    """Builds *items* in their order, at most *workers* at a time, and tells *on_built* of each on the event loop.

    What is built in a moment is built soonest one after the other, by a thread that takes the next by itself: threads
    that compute stand in each other's way, and to wake one takes as long as a small build. While nothing gets done for
    ``SLOW_S`` one more thread begins; it ends when builds are quick again. Nothing begins once *is_over* says so, which
    is asked in the threads, as *build* is.
    """

    def __init__(
        self,
        items: Iterable[T],
        build: Callable[[T], R],
        on_built: Callable[[T, R | None, BaseException | None], None],
        is_over: Callable[[], bool],
        workers: int,
    ) -> None:
        self._items = deque(items)
        self._build = build
        self._on_built = on_built
        self._is_over = is_over
        self._workers = max(1, workers)
        self._turn = threading.Lock()
        self._working = 0  # threads; the last one goes on to the end
        self._ended = 0

    async def run(self) -> None:
        """Build all of them; returns when none is being built any more."""
        threads = {self._thread()}
        ended_before = 0
        while threads:
            ended, threads = await asyncio.wait(threads, timeout=SLOW_S, return_when=asyncio.FIRST_COMPLETED)
            for thread in ended:
                thread.result()
            if not ended and self._items and self._ended == ended_before and len(threads) < self._workers:
                threads.add(self._thread())
            ended_before = self._ended

    def _thread(self) -> "asyncio.Future[None]":
        with self._turn:
            self._working += 1
        return asyncio.ensure_future(in_thread(self._work, asyncio.get_running_loop()))

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._is_over():
            began_s = monotonic()
            try:
                item = self._items.popleft()
            except IndexError:
                return
            built: R | None = None
            failure: BaseException | None = None
            try:
                built = self._build(item)
            except BaseException as error:  # a boundary: the user's code may raise anything
                failure = error
            loop.call_soon_threadsafe(self._on_built, item, built, failure)
            with self._turn:
                self._ended += 1
                if self._working > 1 and monotonic() - began_s < SLOW_S:
                    self._working -= 1  # the others are enough
                    return
