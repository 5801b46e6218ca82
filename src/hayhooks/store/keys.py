"""API keys in the database of a server's state."""

import json
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from hayhooks.core.errors import KeyNameTaken, KeyNotFound
from hayhooks.core.keys import APIKey
from hayhooks.store.disk import StoreFailed
from hayhooks.store.sqlite import Database, Watcher, open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,         -- JSON list
    digest BLOB NOT NULL,         -- SHA-256 of the key
    created_s INTEGER NOT NULL,   -- Unix time, as the others
    created_by TEXT NOT NULL,
    expires_s INTEGER,
    revoked_s INTEGER,
    requests_per_minute INTEGER,
    max_concurrent_runs INTEGER
) STRICT
"""
_ACTIVE_NAMED = """
SELECT id FROM api_keys WHERE name = ? AND revoked_s IS NULL AND (expires_s IS NULL OR expires_s > ?)
"""


class SQLiteKeys:
    """Rows of the state database at *path*; each change is on disk when the method returns. Thread-safe.

    Raises:
        OSError: The database cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.own_changes = 0
        self._database = Database(partial(open_database, path, _SCHEMA), _failed)
        try:
            self._watcher = Watcher(path)
        except OSError:
            self._database.close()
            raise

    def counter(self) -> int:
        """Differs from before when any connection has written into the database; takes microseconds.

        Raises:
            OSError: It cannot be read now.
        """
        return self._watcher.counter()

    def all(self) -> list[APIKey]:
        """All keys, the oldest first. Raises StoreFailed, as the methods below."""
        return [_key(row) for row in self._database.rows("SELECT * FROM api_keys ORDER BY created_s, rowid")]

    def add(self, key: APIKey) -> None:
        """Keep *key*. Raises KeyNameTaken when one of its name works at the time of its making."""
        row = (
            key.id, key.name, json.dumps(sorted(key.scopes)), key.digest, key.created_s, key.created_by,
            key.expires_s, key.revoked_s, key.requests_per_minute, key.max_concurrent_runs,
        )  # fmt: skip
        with self._database.using():
            with self._database.changing() as connection:
                if connection.execute(_ACTIVE_NAMED, (key.name, key.created_s)).fetchone() is not None:
                    raise KeyNameTaken(key.name)
                connection.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self.own_changes += 1

    def revoke(self, key_id: str, now_s: int) -> APIKey:
        """From now on it does not work; a second time changes nothing. Raises KeyNotFound."""
        statement = "UPDATE api_keys SET revoked_s = COALESCE(revoked_s, ?) WHERE id = ? RETURNING *"
        with self._database.using() as connection:
            rows = connection.execute(statement, (now_s, key_id)).fetchall()
            self.own_changes += 1
        if not rows:
            raise KeyNotFound(key_id)
        return _key(rows[0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        self._watcher.close()


def _key(row: tuple[Any, ...]) -> APIKey:
    key_id, name, scopes, *others = row
    return APIKey(key_id, name, frozenset(json.loads(scopes)), *others)


def _failed(error: sqlite3.Error) -> StoreFailed:
    return StoreFailed(f"The database of keys does not work: {error}.")
