"""The database of tasks: one SQLite file, asked without blocking the event loop, and who is at work in it."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hayhooks.core.aio import in_thread

_OURS = (
    # Which process runs a task, or ran it last, and how many bytes the task has.
    "CREATE TABLE IF NOT EXISTS held (task_id TEXT PRIMARY KEY, worker TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0)",
    # Processes: an id of the operating system's is used again, a name is not.
    "CREATE TABLE IF NOT EXISTS workers (worker TEXT PRIMARY KEY, pid INTEGER NOT NULL)",
)
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
    """The file, and this process among those that use it."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.worker = f"{os.getpid()}-{os.urandom(6).hex()}"
        self.engine: AsyncEngine = create_async_engine(
            f"sqlite+aiosqlite:///{kept.path}", pool_size=4, max_overflow=0, connect_args={"timeout": 30}
        )
        event.listen(self.engine.sync_engine, "connect", _on_connect)

    async def open(self, initialize: Sequence[Callable[[], Any]]) -> None:
        """Make the tables, the library's by *initialize*; several processes may do so at once."""
        await in_thread(self.kept.prepare, self.kept.path)
        for attempt in range(_ATTEMPTS):
            try:
                for make in initialize:
                    await make()
                break
            except OperationalError:  # another one has just made the same table
                if attempt == _ATTEMPTS - 1:
                    raise
        async with self.writing() as connection:
            for statement in _OURS:
                await connection.execute(text(statement))
            await connection.execute(text("DELETE FROM workers WHERE pid = :pid"), {"pid": os.getpid()})
            await connection.execute(
                text("INSERT INTO workers VALUES (:worker, :pid)"), {"worker": self.worker, "pid": os.getpid()}
            )

    async def close(self) -> None:
        """Say that this process is at work no more, and close the file."""
        try:
            async with self.writing() as connection:
                await connection.execute(text("DELETE FROM workers WHERE worker = :w"), {"w": self.worker})
        finally:
            await self.engine.dispose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that writes."""
        async with self.engine.connect() as connection:
            # At the first statement SQLite would read, and fail should another process write before this one does.
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                await connection.rollback()
                raise
            await connection.commit()

    async def select(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a statement."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(statement), values)).all())

    async def claim(self, task_id: str) -> None:
        """Say that this process runs that task."""
        statement = (
            "INSERT INTO held (task_id, worker) VALUES (:id, :worker) "
            "ON CONFLICT (task_id) DO UPDATE SET worker = excluded.worker"
        )
        async with self.writing() as connection:
            await connection.execute(text(statement), {"id": task_id, "worker": self.worker})

    async def is_orphan(self, task_id: str) -> bool:
        """Whether the process that ran that task has ended."""
        found = await self.select(
            "SELECT held.worker, workers.pid FROM held LEFT JOIN workers USING (worker) WHERE task_id = :id", id=task_id
        )
        if not found:
            return False  # it is just being made
        worker, pid = found[0]
        return worker != self.worker and (pid is None or self.kept.is_gone(pid))


def _on_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
