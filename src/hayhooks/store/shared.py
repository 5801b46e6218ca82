"""What the processes that serve the same tell each other: who is there, which changes are under way, who is ready.

Rows in the database of the state, forgotten when the first of them starts. Nothing here says what is live: the records
do.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from hayhooks.store import uses
from hayhooks.store.processes import is_alive
from hayhooks.store.sqlite import Database, Watcher, open_database
from hayhooks.store.state import state_failed
from hayhooks.store.uses import SharedUses

POLL_S, ALONE_POLL_S = 0.05, 0.25  # between two looks at the counter, beside others and while nobody waits

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
_TABLES = ("peers", "open_changes", "answers", "overrides", "uses")


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
        self._database = _open(state_dir)
        self._watcher = Watcher(state_dir / "state.db")
        self.uses = SharedUses(self._database)
        self.poll_s = POLL_S
        self._others: frozenset[int] = frozenset()  # that serve the same, as far as was read

    def forget(self) -> None:
        """Begin anew: nobody else serves."""
        with self._database.changing() as connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def show(self, shown: Mapping[str, tuple[str, str]]) -> None:
        """Those who come are to serve what is *shown* in the pipelines directory, by name: version, over."""
        rows = [(name, version, over) for name, (version, over) in shown.items()]
        with self._database.changing() as connection:
            connection.executemany("INSERT OR REPLACE INTO overrides VALUES (?, ?, 1, ?)", rows)

    @staticmethod
    def bury(state_dir: Path, pid: int) -> None:
        """Nobody waits for that process any more: it has ended, and so has what it was changing."""
        database = _open(state_dir)
        try:
            _bury(database, pid)
        finally:
            database.close()

    def bury_dead(self) -> None:
        """Do so for all that have died: another process may get the id of one, and never answer."""
        for pid in self._others:
            if not is_alive(pid):
                _bury(self._database, pid)
                self._others -= {pid}

    def counter(self) -> int:
        """Differs from before when somebody has written."""
        return self._watcher.counter()

    def overrides(self) -> list[tuple[str, str | None, bool, str]]:
        """What is served in the place of the records: name, version, whether it is shown, and over which record."""
        rows = self._database.rows("SELECT name, version, is_shown, over FROM overrides")
        return [(name, version, bool(is_shown), over) for name, version, is_shown, over in rows]

    def set_override(self, name: str, version: str | None, *, is_shown: bool, over: str) -> None:
        """Serve that version as long as the record of *name* is *over*."""
        self._database.rows("INSERT OR REPLACE INTO overrides VALUES (?, ?, ?, ?)", (name, version, is_shown, over))

    def drop_override(self, name: str) -> None:
        """Serve again what the record says."""
        self._database.rows("DELETE FROM overrides WHERE name = ?", (name,))

    def join(self) -> bool:
        """From now on changes wait for this process. False: not now, one is being made without it."""
        with self._database.changing() as connection:
            agreed = connection.execute("SELECT pid FROM open_changes WHERE phase = 'agreed'").fetchall()
            if any(is_alive(pid) for (pid,) in agreed):
                return False
            connection.execute("INSERT OR REPLACE INTO peers VALUES (?)", (os.getpid(),))
        return True

    def leave(self) -> None:
        """Changes no longer wait for this process."""
        self._database.rows("DELETE FROM peers WHERE pid = ?", (os.getpid(),))

    @property
    def is_beside_dead(self) -> bool:
        """Whether one has died that served the same; takes microseconds."""
        return not all(map(is_alive, self._others))

    def changes(self) -> list[Change]:
        """All that a living worker makes."""
        others = self._database.rows("SELECT pid FROM peers WHERE pid != ?", (os.getpid(),))
        self._others = frozenset(pid for (pid,) in others)
        self.poll_s = POLL_S if self._others else ALONE_POLL_S
        rows = self._database.rows(
            "SELECT serial, name, pid, phase, version, is_shown FROM open_changes ORDER BY serial"
        )
        return [
            Change(serial, name, pid, phase, version, bool(is_shown))
            for serial, name, pid, phase, version, is_shown in rows
            if is_alive(pid)
        ]

    def begin(self, name: str) -> int | None:
        """Make the only change of *name*; its serial number, or None while a living worker makes another."""
        with self._database.changing() as connection:
            found = connection.execute("SELECT serial, pid FROM open_changes WHERE name = ?", (name,)).fetchall()
            for serial, pid in found:
                if pid != os.getpid() and is_alive(pid):
                    return None
                connection.execute("DELETE FROM answers WHERE serial = ?", (serial,))
            connection.execute("DELETE FROM open_changes WHERE name = ?", (name,))
            statement = "INSERT INTO open_changes VALUES (NULL, ?, ?, 'begun', NULL, 0)"
            return connection.execute(statement, (name, os.getpid())).lastrowid

    def holder(self, name: str) -> int | None:
        """The worker that changes *name*."""
        rows = self._database.rows("SELECT pid FROM open_changes WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else None

    def propose(self, serial: int, version: str | None, *, is_shown: bool) -> None:
        """Ask the others to build that version."""
        statement = "UPDATE open_changes SET phase = 'proposed', version = ?, is_shown = ? WHERE serial = ?"
        self._database.rows(statement, (version, is_shown, serial))

    def touch(self, serial: int) -> None:
        """Have the others look again; and see whether answers can be written at all."""
        self._database.rows("UPDATE open_changes SET name = name WHERE serial = ?", (serial,))

    def missing(self, serial: int, state: State) -> Missing:
        """Who is not in that *state* yet."""
        with self._database.using() as connection:
            return _missing(connection, serial, state)

    def agree(self, serial: int) -> bool:
        """The change is going to be made: nobody joins until it is. False: somebody joined first, or cannot."""
        with self._database.changing() as connection:
            if _missing(connection, serial, "built"):
                return False
            connection.execute("UPDATE open_changes SET phase = 'agreed' WHERE serial = ?", (serial,))
        return True

    def made(self, serial: int) -> None:
        """The records say it now; the others are to serve it."""
        self._database.rows("UPDATE open_changes SET phase = 'made' WHERE serial = ?", (serial,))

    def answer(self, serial: int, state: State, reason: str | None) -> None:
        """Say that this worker is in that *state*, or cannot be for that *reason*."""
        self._database.rows("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (serial, os.getpid(), state, reason))

    def end(self, serial: int) -> None:
        """The change is over, made or not."""
        with self._database.changing() as connection:
            connection.execute("DELETE FROM open_changes WHERE serial = ?", (serial,))
            connection.execute("DELETE FROM answers WHERE serial = ?", (serial,))

    def close(self) -> None:
        """Close the database."""
        with suppress(OSError):  # what a process has used that has ended counts for nothing
            self.uses.end()
        self._watcher.close()
        self._database.close()


def _bury(database: Database, pid: int) -> None:
    with database.changing() as connection:
        connection.execute("DELETE FROM peers WHERE pid = ?", (pid,))
        connection.execute("DELETE FROM uses WHERE pid = ?", (pid,))
        connection.execute("DELETE FROM open_changes WHERE pid = ?", (pid,))
        connection.execute("DELETE FROM answers WHERE serial NOT IN (SELECT serial FROM open_changes)")


def _missing(connection: sqlite3.Connection, serial: int, state: State) -> Missing:
    found = connection.execute(
        "SELECT p.pid, a.state, a.reason FROM peers p LEFT JOIN answers a ON a.pid = p.pid AND a.serial = ?"
        " WHERE p.pid != ? AND (a.state IS NOT ? OR a.reason IS NOT NULL) ORDER BY p.pid",
        (serial, os.getpid(), state),
    )
    rows = [row for row in found if is_alive(row[0])]
    failed = {pid: reason for pid, told, reason in rows if told == state and reason is not None}
    return Missing([pid for pid, *_ in rows if pid not in failed], failed)


def _open(state_dir: Path) -> Database:
    opening = partial(open_database, state_dir / "state.db", _SCHEMA + uses.SCHEMA, is_durable=False)
    return Database(opening, state_failed)
