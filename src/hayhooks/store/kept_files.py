"""Uploaded files on disk: bytes by id in one directory, what is known of them in a database beside it."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hayhooks.core.errors import KeptFileNotFound, TooLarge
from hayhooks.core.files import KeptFile, is_file_id, new_file_id
from hayhooks.store.disk import StoreFailed
from hayhooks.store.files import sync_directory
from hayhooks.store.sqlite import open_database

# What no row names may still be on its way into the database of another process, though not for that long.
ORPHAN_S = 600.0
_PIECE = 1024 * 1024
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    file_id TEXT PRIMARY KEY,  -- sorts by time
    filename TEXT NOT NULL,
    content_type TEXT,
    size INTEGER NOT NULL,     -- bytes
    purpose TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    expires_s INTEGER
) STRICT
"""
_ONE = "SELECT * FROM files WHERE file_id = ? AND (expires_s IS NULL OR expires_s > ?)"
_NEWEST_FIRST = """
SELECT * FROM files
WHERE (:after IS NULL OR file_id < :after) AND (:purpose IS NULL OR purpose = :purpose)
    AND (expires_s IS NULL OR expires_s > :now)
ORDER BY file_id DESC LIMIT :limit
"""
_OLDEST_FIRST = _NEWEST_FIRST.replace("<", ">").replace("DESC", "ASC")


class DiskFiles:
    """Keeps files below *directory*, also for other processes of this server. Thread-safe.

    The bytes come first, then the row: only what has a row is there. Bytes without one, which a crash leaves, and
    files whose time is over are removed at the start.

    Raises:
        OSError: The directory or the database cannot be made.
    """

    def __init__(
        self, directory: Path, *, max_file_bytes: int, max_total_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self._max_total_bytes = max_total_bytes
        self._clock = clock
        self._contents = directory.absolute() / "content"
        self._contents.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = open_database(directory / "files.db", _SCHEMA)
        try:
            self._tidy()
        except BaseException:
            self._database.close()
            raise

    def keep(
        self,
        content: BinaryIO,
        *,
        filename: str,
        content_type: str | None,
        purpose: str,
        expires_after_s: int | None = None,
    ) -> KeptFile:
        """Keep what *content* holds, on disk when this returns.

        Raises:
            TooLarge: The file, or all files together, would be larger than allowed.
            StoreFailed: The disk is full or refuses.
        """
        now_s = self._clock()
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        if size > self.max_file_bytes:
            raise TooLarge(f"The file is larger than {self.max_file_bytes} bytes.")
        file = KeptFile(
            new_file_id(now_s), filename, content_type, size, purpose, int(now_s),
            None if expires_after_s is None else int(now_s) + expires_after_s,
        )  # fmt: skip
        self._drop_expired()
        self._require_room(self._read, size)  # before the disk is filled
        path = self._path(file.file_id)
        draft = path.with_name(f".{path.name}.tmp")
        try:
            _write_durably(draft, content)
            draft.replace(path)
            sync_directory(self._contents)
            with self._transaction() as execute:
                self._require_room(execute, size)  # others may have come first
                execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", _row(file))
        except BaseException as error:
            _remove(draft)
            _remove(path)
            if isinstance(error, OSError):
                raise StoreFailed(f"The file cannot be stored: {error.strerror or 'the disk refuses'}.") from error
            raise
        return file

    def get(self, file_id: str) -> KeptFile:
        """What is known of it. Raises KeptFileNotFound."""
        rows: list[Any] = []
        if is_file_id(file_id):
            rows = self._read(_ONE, (file_id, self._clock()))
        if not rows:
            raise KeptFileNotFound(file_id)
        return KeptFile(*rows[0])

    def open(self, file_id: str) -> tuple[KeptFile, BinaryIO]:
        """The same, and its bytes. Raises KeptFileNotFound."""
        file = self.get(file_id)
        try:
            return file, self._path(file_id).open("rb")
        except FileNotFoundError:  # deleted since
            raise KeptFileNotFound(file_id) from None

    def page(
        self, *, limit: int, is_newest_first: bool = True, after: str | None = None, purpose: str | None = None
    ) -> tuple[list[KeptFile], bool]:
        """At most *limit* files that come after the id *after*, and whether there are more."""
        wanted = {"after": after, "purpose": purpose, "now": self._clock(), "limit": limit + 1}
        rows = self._read(_NEWEST_FIRST if is_newest_first else _OLDEST_FIRST, wanted)
        return [KeptFile(*row) for row in rows[:limit]], len(rows) > limit

    def delete(self, file_id: str) -> None:
        """Forget it. Raises KeptFileNotFound."""
        self.get(file_id)
        with self._transaction() as execute:
            gone = execute("DELETE FROM files WHERE file_id = ? RETURNING file_id", (file_id,))
        if not gone:  # somebody was faster
            raise KeptFileNotFound(file_id)
        _remove(self._path(file_id))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _path(self, file_id: str) -> Path:
        return self._contents / file_id

    def _require_room(self, execute: "_Execute", size: int) -> None:
        used = execute("SELECT COALESCE(SUM(size), 0) FROM files", ())[0][0]
        if used + size > self._max_total_bytes:
            raise TooLarge(
                f"There is no room for {size} bytes: all files together may have {self._max_total_bytes} bytes, "
                f"and {used} are used. Delete some."
            )

    def _drop_expired(self) -> None:
        with self._transaction() as execute:
            gone = execute("DELETE FROM files WHERE expires_s <= ? RETURNING file_id", (self._clock(),))
        for (file_id,) in gone:
            _remove(self._path(file_id))

    def _tidy(self) -> None:
        """Remove bytes without a row and rows without bytes."""
        self._drop_expired()
        # Before the rows are read: what is listed then and has no row has none for ORPHAN_S.
        listed = {entry.name: entry.stat().st_mtime for entry in os.scandir(self._contents)}
        with self._transaction() as execute:
            known = {file_id for (file_id,) in execute("SELECT file_id FROM files", ())}
            for file_id in known - listed.keys():
                if not self._path(file_id).exists():
                    execute("DELETE FROM files WHERE file_id = ?", (file_id,))
        for name in listed.keys() - known:
            if self._clock() - listed[name] > ORPHAN_S:
                _remove(self._contents / name)

    def _read(self, statement: str, values: tuple[Any, ...] | dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise _failed() from error

    @contextmanager
    def _transaction(self) -> Iterator["_Execute"]:
        """All or nothing; on disk at the end of the block."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield lambda statement, values: self._database.execute(statement, values).fetchall()
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _failed() from error


_Execute = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


def _failed() -> StoreFailed:
    return StoreFailed("The database of files does not work. The server's log says why.")


def _row(file: KeptFile) -> tuple[Any, ...]:
    return (
        file.file_id, file.filename, file.content_type, file.size, file.purpose, file.created_s, file.expires_s
    )  # fmt: skip


def _write_durably(path: Path, content: BinaryIO) -> None:
    with path.open("xb") as opened:
        while piece := content.read(_PIECE):
            opened.write(piece)
        opened.flush()
        os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    with suppress(OSError):  # it is swept at the next start
        path.unlink(missing_ok=True)
