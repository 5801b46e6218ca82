"""The database of a server's state: one row per name with its last change, and the history of changes."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.store import Cause, Change
from hayhooks.store import history
from hayhooks.store.sqlite import Database, open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS live (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,      -- 'live' or 'undeployed'
    version TEXT,             -- of the stored bundle, when live
    shown TEXT,               -- version of what lay in the pipelines directory after the change
    is_synced INTEGER NOT NULL,
    is_users INTEGER NOT NULL,
    written TEXT NOT NULL     -- JSON: files in the pipelines directory that the server wrote, path: SHA-256
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Record:
    """The last change of one name."""

    name: str
    state: Literal["live", "undeployed"]
    version: str | None
    shown: str | None
    is_synced: bool  # the pipelines directory shows the change
    is_users: bool  # what lies there is the user's own and not touched
    written: Mapping[str, str] = field(default_factory=dict)

    def with_(self, **changes: Any) -> "Record":
        """A copy with some facts changed."""
        return replace(self, **changes)


class State:
    """Rows in SQLite; each change is one transaction, on disk when the method returns. Thread-safe.

    Raises:
        OSError: The database cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(partial(open_database, path, _SCHEMA + history.SCHEMA), state_failed)

    def records(self) -> list[Record]:
        """All rows. Raises OSError when the database cannot be read, as everything here that reads does."""
        return [_record(row) for row in self._database.rows("SELECT * FROM live ORDER BY name")]

    def get(self, name: str) -> Record | None:
        """The row of *name*."""
        rows = self._database.rows("SELECT * FROM live WHERE name = ?", (name,))
        return _record(rows[0]) if rows else None

    def set(self, record: Record, cause: Cause | None = None) -> None:
        """Write the row of ``record.name``; with *cause* into its history, too.

        Raises:
            OSError: The database cannot be written, for example because the disk is full. Nothing has changed then.
        """
        row = (
            record.name, record.state, record.version, record.shown, record.is_synced, record.is_users,
            json.dumps(dict(record.written)),
        )  # fmt: skip
        with self._database.changing() as database:
            database.execute("INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            if cause is not None:
                history.append(database, record.name, record.version, cause)

    def check(self) -> None:
        """Read a little. Raises OSError when the database cannot be read."""
        self._database.rows("SELECT 1 FROM live LIMIT 1")

    def forget(self, name: str) -> None:
        """Drop the row of *name*, not its history. Raises as ``set``."""
        with self._database.changing() as database:
            database.execute("DELETE FROM live WHERE name = ?", (name,))

    def note(self, name: str, version: str, cause: Cause, *, if_new: bool) -> None:
        """Write into the history alone; with *if_new* only what differs from its last change. Raises as ``set``."""
        if if_new:  # asked without a lock first: most starts find what was there before
            with self._database.using() as database:
                if history.last_version(database, name) == version:
                    return
        with self._database.changing() as database:
            if not if_new or history.last_version(database, name) != version:
                history.append(database, name, version, cause)

    def history(self, name: str) -> Sequence[Change]:
        """The changes of *name*, newest first."""
        with self._database.using() as database:
            return history.changes_of(database, name)

    def known_names(self) -> Sequence[str]:
        """The names that have a history, the one with the newest change first."""
        with self._database.using() as database:
            return history.names_by_age(database)

    def forget_history(self, name: str) -> None:
        """Drop the history of *name*. Raises as ``set``."""
        with self._database.changing() as database:
            history.forget(database, name)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def state_failed(error: sqlite3.Error) -> OSError:
    """What those raise who use the database of the state."""
    return OSError(f"The state database does not work: {error}")


def _record(row: tuple[Any, ...]) -> Record:
    name, state, version, shown, is_synced, is_users, written = row
    return Record(name, state, version, shown, bool(is_synced), bool(is_users), json.loads(written))
