"""Which process is at work on which task, and what goes when there is too much: beside the library's tables.

The library's way to the database is made for comfort and costs milliseconds a question; these are many and small.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

from hayhooks.surfaces.a2a.database import Kept

P = ParamSpec("P")
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    task_id TEXT PRIMARY KEY,
    worker TEXT NOT NULL,             -- that runs the task, or ran it last
    size INTEGER NOT NULL DEFAULT 0   -- bytes of the task when it ended
) STRICT;
-- Processes: an id of the operating system's is used again, a name is not.
CREATE TABLE IF NOT EXISTS workers (worker TEXT PRIMARY KEY, pid INTEGER NOT NULL) STRICT;
"""
_ENDED = "json_extract(status, '$.state') NOT IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')"
# By the time of their last change: those beyond a number, and those beyond a number of bytes.
_OVER = "SELECT id FROM tasks ORDER BY last_updated DESC, id DESC LIMIT -1 OFFSET ?"
_BEYOND = (
    "SELECT id FROM (SELECT tasks.id, coalesce(held.size, 0) AS size, SUM(coalesce(held.size, 0)) OVER "
    "(ORDER BY last_updated DESC, tasks.id DESC) AS total FROM tasks LEFT JOIN held ON held.task_id = tasks.id) "
    "WHERE total > ? AND total > size"
)
_OF_TASKS = ("task_versions", "push_notification_configs", "held")
_NEW_ROWS = 1000  # of those, which may be of tasks that are just being made


class Claims:
    """The claims of this process, and a look at those of others. Event loop only; its thread asks in order."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._worker = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._thread = ThreadPoolExecutor(1, "hayhooks-a2a")
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Say that this process is at work from now on."""
        await self._ask(self._open)

    async def close(self) -> None:
        """Say that it is no more."""
        await self._ask(self._close)
        self._thread.shutdown()

    async def claim(self, task_id: str) -> None:
        """From now on it is this process that runs that task."""
        statement = (
            "INSERT INTO held (task_id, worker) VALUES (?, ?) "
            "ON CONFLICT (task_id) DO UPDATE SET worker = excluded.worker"
        )
        await self._ask(self._change, statement, task_id, self._worker)

    async def note_size(self, task_id: str, size: int) -> None:
        """So many bytes that task has."""
        await self._ask(self._change, "UPDATE held SET size = ? WHERE task_id = ?", size, task_id)

    async def is_orphan(self, task_id: str) -> bool:
        """Whether the process that ran that task has ended."""
        statement = "SELECT held.worker, pid FROM held LEFT JOIN workers USING (worker) WHERE task_id = ?"
        found = await self._ask(self._select, statement, task_id)
        if not found:
            return False  # it is just being made
        worker, pid = found[0]
        return worker != self._worker and (pid is None or self._kept.is_gone(pid))

    async def owner(self, task_id: str) -> str | None:
        """Whose that task is."""
        found = await self._ask(self._select, "SELECT owner FROM tasks WHERE id = ?", task_id)
        return str(found[0][0]) if found else None

    async def canceled(self, task_ids: Sequence[str]) -> list[str]:
        """Those of *task_ids* that have been cancelled, by whichever process."""
        marks = ", ".join("?" * len(task_ids))
        statement = (
            f"SELECT id FROM tasks WHERE id IN ({marks}) "  # noqa: S608 - our marks
            "AND json_extract(status, '$.state') = 'TASK_STATE_CANCELED'"
        )
        return [row[0] for row in await self._ask(self._select, statement, *task_ids)]

    async def prune(self) -> None:
        """Drop what is too old or too much, the oldest first."""
        await self._ask(self._prune)

    async def _ask(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._thread.submit(method, *args, **kwargs))

    def _open(self) -> None:
        database = sqlite3.connect(self._kept.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
            database.execute("DELETE FROM workers WHERE pid = ?", [os.getpid()])
            database.execute("INSERT INTO workers VALUES (?, ?)", [self._worker, os.getpid()])
        except BaseException:
            database.close()
            raise
        self._database = database

    def _close(self) -> None:
        if self._database is not None:
            try:
                self._change("DELETE FROM workers WHERE worker = ?", self._worker)
            finally:
                self._database.close()

    def _select(self, statement: str, *values: object) -> list[tuple[str, int | None]]:
        assert self._database is not None
        return self._database.execute(statement, values).fetchall()

    def _change(self, statement: str, *values: object) -> None:
        assert self._database is not None
        self._database.execute(statement, values)

    def _prune(self) -> None:
        assert self._database is not None
        database, kept = self._database, self._kept
        oldest = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=kept.max_age_s)
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute("DELETE FROM tasks WHERE last_updated < ?", [str(oldest)])
            database.execute(f"DELETE FROM tasks WHERE {_ENDED} AND id IN ({_OVER})", [kept.max_count])  # noqa: S608
            database.execute(f"DELETE FROM tasks WHERE {_ENDED} AND id IN ({_BEYOND})", [kept.max_bytes])  # noqa: S608
            for table in _OF_TASKS:
                database.execute(
                    f"DELETE FROM {table} WHERE task_id NOT IN (SELECT id FROM tasks) "  # noqa: S608 - our names
                    f"AND rowid <= (SELECT max(rowid) - {_NEW_ROWS} FROM {table})"
                )
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")
