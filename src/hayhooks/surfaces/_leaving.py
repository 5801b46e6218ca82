"""Noticing that the caller has left, and stopping what was done for them."""

import asyncio
import threading
from types import TracebackType
from typing import Any

from starlette.types import Receive


class cancel_on_disconnect:  # noqa: N801 - used as a statement, like a function
    """``async with cancel_on_disconnect(receive):`` stops the body when the caller leaves, and goes on after it.

    The request's body must have been read. Watching starts when the body has taken ``_PATROL_S`` seconds or more:
    most answers are sooner, and a task for each would cost more than they do.
    """

    __slots__ = ("_receive", "_task", "_watcher", "has_fired")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.has_fired = False

    async def __aenter__(self) -> "cancel_on_disconnect":
        self._task = asyncio.current_task()
        _patrol.add(self)
        return self

    def start(self) -> None:
        """Watch from now on: a stream has begun."""
        _patrol.remove(self)
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._watch())

    def stop(self) -> None:
        """Watch no longer: the answer is out, and what still runs is not for the caller."""
        _patrol.remove(self)
        if self._watcher is not None:
            self._watcher.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.stop()
        # The tasks hold this in their frames: without letting go of them it would be a circle.
        task, self._task, self._watcher = self._task, None, None
        if self.has_fired and kind is asyncio.CancelledError and task is not None:
            # Ours, unless somebody else cancelled the task as well.
            return task.uncancel() == 0
        return False

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_fired = True
        if self._task is not None:
            self._task.cancel()


class _Patrol(threading.local):
    """Starts the watchers of what takes long: one timer for all, not one for each. One per event loop's thread."""

    def __init__(self) -> None:
        self._fresh: set[cancel_on_disconnect] = set()
        self._seen: set[cancel_on_disconnect] = set()  # those that the last round found already there
        self._is_walking = False

    def add(self, watching: cancel_on_disconnect) -> None:
        """Look after *watching*."""
        self._fresh.add(watching)
        if not self._is_walking:
            self._is_walking = True
            asyncio.get_running_loop().call_later(_PATROL_S, self._round)

    def remove(self, watching: cancel_on_disconnect) -> None:
        """It is over, or watches by itself."""
        self._fresh.discard(watching)
        self._seen.discard(watching)

    def _round(self) -> None:
        for watching in list(self._seen):
            watching.start()
        self._seen, self._fresh = self._fresh, set()
        self._is_walking = bool(self._seen)
        if self._is_walking:
            asyncio.get_running_loop().call_later(_PATROL_S, self._round)


_PATROL_S = 0.05
_patrol = _Patrol()
