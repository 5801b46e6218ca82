"""SQLite databases of the state directory, opened in one way."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

_WAL_S, _WAL_POLL_S = 30.0, 0.01


def open_database(
    path: Path | Literal[":memory:"],
    schema: str,
    *,
    upgrade: Callable[[sqlite3.Connection], None] | None = None,
    is_durable: bool = True,
    checks_references: bool = False,
) -> sqlite3.Connection:
    """The database at *path* with the tables of *schema*, for any thread, in autocommit.

    Readers and writers of several processes do not hold each other up. What is written is on disk when a transaction
    ends, unless *is_durable* is false: then a power cut, though no crash, may take the last changes. *upgrade* changes
    tables of earlier releases, as a whole or not at all, before those of *schema* are made.

    Raises:
        OSError: It cannot be opened, or is no database.
    """
    try:
        database = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        try:
            _use_wal(database)
            database.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            if checks_references:
                database.execute("PRAGMA foreign_keys = ON")
            if upgrade is not None:
                with database:
                    database.execute("BEGIN IMMEDIATE")  # processes that start together do it one after the other
                    upgrade(database)
            database.executescript(schema)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise OSError(f"The database {path} cannot be opened: {error}") from error
    return database


def _use_wal(database: sqlite3.Connection) -> None:
    """Write ahead. Of processes that make a database together only one can say so: SQLite does not wait there."""
    deadline = time.monotonic() + _WAL_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_POLL_S)
        else:
            return


def add_column(database: sqlite3.Connection, table: str, column: str, declaration: str) -> bool:
    """Add that column to a table that is there without it; whether it was."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    if not columns or column in columns:
        return False
    database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
    return True
