"""Items from a queue that the user's code fills, beside those of the pipeline.

A queue cannot be waited for together with something else, so somebody waits for it alone: a thread for a
`queue.Queue`, a task for an `asyncio.Queue`. Nobody polls.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from hayhooks.core.errors import RunCancelled

# Python 3.13 can shut a queue down.
_SHUT_DOWN: tuple[type[Exception], ...] = tuple(
    getattr(module, name) for module, name in ((queue, "ShutDown"), (asyncio, "QueueShutDown")) if hasattr(module, name)
)


class _Stop:
    """Wakes a forwarder's thread for the last time. It never reaches the user: only its forwarder ends on it."""

    # A priority queue compares its items; this one comes last.
    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


class ThreadForwarder:
    """Forwards a `queue.Queue` from a thread of its own."""

    def __init__(self, source: "queue.Queue[Any]", put: Callable[[Any], None]) -> None:
        self._source = source
        self._put = put
        self._stop = _Stop()
        self._thread = threading.Thread(target=self._forward, name="hayhooks-stream-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when everything that was put before has been forwarded."""
        with contextlib.suppress(*_SHUT_DOWN):
            self._source.put(self._stop)
        self._thread.join()

    def _forward(self) -> None:
        with contextlib.suppress(*_SHUT_DOWN):
            while (item := self._source.get()) is not self._stop:
                if isinstance(item, _Stop):  # of another run that shares the queue
                    self._source.put(item)
                    self._done()
                else:
                    self._send(item)
            self._done()
            # A last-in-first-out queue gave the stop before what was put earlier.
            with contextlib.suppress(queue.Empty):
                while not isinstance(item := self._source.get_nowait(), _Stop):
                    self._send(item)
                self._source.put(item)
                self._done()

    def _send(self, item: Any) -> None:
        # When the reader has left, items are dropped, but the thread stays until its stop comes.
        with contextlib.suppress(RunCancelled):
            if item is not None:
                self._put(item)
        self._done()

    def _done(self) -> None:
        if hasattr(self._source, "task_done"):  # for users who join() their queue; a SimpleQueue has none
            self._source.task_done()


class TaskForwarder:
    """Forwards an `asyncio.Queue` from a task of its own."""

    def __init__(
        self, source: "asyncio.Queue[Any]", put: Callable[[Any], Awaitable[None]], put_nowait: Callable[[Any], None]
    ) -> None:
        """*put* hands an item over before it first waits, so that cancelling it loses none."""
        self._source = source
        self._put = put
        self._put_nowait = put_nowait
        self._task = asyncio.create_task(self._forward())

    async def stop(self, *, drain: bool) -> None:
        """End; with *drain*, what is in the queue is forwarded first."""
        self._task.cancel()
        await asyncio.wait([self._task])
        with contextlib.suppress(asyncio.QueueEmpty, *_SHUT_DOWN):
            while drain:
                item = self._source.get_nowait()
                if item is not None:
                    self._put_nowait(item)
                self._source.task_done()

    async def _forward(self) -> None:
        with contextlib.suppress(*_SHUT_DOWN):
            while True:
                item = await self._source.get()
                # Before the wait in put, where this task may be cancelled.
                self._source.task_done()
                if item is not None:
                    await self._put(item)
