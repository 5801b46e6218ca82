"""Uploaded files on disk: bytes by id in one directory, what is known of them in a database beside it."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hayhooks.core.errors import KeptFileNotFound, TooLarge
from hayhooks.core.files import KeptFile, is_file_id, new_file_id
from hayhooks.core.principal import ANONYMOUS, Principal
from hayhooks.store.disk import StoreFailed
from hayhooks.store.files import sync_directory
from hayhooks.store.sqlite import Database, add_column, open_database

# What no row names may still be on its way into the database of another process, though not for that long.
ORPHAN_S = 600.0
_PIECE = 1024 * 1024
_HOLDER = f"TEXT NOT NULL DEFAULT '{ANONYMOUS.id}'"  # id of the caller who brought it
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    file_id TEXT PRIMARY KEY,  -- sorts by time
    filename TEXT NOT NULL,
    content_type TEXT,
    size INTEGER NOT NULL,     -- bytes
    purpose TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    expires_s INTEGER,
    holder {_HOLDER}
) STRICT;
CREATE INDEX IF NOT EXISTS files_by_holder ON files (holder, file_id);
"""
_COLUMNS = "file_id, filename, content_type, size, purpose, created_s, expires_s"
_INSERT = f"INSERT INTO files ({_COLUMNS}, holder) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our names
# {whose} is who may see it.
_THERE = f"SELECT {_COLUMNS} FROM files WHERE {{whose}} AND (expires_s IS NULL OR expires_s > :now)"  # noqa: S608
_ONE = _THERE + " AND file_id = :file_id"
_NEWEST_FIRST = f"""{_THERE}
    AND (:after IS NULL OR file_id < :after) AND (:purpose IS NULL OR purpose = :purpose)
ORDER BY file_id DESC LIMIT :limit
"""
_OLDEST_FIRST = _NEWEST_FIRST.replace("file_id <", "file_id >").replace("DESC", "ASC")


class DiskFiles:
    """Keeps files below *directory*, also for other processes of this server. Thread-safe.

    The bytes come first, then the row: only what has a row is there. Bytes without one, which a crash leaves, and
    files whose time is over are removed at the start. `of` gives those of one caller.

    Raises:
        OSError: The directory or the database cannot be made.
    """

    def __init__(
        self, directory: Path, *, max_file_bytes: int, max_total_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self._max_total_bytes = max_total_bytes
        self.clock = clock
        self._contents = directory.absolute() / "content"
        self._contents.mkdir(parents=True, exist_ok=True)
        self.database = Database(partial(open_database, directory / "files.db", _SCHEMA, upgrade=_upgrade), _failed)
        try:
            self._tidy()
        except BaseException:
            self.database.close()
            raise

    def of(self, caller: Principal) -> "FilesOf":
        """The files of *caller*, for an admin all."""
        return FilesOf(self, caller)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def path(self, file_id: str) -> Path:
        """Where its bytes are."""
        return self._contents / file_id

    def require_room(self, size: int) -> None:
        """Raise TooLarge unless *size* bytes fit beside what there is."""
        used = self.database.rows("SELECT COALESCE(SUM(size), 0) FROM files")[0][0]
        if used + size > self._max_total_bytes:
            raise TooLarge(
                f"There is no room for {size} bytes: all files together may have {self._max_total_bytes} bytes, "
                f"and {used} are used. Delete some."
            )

    def drop_expired(self) -> None:
        """Remove what has had its time."""
        gone = self.database.rows("DELETE FROM files WHERE expires_s <= ? RETURNING file_id", (self.clock(),))
        for (file_id,) in gone:
            _remove(self.path(file_id))

    def _tidy(self) -> None:
        """Remove bytes without a row and rows without bytes."""
        self.drop_expired()
        # Before the rows are read: what is listed then and has no row has none for ORPHAN_S.
        listed = {entry.name: entry.stat().st_mtime for entry in os.scandir(self._contents)}
        with self.database.changing() as connection:
            known = {file_id for (file_id,) in connection.execute("SELECT file_id FROM files")}
            for file_id in known - listed.keys():
                if not self.path(file_id).exists():
                    connection.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
        for name in listed.keys() - known:
            if self.clock() - listed[name] > ORPHAN_S:
                _remove(self._contents / name)


class FilesOf:
    """The files of one caller: a HeldFiles."""

    def __init__(self, files: DiskFiles, caller: Principal) -> None:
        self._files = files
        self._holder = caller.id
        self._whose = "TRUE" if caller.is_admin else "holder = :holder"

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
        now_s = self._files.clock()
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        if size > self._files.max_file_bytes:
            raise TooLarge(f"The file is larger than {self._files.max_file_bytes} bytes.")
        file = KeptFile(
            new_file_id(now_s), filename, content_type, size, purpose, int(now_s),
            None if expires_after_s is None else int(now_s) + expires_after_s,
        )  # fmt: skip
        self._files.drop_expired()
        self._files.require_room(size)  # before the disk is filled
        path = self._files.path(file.file_id)
        draft = path.with_name(f".{path.name}.tmp")
        try:
            _write_durably(draft, content)
            draft.replace(path)
            sync_directory(path.parent)
            with self._files.database.changing() as connection:
                self._files.require_room(size)  # others may have come first
                connection.execute(_INSERT, (*_row(file), self._holder))
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
            rows = self._read(_ONE, file_id=file_id)
        if not rows:
            raise KeptFileNotFound(file_id)
        return KeptFile(*rows[0])

    def open(self, file_id: str) -> tuple[KeptFile, BinaryIO]:
        """The same, and its bytes. Raises KeptFileNotFound."""
        file = self.get(file_id)
        try:
            return file, self._files.path(file_id).open("rb")
        except FileNotFoundError:  # deleted since
            raise KeptFileNotFound(file_id) from None

    def page(
        self, *, limit: int, is_newest_first: bool = True, after: str | None = None, purpose: str | None = None
    ) -> tuple[list[KeptFile], bool]:
        """At most *limit* files that come after the id *after*, and whether there are more."""
        statement = _NEWEST_FIRST if is_newest_first else _OLDEST_FIRST
        rows = self._read(statement, after=after, purpose=purpose, limit=limit + 1)
        return [KeptFile(*row) for row in rows[:limit]], len(rows) > limit

    def delete(self, file_id: str) -> None:
        """Forget it. Raises KeptFileNotFound."""
        self.get(file_id)
        gone = self._files.database.rows("DELETE FROM files WHERE file_id = ? RETURNING file_id", (file_id,))
        if not gone:  # somebody was faster
            raise KeptFileNotFound(file_id)
        _remove(self._files.path(file_id))

    def _read(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        about = {**values, "now": self._files.clock(), "holder": self._holder}
        return self._files.database.rows(statement.format(whose=self._whose), about)


def _failed(_: sqlite3.Error) -> StoreFailed:
    return StoreFailed("The database of files does not work. The server's log says why.")


def _upgrade(database: sqlite3.Connection) -> None:
    add_column(database, "files", "holder", _HOLDER)


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
