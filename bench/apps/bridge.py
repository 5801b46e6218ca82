"""The floor's way between the event loop and threads: whatever is ready crosses in one go."""

import asyncio
from _thread import start_new_thread
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Event
from typing import Any

_HIGH_WATER = 1024  # chunks that may wait for the loop before their thread pauses
_SPAWN_AFTER_S = 0.001

Job = Callable[[], None]


class Threads:
    """Runs sync hooks in threads of its own. Methods are for the event loop only.

    A thread is added when work has waited for a millisecond, not at once: quick hooks share one thread, which is
    faster than waking one each, and hooks that block get as many as they need.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._count = 0
        self._spawning = False
        self._ready: deque[Job] = deque()  # what the threads want done on the loop
        self._armed = True  # the next one who adds to it wakes the loop

    def call(self, hook: Callable[..., Any], arguments: dict[str, Any]) -> asyncio.Future[Any]:
        """What ``hook(**arguments)`` returns or raises."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def job() -> None:
            try:
                result = hook(**arguments)
            except Exception as error:
                failure = error
                self._cross(loop, lambda: future.set_exception(failure))
            else:
                self._cross(loop, lambda: future.set_result(result))

        self._submit(job, loop)
        return future

    async def stream(self, chunks: Iterator[str]) -> AsyncIterator[Iterable[str]]:
        """The chunks, in the batches in which they became ready."""
        loop = asyncio.get_running_loop()
        crossing = _Crossing()
        self._submit(lambda: crossing.produce(chunks, lambda: self._cross(loop, crossing.some.set)), loop)
        while not crossing.over or crossing.waiting:
            await crossing.some.wait()
            crossing.some.clear()
            crossing.armed = True  # before draining: what comes later wakes us again
            batch = []
            while crossing.waiting:
                batch.append(crossing.waiting.popleft())
            crossing.room.set()
            if batch:
                yield batch

    def _submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._jobs.put(job)
        if not self._count:
            self._spawn(1)
        elif not self._spawning and self._count < self._limit:
            self._spawning = True
            loop.call_later(_SPAWN_AFTER_S, self._spawn_for_waiting, loop)

    def _spawn_for_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = min(self._jobs.qsize(), self._limit - self._count)
        self._spawn(waiting)
        self._spawning = waiting > 0
        if self._spawning:
            loop.call_later(_SPAWN_AFTER_S, self._spawn_for_waiting, loop)

    def _spawn(self, count: int) -> None:
        self._count += count
        for _ in range(count):
            # Thread.start() would wait until the thread runs: milliseconds each while others want the interpreter.
            start_new_thread(self._work, ())

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _cross(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        """Have *job* done on the loop. For the threads."""
        self._ready.append(job)
        if self._armed:
            self._armed = False
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._armed = True  # before draining: what comes later wakes us again
        while self._ready:
            self._ready.popleft()()


async def batches(chunks: AsyncIterator[str]) -> AsyncIterator[Iterable[str]]:
    """The chunks of an async generator, as many at a time as it has without waiting for anything."""
    waiting: list[str] = []
    some = asyncio.Event()

    async def produce() -> None:
        async for chunk in chunks:
            waiting.append(chunk)
            some.set()
            if len(waiting) >= _HIGH_WATER:
                await asyncio.sleep(0)

    producer = asyncio.create_task(produce())
    producer.add_done_callback(lambda _: some.set())
    while not producer.done() or waiting:
        await some.wait()
        some.clear()
        batch = waiting.copy()
        waiting.clear()
        if batch:
            yield batch


class _Crossing:
    """The chunks of one stream on their way from its thread to the loop."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.some = asyncio.Event()
        self.armed = True
        self.over = False
        self.room = Event()

    def produce(self, chunks: Iterator[str], wake: Job) -> None:
        waiting = self.waiting
        for chunk in chunks:
            waiting.append(chunk)
            if self.armed:
                self.armed = False
                wake()
            if len(waiting) >= _HIGH_WATER:
                self.room.clear()
                if len(waiting) >= _HIGH_WATER:
                    self.room.wait(1)
        self.over = True
        wake()
