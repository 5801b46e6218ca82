"""The door that runs go through: open, closed when the server stops, and in the end cleared."""

import asyncio
from collections.abc import Callable

from hayhooks.core.errors import ServerStopping


class Door:
    """Whether runs may begin, and who is inside. Event loop only."""

    __slots__ = ("_inside", "_watchers", "is_cleared", "is_closed")

    def __init__(self) -> None:
        self.is_closed = False  # nobody gets in any more; who is inside may finish
        self.is_cleared = False  # who was still inside was told to leave
        self._inside: dict[object, Callable[[], object]] = {}
        self._watchers: dict[object, Callable[[], None]] = {}

    def check(self) -> None:
        """Raise ServerStopping once the door is closed."""
        if self.is_closed:
            raise ServerStopping

    def close(self) -> None:
        """Let nobody in any more, and tell those who wait for that."""
        self.is_closed = True
        for tell in list(self._watchers.values()):
            tell()
        self._watchers.clear()

    def watch(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call *tell* when the door closes, unless what is returned is called before; at once when it is closed."""
        token = object()
        if self.is_closed:
            tell()
        else:
            self._watchers[token] = tell
        return lambda: self._watchers.pop(token, None) and None

    def enter(self, run: object, stop: Callable[[], object] | None = None) -> None:
        """*run* has begun; *stop* ends it. Without, it is the current task that is cancelled."""
        if stop is None:
            task = asyncio.current_task()
            if task is None:
                return
            stop = task.cancel
            if self.is_cleared:  # since it began elsewhere
                stop()
        self._inside[run] = stop

    def leave(self, run: object) -> None:
        """*run* has ended."""
        self._inside.pop(run, None)

    def clear(self) -> None:
        """Close, and stop all runs that are still inside: each ends with ServerStopping."""
        self.close()
        self.is_cleared = True
        for stop in list(self._inside.values()):
            stop()
