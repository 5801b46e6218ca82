"""The SQLite database of responses and conversations: its tables, its transactions, and what goes when."""

import sqlite3
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.principal import ANONYMOUS
from hayhooks.core.responses import ENDED
from hayhooks.store.sqlite import Database, add_column, open_database

_HOLDER = f"TEXT NOT NULL DEFAULT '{ANONYMOUS.id}'"  # id of the caller who made it
_SIZE = "INTEGER NOT NULL DEFAULT 0"  # bytes of what it says
_ITEMS = """
CREATE TABLE IF NOT EXISTS held_items (
    id TEXT NOT NULL,
    holder TEXT NOT NULL,
    response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    PRIMARY KEY (id, holder)      -- callers choose ids of items, and may choose the same
) STRICT;
"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    session TEXT NOT NULL,
    response BLOB NOT NULL,       -- JSON, the object
    input BLOB NOT NULL,          -- JSON, the request's own input items
    previous_id TEXT,
    conversation_id TEXT,
    is_background INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    events BLOB NOT NULL,         -- server-sent events, compressed with zlib
    is_cancel_asked INTEGER NOT NULL DEFAULT 0,
    holder {_HOLDER},
    size {_SIZE}
) STRICT;
DROP INDEX IF EXISTS responses_by_age;  -- of earlier releases
CREATE INDEX IF NOT EXISTS responses_by_age_and_size ON responses (created_s, size);
CREATE INDEX IF NOT EXISTS responses_under_way ON responses (owner) WHERE status IN ('queued', 'in_progress');
{_ITEMS}
CREATE INDEX IF NOT EXISTS held_items_of_response ON held_items (response_id);
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY,
    created_s INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    metadata BLOB NOT NULL,       -- JSON
    holder {_HOLDER},
    size {_SIZE}
) STRICT;
DROP INDEX IF EXISTS conversations_by_age;
CREATE INDEX IF NOT EXISTS conversations_by_age_and_size ON conversations (used_s, size);
CREATE TABLE IF NOT EXISTS conversation_items (
    position INTEGER PRIMARY KEY,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    item BLOB NOT NULL            -- JSON
) STRICT;
CREATE INDEX IF NOT EXISTS items_of_conversation ON conversation_items (conversation_id, position);
CREATE TRIGGER IF NOT EXISTS item_comes AFTER INSERT ON conversation_items BEGIN
    UPDATE conversations SET size = size + length(new.item) WHERE id = new.conversation_id;
END;
CREATE TRIGGER IF NOT EXISTS item_goes AFTER DELETE ON conversation_items BEGIN
    UPDATE conversations SET size = size - length(old.item) WHERE id = old.conversation_id;
END;
"""  # noqa: S608 - our words
# Of the rows of a table, newest first, those beyond a number of bytes; the newest stays in any case.
_BEYOND = """
SELECT place FROM (
    SELECT {place} AS place, {size} AS size, SUM({size}) OVER (ORDER BY {age} DESC, {place} DESC) AS total
    FROM {table} WHERE {where}
) WHERE total > ? AND total > size
"""
_BEYOND_ITEMS = _BEYOND.format(
    place="position", size="length(item)", age="position", table="conversation_items", where="conversation_id = ?"
)
# Changes, and this part of the bytes that may be kept: each look for what is too old or too much costs a little.
_PRUNE_EVERY, _PRUNE_PART = 50, 64


class ResponseRows:
    """One file; ``:memory:`` forgets when it is closed. The file is made when first needed. Thread-safe.

    Raises:
        OSError: From every method, when it cannot be read or written.
    """

    def __init__(self, path: Path | Literal[":memory:"], *, max_age_s: float, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self._max_bytes = max_bytes
        self._path = path
        self._max_age_s = max_age_s
        # A response that a power cut takes is asked for again; waiting for the disk would slow every one.
        opening = partial(open_database, path, _SCHEMA, upgrade=_upgrade, is_durable=False, checks_references=True)
        self._database = Database(opening, _failed, is_lazy=True)
        self._changes = 0
        self._written_bytes = 0  # since the last look

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever kept, so that no file need be made to look for it."""
        return not self._database.is_open and self._path != ":memory:" and not Path(self._path).exists()

    def select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self._database.rows(statement, values)

    def change(self, statement: str, *values: Any) -> bool:
        """Whether a statement changed anything."""
        with self.transaction() as database:
            return database.execute(statement, values).rowcount > 0

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """The database, locked; changes are written together or not at all."""
        return self._database.changing()

    def trim(self, database: sqlite3.Connection, conversation_id: str) -> None:
        """Drop the oldest items of a conversation that are too many, or too much."""
        database.execute(
            "DELETE FROM conversation_items WHERE conversation_id = ?1 AND position <= (SELECT position FROM"
            " conversation_items WHERE conversation_id = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
            (conversation_id, self.max_count),
        )
        size = database.execute("SELECT size FROM conversations WHERE id = ?", [conversation_id]).fetchone()[0]
        if size > self._max_bytes:
            statement = f"DELETE FROM conversation_items WHERE position IN ({_BEYOND_ITEMS})"  # noqa: S608 - our words
            database.execute(statement, (conversation_id, self._max_bytes))

    def prune(self, database: sqlite3.Connection, written_bytes: int) -> None:
        """Now and then, drop what is too old or too much; what is still being made stays."""
        self._changes += 1
        self._written_bytes += written_bytes
        is_time = (self._changes - 1) % min(_PRUNE_EVERY, self.max_count) == 0
        if not is_time and self._written_bytes <= self._max_bytes // _PRUNE_PART:
            return
        self._written_bytes = 0
        oldest_s = time.time() - self._max_age_s
        ended = f"status IN {ENDED}"
        for table, age, is_free in (("responses", "created_s", ended), ("conversations", "used_s", "1")):
            database.execute(f"DELETE FROM {table} WHERE {age} < ? AND {is_free}", (oldest_s,))  # noqa: S608
            database.execute(
                f"DELETE FROM {table} WHERE {is_free} AND rowid IN "  # noqa: S608 - our names
                f"(SELECT rowid FROM {table} ORDER BY {age} DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (self.max_count,),
            )
            if database.execute(f"SELECT TOTAL(size) FROM {table}").fetchone()[0] > self._max_bytes:  # noqa: S608
                beyond = _BEYOND.format(place="rowid", size="size", age=age, table=table, where="TRUE")
                database.execute(f"DELETE FROM {table} WHERE {is_free} AND rowid IN ({beyond})", [self._max_bytes])  # noqa: S608

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _failed(error: sqlite3.Error) -> OSError:
    return OSError(f"The database of responses does not work: {error}")


def _upgrade(database: sqlite3.Connection) -> None:
    for table in ("responses", "conversations"):
        add_column(database, table, "holder", _HOLDER)
    if add_column(database, "responses", "size", _SIZE):
        database.execute("UPDATE responses SET size = length(response) + length(input) + length(events)")
    if add_column(database, "conversations", "size", _SIZE):
        sizes = "SELECT TOTAL(length(item)) FROM conversation_items WHERE conversation_id = conversations.id"
        database.execute(f"UPDATE conversations SET size = CAST(({sizes}) AS INTEGER)")  # noqa: S608 - our words
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'response_items'").fetchone():
        database.execute(_ITEMS)
        database.execute(
            "INSERT OR IGNORE INTO held_items SELECT id, ?, response_id FROM response_items", [ANONYMOUS.id]
        )
        database.execute("DROP TABLE response_items")
