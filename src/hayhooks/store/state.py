"""The database of a server's state: one row per name, its last change."""

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hayhooks.store.sqlite import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS live (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,      -- 'live' or 'undeployed'
    version TEXT,             -- of the stored bundle, when live
    shown TEXT,               -- version of what lay in the pipelines directory after the change
    is_synced INTEGER NOT NULL,
    is_users INTEGER NOT NULL,
    written TEXT NOT NULL     -- JSON: files in the pipelines directory that the server wrote, path: SHA-256
) STRICT
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
        self._lock = threading.Lock()
        self._database = open_database(path, _SCHEMA)

    def records(self) -> list[Record]:
        """All rows. Raises OSError when the database cannot be read, as ``get`` does."""
        return [_record(row) for row in self._execute("SELECT * FROM live ORDER BY name", ())]

    def get(self, name: str) -> Record | None:
        """The row of *name*."""
        rows = self._execute("SELECT * FROM live WHERE name = ?", (name,))
        return _record(rows[0]) if rows else None

    def set(self, record: Record) -> None:
        """Write the row of ``record.name``.

        Raises:
            OSError: The database cannot be written, for example because the disk is full.
        """
        row = (
            record.name, record.state, record.version, record.shown, record.is_synced, record.is_users,
            json.dumps(dict(record.written)),
        )  # fmt: skip
        self._execute("INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def check(self) -> None:
        """Read a little. Raises OSError when the database cannot be read."""
        self._execute("SELECT 1 FROM live LIMIT 1", ())

    def forget(self, name: str) -> None:
        """Drop the row of *name*. Raises as ``set``."""
        self._execute("DELETE FROM live WHERE name = ?", (name,))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise OSError(f"The state database does not work: {error}") from error


def _record(row: tuple[Any, ...]) -> Record:
    name, state, version, shown, is_synced, is_users, written = row
    return Record(name, state, version, shown, bool(is_synced), bool(is_users), json.loads(written))
