"""The door that runs go through: open, closed when the server stops, and in the end cleared."""

import asyncio
from typing import Any

from hayhooks.core.errors import ServerStopping


class Door:
    """Whether runs may begin, and who is inside. Event loop only."""

    __slots__ = ("_inside", "is_cleared", "is_closed")

    def __init__(self) -> None:
        self.is_closed = False  # nobody gets in any more; who is inside may finish
        self.is_cleared = False  # who was still inside was told to leave
        self._inside: dict[object, asyncio.Task[Any] | None] = {}

    def check(self) -> None:
        """Raise ServerStopping once the door is closed."""
        if self.is_closed:
            raise ServerStopping

    def enter(self, run: object) -> None:
        """*run* has begun, in the current task."""
        self._inside[run] = asyncio.current_task()

    def leave(self, run: object) -> None:
        """*run* has ended."""
        self._inside.pop(run, None)

    def clear(self) -> None:
        """Close, and cancel the tasks of all runs that are still inside: each ends with ServerStopping."""
        self.is_closed = self.is_cleared = True
        for task in self._inside.values():
            if task is not None:
                task.cancel()
