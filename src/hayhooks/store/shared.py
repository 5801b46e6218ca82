"""What the workers of one server tell each other: who is there, which changes are under way, and who is ready for them.

Rows in the database of the state, forgotten when the server starts. Nothing here says what is live: the records do.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hayhooks.store.sqlite import open_database

Phase = Literal["begun", "proposed", "agreed", "made"]
State = Literal["built", "live"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS peers (pid INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS open_changes (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    pid INTEGER NOT NULL,        -- of the worker that makes the change
    phase TEXT NOT NULL,
    version TEXT,                -- NULL: to be undeployed
    is_shown INTEGER NOT NULL    -- as it lies in the pipelines directory; otherwise it is a kept version
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    serial INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,                 -- why it could not, or NULL
    PRIMARY KEY (serial, pid)
) STRICT;
CREATE TABLE IF NOT EXISTS overrides (
    name TEXT PRIMARY KEY, version TEXT, is_shown INTEGER NOT NULL, over TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one name that some worker makes."""

    serial: int
    name: str
    pid: int
    phase: Phase
    version: str | None
    is_shown: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """What keeps a change from its next step: workers that have not answered, and the reasons of those that cannot."""

    silent: Sequence[int]
    failed: Mapping[int, str]

    def __bool__(self) -> bool:
        return bool(self.silent or self.failed)


class Shared:
    """The rows, as this worker reads and writes them. Thread-safe; ``counter`` never waits for a writer.

    Methods raise OSError when the database does not work, for example because the disk is full.
    """

    def __init__(self, state_dir: Path) -> None:
        self._lock = threading.Lock()
        self._database = open_database(state_dir / "state.db", _SCHEMA, is_durable=False)
        # The counter tells of changes by other connections only, and is read where nothing may block.
        self._watching = open_database(state_dir / "state.db", "", is_durable=False)

    @staticmethod
    def forget(state_dir: Path, shown: Mapping[str, tuple[str, str]]) -> None:
        """Begin anew, before the first worker starts: all serve what is *shown*, by name: version, over."""
        database = open_database(state_dir / "state.db", _SCHEMA, is_durable=False)
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                for table in ("peers", "open_changes", "answers", "overrides"):
                    database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                rows = [(name, version, over) for name, (version, over) in shown.items()]
                database.executemany("INSERT INTO overrides VALUES (?, ?, 1, ?)", rows)
        finally:
            database.close()

    @staticmethod
    def bury(state_dir: Path, pid: int) -> None:
        """Nobody waits for that process any more: it has ended, and so has what it was changing."""
        database = open_database(state_dir / "state.db", "", is_durable=False)
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("DELETE FROM peers WHERE pid = ?", (pid,))
                database.execute("DELETE FROM open_changes WHERE pid = ?", (pid,))
                database.execute("DELETE FROM answers WHERE serial NOT IN (SELECT serial FROM open_changes)")
        finally:
            database.close()

    def counter(self) -> int:
        """Differs from before when somebody has written."""
        return int(self._watching.execute("PRAGMA data_version").fetchone()[0])

    def overrides(self) -> list[tuple[str, str | None, bool, str]]:
        """What is served in the place of the records: name, version, whether it is shown, and over which record."""
        rows = self._read("SELECT name, version, is_shown, over FROM overrides", ())
        return [(name, version, bool(is_shown), over) for name, version, is_shown, over in rows]

    def set_override(self, name: str, version: str | None, *, is_shown: bool, over: str) -> None:
        """Serve that version as long as the record of *name* is *over*."""
        with self._writing() as execute:
            execute("INSERT OR REPLACE INTO overrides VALUES (?, ?, ?, ?)", (name, version, is_shown, over))

    def drop_override(self, name: str) -> None:
        """Serve again what the record says."""
        with self._writing() as execute:
            execute("DELETE FROM overrides WHERE name = ?", (name,))

    def join(self) -> bool:
        """From now on changes wait for this process. False: not now, one is being made without it."""
        with self._writing() as execute:
            agreed = execute("SELECT pid FROM open_changes WHERE phase = 'agreed'", ())
            if any(is_alive(pid) for (pid,) in agreed):
                return False
            execute("INSERT OR REPLACE INTO peers VALUES (?)", (os.getpid(),))
        return True

    def leave(self) -> None:
        """Changes no longer wait for this process."""
        with self._writing() as execute:
            execute("DELETE FROM peers WHERE pid = ?", (os.getpid(),))

    def changes(self) -> list[Change]:
        """All that a living worker makes."""
        rows = self._read("SELECT serial, name, pid, phase, version, is_shown FROM open_changes ORDER BY serial", ())
        return [
            Change(serial, name, pid, phase, version, bool(is_shown))
            for serial, name, pid, phase, version, is_shown in rows
            if is_alive(pid)
        ]

    def begin(self, name: str) -> int | None:
        """Make the only change of *name*; its serial number, or None while a living worker makes another."""
        with self._writing() as execute:
            for serial, pid in execute("SELECT serial, pid FROM open_changes WHERE name = ?", (name,)):
                if pid != os.getpid() and is_alive(pid):
                    return None
                execute("DELETE FROM answers WHERE serial = ?", (serial,))
            execute("DELETE FROM open_changes WHERE name = ?", (name,))
            values = (name, os.getpid())
            rows = execute("INSERT INTO open_changes VALUES (NULL, ?, ?, 'begun', NULL, 0) RETURNING serial", values)
            return int(rows[0][0])

    def holder(self, name: str) -> int | None:
        """The worker that changes *name*."""
        rows = self._read("SELECT pid FROM open_changes WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else None

    def propose(self, serial: int, version: str | None, *, is_shown: bool) -> None:
        """Ask the others to build that version."""
        with self._writing() as execute:
            statement = "UPDATE open_changes SET phase = 'proposed', version = ?, is_shown = ? WHERE serial = ?"
            execute(statement, (version, is_shown, serial))

    def touch(self, serial: int) -> None:
        """Have the others look again; and see whether answers can be written at all."""
        with self._writing() as execute:
            execute("UPDATE open_changes SET name = name WHERE serial = ?", (serial,))

    def missing(self, serial: int, state: State) -> Missing:
        """Who is not in that *state* yet."""
        return self._missing(self._read, serial, state)

    def agree(self, serial: int) -> bool:
        """The change is going to be made: nobody joins until it is. False: somebody joined first, or cannot."""
        with self._writing() as execute:
            if self._missing(execute, serial, "built"):
                return False
            execute("UPDATE open_changes SET phase = 'agreed' WHERE serial = ?", (serial,))
        return True

    def made(self, serial: int) -> None:
        """The records say it now; the others are to serve it."""
        with self._writing() as execute:
            execute("UPDATE open_changes SET phase = 'made' WHERE serial = ?", (serial,))

    def answer(self, serial: int, state: State, reason: str | None) -> None:
        """Say that this worker is in that *state*, or cannot be for that *reason*."""
        with self._writing() as execute:
            execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (serial, os.getpid(), state, reason))

    def end(self, serial: int) -> None:
        """The change is over, made or not."""
        with self._writing() as execute:
            execute("DELETE FROM open_changes WHERE serial = ?", (serial,))
            execute("DELETE FROM answers WHERE serial = ?", (serial,))

    def close(self) -> None:
        """Close the database."""
        self._watching.close()
        with self._lock:
            self._database.close()

    def _missing(self, execute: "_Execute", serial: int, state: State) -> Missing:
        rows = execute(
            "SELECT p.pid, a.state, a.reason FROM peers p LEFT JOIN answers a ON a.pid = p.pid AND a.serial = ?"
            " WHERE p.pid != ? AND (a.state IS NOT ? OR a.reason IS NOT NULL) ORDER BY p.pid",
            (serial, os.getpid(), state),
        )
        rows = [row for row in rows if is_alive(row[0])]
        failed = {pid: reason for pid, told, reason in rows if told == state and reason is not None}
        return Missing([pid for pid, *_ in rows if pid not in failed], failed)

    def _read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._lock:
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise _failed(error) from error

    @contextmanager
    def _writing(self) -> Iterator["_Execute"]:
        """All or nothing."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield lambda statement, values: self._database.execute(statement, values).fetchall()
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _failed(error) from error


def is_gone_worker(pid: int) -> bool:
    """Whether the worker of that process id has ended; a new one that got its id is another."""
    return pid == os.getpid() or not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


_Execute = Callable[[str, Sequence[Any]], list[Any]]


def _failed(error: sqlite3.Error) -> OSError:
    return OSError(f"The state database does not work: {error}")
