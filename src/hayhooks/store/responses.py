"""Responses and conversations in SQLite, bounded by age, count and bytes; each caller sees their own."""

import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.principal import Principal
from hayhooks.core.responses import Item, KeptConversation, KeptResponse
from hayhooks.store.response_rows import ResponseRows

_COLUMNS = (
    "status", "created_s", "session", "response", "input", "previous_id", "conversation_id", "is_background", "owner",
    "events", "size", "id",
)  # fmt: skip
_ALL = ", ".join(_COLUMNS)
_INSERT = f"INSERT INTO responses ({_ALL}, holder) VALUES ({', '.join('?' * len(_COLUMNS))}, ?)"  # noqa: S608 - our names
_UPDATE = f"UPDATE responses SET {', '.join(f'{name} = ?' for name in _COLUMNS[:-1])}"  # noqa: S608
_UNDER_WAY = "status IN ('queued', 'in_progress')"


class SQLiteResponses:
    """A ResponseStore in one file; ``:memory:`` forgets when it is closed. The file is made when first needed.

    Nothing older than *max_age_s* seconds is kept, and of responses, of conversations, and of the items of one
    conversation not more than about *max_count* each, nor more than about *max_bytes*: the oldest go first, whosesoever
    they are.
    """

    def __init__(self, path: Path | Literal[":memory:"], *, max_age_s: float, max_count: int, max_bytes: int) -> None:
        self._rows = ResponseRows(path, max_age_s=max_age_s, max_count=max_count, max_bytes=max_bytes)

    def of(self, caller: Principal) -> "ResponsesOf":
        """What *caller* holds, for an admin everything."""
        return ResponsesOf(self._rows, caller)

    def asked_to_cancel(self, owner: int) -> list[str]:
        """Ids of the responses that the process *owner* is asked to stop."""
        rows = self._rows.select(
            f"SELECT id FROM responses WHERE owner = ? AND {_UNDER_WAY} AND is_cancel_asked = 1",  # noqa: S608
            owner,
        )
        return [row[0] for row in rows]

    def orphans(self, is_gone: Callable[[int], bool]) -> list[KeptResponse]:
        """Responses that have not ended and whose process is gone."""
        if self._rows.is_empty:
            return []
        found = self._rows.select(f"SELECT {_ALL} FROM responses WHERE {_UNDER_WAY}")  # noqa: S608 - our names
        return [kept for kept in map(_kept, found) if is_gone(kept.owner)]

    def close(self) -> None:
        """Close the database."""
        self._rows.close()


class ResponsesOf:
    """The responses and conversations of one caller: HeldResponses."""

    def __init__(self, rows: ResponseRows, caller: Principal) -> None:
        self._rows = rows
        self._holder = caller.id
        self._sees_all = caller.is_admin
        # What each look-up by an id says besides, and its values.
        self._mine = "" if caller.is_admin else " AND holder = ?"
        self._whose = () if caller.is_admin else (caller.id,)
        # The conversation of an id, and the last place in it of an item.
        self._conversation = f"(SELECT id FROM conversations WHERE id = ?{self._mine})"  # noqa: S608 - our words
        self._position = (
            f"(SELECT max(position) FROM conversation_items "  # noqa: S608 - our words
            f"WHERE conversation_id = {self._conversation} AND id = ?)"
        )

    def put(self, kept: KeptResponse, items: Sequence[str] = (), *, is_new: bool = True) -> None:
        """Keep *kept*; unless it *is_new*, only in the place of what is there. *items* are the ids of its items."""
        events = zlib.compress(kept.events, 1) if kept.events else b""
        size = len(kept.response) + len(kept.input) + len(events)
        row = (
            kept.status, kept.created_s, kept.session, kept.response, kept.input, kept.previous_id,
            kept.conversation_id, kept.is_background, kept.owner, events, size, kept.id,
        )  # fmt: skip
        with self._rows.transaction() as database:
            if database.execute(f"{_UPDATE} WHERE id = ?{self._mine}", (*row, *self._whose)).rowcount == 0:
                if not is_new:
                    return
                database.execute(_INSERT, (*row, self._holder))
            database.executemany(
                "INSERT OR IGNORE INTO held_items SELECT ?, holder, id FROM responses WHERE id = ?",
                [(item, kept.id) for item in items],
            )
            self._rows.prune(database, size)

    def get(self, response_id: str) -> KeptResponse | None:
        """The response of that id."""
        return self._one(f"id = ?{self._mine}", response_id, *self._whose)

    def delete(self, response_id: str) -> bool:
        """Forget it; whether it was there."""
        return self._rows.change(f"DELETE FROM responses WHERE id = ?{self._mine}", response_id, *self._whose)  # noqa: S608

    def chain(self, response_id: str) -> list[KeptResponse]:
        """The response of that id and those before it, as far as they are kept; oldest first. Without events."""
        columns = _ALL.replace("events", "x''")
        # The number makes a circle, which only a damaged file can have, end.
        statement = (
            "WITH RECURSIVE back (previous, depth) AS (SELECT ?, 0 UNION ALL "  # noqa: S608 - our names
            f"SELECT previous_id, depth + 1 FROM responses JOIN back ON id = previous{self._mine} "
            f"WHERE depth < ?) SELECT {columns} FROM back JOIN responses ON id = previous{self._mine} "
            "ORDER BY depth DESC"
        )
        values = (response_id, *self._whose, self._rows.max_count, *self._whose)
        return [_kept(row) for row in self._rows.select(statement, *values)]

    def having(self, item: str) -> KeptResponse | None:
        """The response that has an item of that id."""
        return self._one(f"id IN (SELECT response_id FROM held_items WHERE id = ?{self._mine})", item, *self._whose)  # noqa: S608

    def ask_to_cancel(self, response_id: str) -> None:
        """Ask the process that makes it to stop."""
        statement = f"UPDATE responses SET is_cancel_asked = 1 WHERE id = ?{self._mine}"  # noqa: S608 - our words
        self._rows.change(statement, response_id, *self._whose)

    def put_conversation(self, conversation: KeptConversation) -> None:
        """Keep *conversation*, in the place of what was there."""
        with self._rows.transaction() as database:
            database.execute(
                "INSERT INTO conversations (id, created_s, used_s, metadata, holder) VALUES (?, ?, ?, ?, ?)"
                "ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata, used_s = excluded.used_s "
                "WHERE holder = excluded.holder OR ?",
                (
                    conversation.id,
                    conversation.created_s,
                    int(time.time()),
                    conversation.metadata,
                    self._holder,
                    self._sees_all,
                ),
            )
            self._rows.prune(database, len(conversation.metadata))

    def conversation(self, conversation_id: str) -> KeptConversation | None:
        """The conversation of that id."""
        statement = f"SELECT id, created_s, metadata FROM conversations WHERE id = ?{self._mine}"  # noqa: S608 - our words
        rows = self._rows.select(statement, conversation_id, *self._whose)
        return KeptConversation(*rows[0]) if rows else None

    def delete_conversation(self, conversation_id: str) -> bool:
        """Forget it and its items; whether it was there."""
        return self._rows.change(f"DELETE FROM conversations WHERE id = ?{self._mine}", conversation_id, *self._whose)  # noqa: S608

    def append(self, conversation_id: str, items: Sequence[Item]) -> None:
        """Add items at the end of a conversation; nothing happens when it is not there."""
        with self._rows.transaction() as database:
            used = database.execute(
                f"UPDATE conversations SET used_s = ? WHERE id = ?{self._mine}",  # noqa: S608 - our words
                (int(time.time()), conversation_id, *self._whose),
            )
            if not used.rowcount:
                return
            database.executemany(
                "INSERT INTO conversation_items (conversation_id, id, item) VALUES (?, ?, ?)",
                [(conversation_id, item_id, item) for item_id, item in items],
            )
            self._rows.trim(database, conversation_id)
            self._rows.prune(database, sum(len(item) for _, item in items))

    def items(
        self,
        conversation_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] = "asc",
        after: str | None = None,
    ) -> list[bytes]:
        """Items of a conversation; *after* names the one before the first."""
        where, values = "", [conversation_id, *self._whose]
        if after is not None:
            where = f"AND position {'>' if order == 'asc' else '<'} {self._position}"
            values += [*values, after]
        rows = self._rows.select(
            f"SELECT item FROM conversation_items WHERE conversation_id = {self._conversation} {where} "  # noqa: S608
            f"ORDER BY position {'ASC' if order == 'asc' else 'DESC'} LIMIT ?",
            *values,
            -1 if limit is None else limit,
        )
        return [row[0] for row in rows]

    def item(self, conversation_id: str, item_id: str) -> bytes | None:
        """One item of a conversation."""
        statement = f"SELECT item FROM conversation_items WHERE position = {self._position}"  # noqa: S608 - our words
        rows = self._rows.select(statement, conversation_id, *self._whose, item_id)
        return rows[0][0] if rows else None

    def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Forget one item; whether it was there."""
        statement = f"DELETE FROM conversation_items WHERE position = {self._position}"  # noqa: S608 - our words
        return self._rows.change(statement, conversation_id, *self._whose, item_id)

    def _one(self, where: str, *values: Any) -> KeptResponse | None:
        found = self._rows.select(f"SELECT {_ALL} FROM responses WHERE {where} LIMIT 1", *values)  # noqa: S608
        return _kept(found[0]) if found else None


def _kept(row: Sequence[Any]) -> KeptResponse:
    facts = dict(zip(_COLUMNS, row, strict=True))
    del facts["size"]
    events = zlib.decompress(facts.pop("events") or _NO_EVENTS)
    return KeptResponse(**{**facts, "is_background": bool(facts["is_background"])}, events=events)


_NO_EVENTS = zlib.compress(b"")
