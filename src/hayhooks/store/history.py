"""What each name has meant, and who changed that: a table in the database of a server's state."""

import sqlite3
import time

from hayhooks.core.store import Cause, Change

# Of each name. More than there are kept versions, so that rolling back and forth does not push one out.
MAX_CHANGES = 200

SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY,   -- the order, whatever the clock says
    name TEXT NOT NULL,
    version TEXT,             -- NULL: it was undeployed
    at_s REAL NOT NULL,
    how TEXT NOT NULL,
    by_id TEXT NOT NULL,
    by_name TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS changes_of ON changes (name, id);
"""


def append(database: sqlite3.Connection, name: str, version: str | None, cause: Cause) -> None:
    """Add a change that happens now, inside the caller's transaction; the oldest beyond the limit go."""
    database.execute(
        "INSERT INTO changes (name, version, at_s, how, by_id, by_name) VALUES (?, ?, ?, ?, ?, ?)",
        (name, version, time.time(), cause.how, cause.by_id, cause.by_name),
    )
    database.execute(
        "DELETE FROM changes WHERE name = ? AND id <= "
        "(SELECT id FROM changes WHERE name = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (name, name, MAX_CHANGES),
    )


def last_version(database: sqlite3.Connection, name: str) -> str | None:
    """What *name* meant after its last change."""
    row = database.execute("SELECT version FROM changes WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return row[0] if row else None


def changes_of(database: sqlite3.Connection, name: str) -> list[Change]:
    """The changes of *name*, newest first."""
    rows = database.execute(
        "SELECT version, at_s, how, by_id, by_name FROM changes WHERE name = ? ORDER BY id DESC", (name,)
    )
    return [Change(name, version, at_s, Cause(how, by_id, by_name)) for version, at_s, how, by_id, by_name in rows]


def names_by_age(database: sqlite3.Connection) -> list[str]:
    """All names that have changed, the one with the newest change first."""
    return [name for (name,) in database.execute("SELECT name FROM changes GROUP BY name ORDER BY MAX(id) DESC")]


def forget(database: sqlite3.Connection, name: str) -> None:
    """Drop the changes of *name*."""
    database.execute("DELETE FROM changes WHERE name = ?", (name,))
