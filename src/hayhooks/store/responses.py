"""Responses and conversations in SQLite, bounded by age and count."""

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.responses import ENDED, Item, KeptConversation, KeptResponse
from hayhooks.store.sqlite import open_database

_SCHEMA = """
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
    is_cancel_asked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (created_s);
CREATE INDEX IF NOT EXISTS responses_under_way ON responses (owner) WHERE status IN ('queued', 'in_progress');
CREATE TABLE IF NOT EXISTS response_items (
    id TEXT PRIMARY KEY,
    response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX IF NOT EXISTS items_of_response ON response_items (response_id);
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY,
    created_s INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    metadata BLOB NOT NULL        -- JSON
) STRICT;
CREATE INDEX IF NOT EXISTS conversations_by_age ON conversations (used_s);
CREATE TABLE IF NOT EXISTS conversation_items (
    position INTEGER PRIMARY KEY,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    item BLOB NOT NULL            -- JSON
) STRICT;
CREATE INDEX IF NOT EXISTS items_of_conversation ON conversation_items (conversation_id, position);
"""
_COLUMNS = (
    "status", "created_s", "session", "response", "input", "previous_id", "conversation_id", "is_background", "owner",
    "events", "id",
)  # fmt: skip
_ALL = ", ".join(_COLUMNS)
_INSERT = f"INSERT INTO responses ({_ALL}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our names
_UPDATE = f"UPDATE responses SET {', '.join(f'{name} = ?' for name in _COLUMNS[:-1])} WHERE id = ?"  # noqa: S608
# A response and those before it. The number makes a circle, which only a damaged file can have, end.
_BACK = """
WITH RECURSIVE back (id, previous, depth) AS (
    SELECT id, previous_id, 0 FROM responses WHERE id = ?
    UNION ALL SELECT r.id, r.previous_id, depth + 1 FROM responses r JOIN back ON r.id = back.previous WHERE depth < ?
) """
_UNDER_WAY = "status IN ('queued', 'in_progress')"
_POSITION = "(SELECT max(position) FROM conversation_items WHERE conversation_id = ? AND id = ?)"
_PRUNE_EVERY = 50  # changes; each look for what is too old or too many costs a little


class SQLiteResponses:
    """A ResponseStore in one file; ``:memory:`` forgets when it is closed. The file is made when first needed.

    Nothing older than *max_age_s* seconds is kept, and of responses, of conversations, and of the items of one
    conversation not more than about *max_count* each: the oldest go first.
    """

    def __init__(self, path: Path | Literal[":memory:"], *, max_age_s: float, max_count: int) -> None:
        self._path = path
        self._max_age_s = max_age_s
        self._max_count = max_count
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._changes = 0

    def put(self, kept: KeptResponse, items: Sequence[str] = (), *, is_new: bool = True) -> None:
        """Keep *kept*; unless it *is_new*, only in the place of what is there. *items* are the ids of its items."""
        row = (
            kept.status, kept.created_s, kept.session, kept.response, kept.input, kept.previous_id,
            kept.conversation_id, kept.is_background, kept.owner, zlib.compress(kept.events, 1) if kept.events else b"",
            kept.id,
        )  # fmt: skip
        with self._transaction() as database:
            if database.execute(_UPDATE, row).rowcount == 0:
                if not is_new:
                    return
                database.execute(_INSERT, row)
            database.executemany(
                "INSERT OR IGNORE INTO response_items VALUES (?, ?)", [(item, kept.id) for item in items]
            )
            self._prune(database)

    def get(self, response_id: str) -> KeptResponse | None:
        """The response of that id."""
        return next(iter(self._select("WHERE id = ?", response_id)), None)

    def delete(self, response_id: str) -> bool:
        """Forget it; whether it was there."""
        return self._change("DELETE FROM responses WHERE id = ?", response_id)

    def chain(self, response_id: str) -> list[KeptResponse]:
        """The response of that id and those before it, as far as they are kept; oldest first. Without events."""
        columns = _ALL.replace("events", "x''")
        statement = _BACK + f"SELECT {columns} FROM responses JOIN back USING (id) ORDER BY depth DESC"  # noqa: S608 - our names
        return [_kept(row) for row in self._rows(statement, response_id, self._max_count)]

    def holder(self, item: str) -> KeptResponse | None:
        """The response that has an item of that id."""
        found = self._select("WHERE id = (SELECT response_id FROM response_items WHERE id = ?)", item)
        return next(iter(found), None)

    def ask_to_cancel(self, response_id: str) -> None:
        """Ask the process that makes it to stop."""
        self._change("UPDATE responses SET is_cancel_asked = 1 WHERE id = ?", response_id)

    def asked_to_cancel(self, owner: int) -> list[str]:
        """Ids of the responses that *owner* is asked to stop."""
        rows = self._rows(
            f"SELECT id FROM responses WHERE owner = ? AND {_UNDER_WAY} AND is_cancel_asked = 1",  # noqa: S608
            owner,
        )
        return [row[0] for row in rows]

    def orphans(self, is_gone: Callable[[int], bool]) -> list[KeptResponse]:
        """Responses that have not ended and whose owner is gone."""
        if self._database is None and self._path != ":memory:" and not Path(self._path).exists():
            return []  # nothing was ever kept: no file need be made
        return [kept for kept in self._select(f"WHERE {_UNDER_WAY}") if is_gone(kept.owner)]

    def put_conversation(self, conversation: KeptConversation) -> None:
        """Keep *conversation*, in the place of what was there."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata, used_s = excluded.used_s",
                (conversation.id, conversation.created_s, int(time.time()), conversation.metadata),
            )
            self._prune(database)

    def conversation(self, conversation_id: str) -> KeptConversation | None:
        """The conversation of that id."""
        rows = self._rows("SELECT id, created_s, metadata FROM conversations WHERE id = ?", conversation_id)
        return KeptConversation(*rows[0]) if rows else None

    def delete_conversation(self, conversation_id: str) -> bool:
        """Forget it and its items; whether it was there."""
        return self._change("DELETE FROM conversations WHERE id = ?", conversation_id)

    def append(self, conversation_id: str, items: Sequence[Item]) -> None:
        """Add items at the end of a conversation; nothing happens when it is not there."""
        with self._transaction() as database:
            used = database.execute(
                "UPDATE conversations SET used_s = ? WHERE id = ?", (int(time.time()), conversation_id)
            )
            if not used.rowcount:
                return
            database.executemany(
                "INSERT INTO conversation_items (conversation_id, id, item) VALUES (?, ?, ?)",
                [(conversation_id, item_id, item) for item_id, item in items],
            )
            database.execute(
                "DELETE FROM conversation_items WHERE conversation_id = ?1 AND position <= (SELECT position FROM"
                " conversation_items WHERE conversation_id = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
                (conversation_id, self._max_count),
            )

    def items(
        self,
        conversation_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] = "asc",
        after: str | None = None,
    ) -> list[bytes]:
        """Items of a conversation; *after* names the one before the first."""
        where, values = "", [conversation_id]
        if after is not None:
            where = f"AND position {'>' if order == 'asc' else '<'} {_POSITION}"
            values += [conversation_id, after]
        rows = self._rows(
            f"SELECT item FROM conversation_items WHERE conversation_id = ? {where} "  # noqa: S608 - our words
            f"ORDER BY position {'ASC' if order == 'asc' else 'DESC'} LIMIT ?",
            *values,
            -1 if limit is None else limit,
        )
        return [row[0] for row in rows]

    def item(self, conversation_id: str, item_id: str) -> bytes | None:
        """One item of a conversation."""
        rows = self._rows(
            f"SELECT item FROM conversation_items WHERE position = {_POSITION}",  # noqa: S608
            conversation_id,
            item_id,
        )
        return rows[0][0] if rows else None

    def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Forget one item; whether it was there."""
        statement = f"DELETE FROM conversation_items WHERE position = {_POSITION}"  # noqa: S608 - our words
        return self._change(statement, conversation_id, item_id)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _prune(self, database: sqlite3.Connection) -> None:
        """Now and then, drop what is too old or too many; what is still being made stays."""
        self._changes += 1
        if (self._changes - 1) % min(_PRUNE_EVERY, self._max_count):
            return
        oldest_s = time.time() - self._max_age_s
        ended = f"status IN {ENDED}"
        for table, age, is_free in (("responses", "created_s", ended), ("conversations", "used_s", "1")):
            database.execute(f"DELETE FROM {table} WHERE {age} < ? AND {is_free}", (oldest_s,))  # noqa: S608
            database.execute(
                f"DELETE FROM {table} WHERE {is_free} AND rowid IN "  # noqa: S608 - our names
                f"(SELECT rowid FROM {table} ORDER BY {age} DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (self._max_count,),
            )

    def _select(self, where: str, *values: Any) -> list[KeptResponse]:
        return [_kept(row) for row in self._rows(f"SELECT {_ALL} FROM responses {where}", *values)]  # noqa: S608

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._transaction(is_reading=True) as database:
            return database.execute(statement, values).fetchall()

    def _change(self, statement: str, *values: Any) -> bool:
        with self._transaction() as database:
            return database.execute(statement, values).rowcount > 0

    @contextmanager
    def _transaction(self, *, is_reading: bool = False) -> Iterator[sqlite3.Connection]:
        """The database, locked; changes are written together or not at all."""
        with self._lock:
            try:
                database = self._open()
                if is_reading:
                    yield database
                    return
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise OSError(f"The database of responses does not work: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            # A response that a power cut takes is asked for again; waiting for the disk would slow every one.
            self._database = open_database(self._path, _SCHEMA, is_durable=False, checks_references=True)
        return self._database


def _kept(row: Sequence[Any]) -> KeptResponse:
    facts = dict(zip(_COLUMNS, row, strict=True))
    events = zlib.decompress(facts.pop("events") or _NO_EVENTS)
    return KeptResponse(**{**facts, "is_background": bool(facts["is_background"])}, events=events)


_NO_EVENTS = zlib.compress(b"")
