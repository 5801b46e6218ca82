"""Which versions the processes of a server use: none drops what another has laid down, or still runs."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from hayhooks.store.processes import is_alive
from hayhooks.store.sqlite import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    who TEXT NOT NULL,  -- a store of a process
    pid INTEGER NOT NULL,
    PRIMARY KEY (name, version, who)
) STRICT, WITHOUT ROWID;
"""


class Uses(Protocol):
    """What a process and others use. Methods raise OSError when it cannot be read or written."""

    def add(self, used: Iterable[tuple[str, str]]) -> None:
        """From now on it uses these: names and versions."""

    def drop(self, name: str, version: str) -> None:
        """It uses that version no more."""

    def deciding(self, name: str) -> AbstractContextManager[set[str]]:
        """The versions of *name* that others use. Inside the block nobody begins to use one."""


class NobodyElse:
    """The uses of a store that is the only one in its state directory."""

    def add(self, used: Iterable[tuple[str, str]]) -> None:
        """Nobody needs to know."""

    def drop(self, name: str, version: str) -> None:
        """Nobody needs to know."""

    @contextmanager
    def deciding(self, name: str) -> Iterator[set[str]]:
        """None."""
        yield set()


class SharedUses:
    """Rows in the state database. What processes have used that live no more counts for nothing. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._who = f"{os.getpid()}-{os.urandom(8).hex()}"  # a process id alone may have been another's

    def add(self, used: Iterable[tuple[str, str]]) -> None:
        """From now on it uses these."""
        rows = [(name, version, self._who, os.getpid()) for name, version in used]
        with self._database.changing() as connection:
            connection.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?)", rows)

    def drop(self, name: str, version: str) -> None:
        """It uses that version no more."""
        statement = "DELETE FROM uses WHERE name = ? AND version = ? AND who = ?"
        self._database.rows(statement, (name, version, self._who))

    @contextmanager
    def deciding(self, name: str) -> Iterator[set[str]]:
        """The versions of *name* that others use, who have to wait meanwhile."""
        with self._database.changing() as connection:
            statement = "SELECT version, pid FROM uses WHERE name = ? AND who != ?"
            yield {version for version, pid in connection.execute(statement, (name, self._who)) if is_alive(pid)}

    def end(self) -> None:
        """It uses nothing more."""
        self._database.rows("DELETE FROM uses WHERE who = ?", (self._who,))
