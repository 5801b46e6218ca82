"""SQLite databases of the state directory, opened in one way."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

_WAL_S, _WAL_POLL_S = 30.0, 0.01


class Database:
    """A connection that threads use one after the other; *open* makes it at once, or when first needed if *is_lazy*.

    Everything here that touches it raises what *failed* makes of SQLite's error. What a block raises itself passes.
    """

    def __init__(
        self,
        open: Callable[[], sqlite3.Connection],  # noqa: A002 - what it does
        failed: Callable[[sqlite3.Error], Exception],
        *,
        is_lazy: bool = False,
    ) -> None:
        self._lock = threading.RLock()
        self._open = open
        self._failed = failed
        self._connection = None if is_lazy else open()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.Error as error:
                raise self._failed(error) from error

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: at the end of the block all of it is written, or nothing."""
        with self.using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite may have ended it: a full disk
                    connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement, which may be a change."""
        with self.using() as connection:
            return connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the connection, if there is one, for good."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


class Watcher:
    """Tells whether anybody has written to the database at *path*, which is there.

    A connection that changes nothing, since its counter tells of changes by others only. It never waits for a writer,
    as it is asked on the event loop.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"The database {path} cannot be opened: {error}") from error

    def counter(self) -> int:
        """Differs from before when somebody has written; takes microseconds.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version

        Raises:
            OSError: It cannot be read now.
        """
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise OSError(f"The database cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


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
