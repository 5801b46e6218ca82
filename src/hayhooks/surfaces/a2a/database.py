"""The SQLite file in which the library's stores keep tasks, opened for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hayhooks.core.aio import in_thread

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Kept:
    """Where tasks are kept, how much of them, and how to tell that a process has ended."""

    path: Path
    prepare: Callable[[Path], None]  # makes the file, ready for several processes; blocks
    is_gone: Callable[[int], bool]  # whether the process of that id has ended
    max_age_s: float
    max_count: int
    max_bytes: int


class Database:
    """The file, asked without blocking the event loop."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.engine: AsyncEngine = create_async_engine(
            f"sqlite+aiosqlite:///{kept.path}", pool_size=4, max_overflow=0, connect_args={"timeout": 30}
        )
        event.listen(self.engine.sync_engine, "connect", _on_connect)

    async def open(self, initialize: Sequence[Callable[[], Any]]) -> None:
        """Make the file, and the library's tables by *initialize*; several processes may do so at once."""
        await in_thread(self.kept.prepare, self.kept.path)
        for attempt in range(_ATTEMPTS):
            try:
                for make in initialize:
                    await make()
            except OperationalError:  # another one has just made the same table
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    async def close(self) -> None:
        """Close the file."""
        await self.engine.dispose()


def _on_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # A task that a power cut takes is asked for again; waiting for the disk would slow every one.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
