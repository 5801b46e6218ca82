"""The store of a server: a pipelines directory that people see, and a state directory of ours.

The pipelines directory says what should be live. The state directory keeps uploaded bundles by version and a small
SQLite database with the last change made to each name. Whichever changed last wins at start: a directory that was
edited since the server last recorded its digest is served as it stands, otherwise the recorded version is.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.errors import HayhooksError
from hayhooks.core.store import Found
from hayhooks.store.shown import PipelinesDirectory
from hayhooks.store.state import Record, State
from hayhooks.store.versions import Versions


class StoreFailed(HayhooksError):
    """The disk refused; nothing was changed."""


class DiskStore:
    """Keeps deployments below *pipelines_dir*, and what it must remember below *state_dir*.

    Files that the server did not write are never changed or removed. A version is safe in the state directory before
    it is shown in the pipelines directory; *on_error* is told when showing it fails, as in a read-only directory.
    """

    def __init__(
        self,
        pipelines_dir: Path,
        state_dir: Path,
        ignore: Sequence[str] = (),
        on_error: Callable[[str, BaseException], None] | None = None,
        *,
        only: str = "",
    ) -> None:
        self._shown = PipelinesDirectory(pipelines_dir.absolute(), ignore, only)
        self._versions = Versions(state_dir.absolute() / "versions")
        self._on_error = on_error or (lambda _what, _error: None)
        self._shown.path.mkdir(parents=True, exist_ok=True)
        state_dir.mkdir(parents=True, exist_ok=True)
        self._state = State(state_dir / "state.db")

    def find(self) -> Sequence[Found]:
        """What should be live; finishes first what a crash interrupted."""
        records = {record.name: record for record in self._state.records()}
        on_disk = self._shown.scan()
        found = []
        for name in sorted({*records, *on_disk}):
            try:
                bundle = self._choose(name, records.get(name), on_disk.get(name))
            except HayhooksError as error:
                found.append(Found(name, error=error))
            except OSError as error:
                found.append(Found(name, error=StoreFailed(f"Its files cannot be read: {error}")))
            else:
                if bundle is not None:
                    self._versions.use(bundle.name, bundle.version)
                    found.append(Found(name, bundle))
        for name in self._versions.names():  # some were never live
            self._prune(name)
        return found

    def put(self, bundle: Bundle) -> Bundle:
        """Keep the bytes of *bundle* by version.

        Raises:
            StoreFailed: The disk is full or refuses.
        """
        self._versions.use(bundle.name, bundle.version)  # first: what is in use is not pruned while it is written
        try:
            if bundle.directory is None:
                self._versions.keep(bundle)
        except OSError as error:
            self._versions.end_use(bundle.name, bundle.version)
            raise _refused(bundle.name, error) from error
        return bundle

    def place(self, bundle: Bundle) -> Path:
        """The user's own directory, or the version's."""
        return bundle.directory or self._versions.files_of(bundle.name, bundle.version)

    def set_live(self, bundle: Bundle, *, save: bool) -> None:
        """Move the pointer, then show the files in the pipelines directory.

        The pointer comes first: a crash in between is finished at the next start.

        Raises:
            StoreFailed: The pointer cannot be moved; it stays where it was.
        """
        if not save:
            return
        before = self._state_of(bundle.name)
        written = before.written if before else {}
        is_users = not written and self._shown.is_taken(bundle.name)  # somebody else put it there
        record = Record(bundle.name, "live", bundle.version, None, is_synced=False, is_users=is_users, written=written)
        self._set(record)
        self._show(record, bundle.files)
        self._prune(bundle.name, keep=bundle.version)

    def set_undeployed(self, name: str) -> None:
        """Remember that *name* is undeployed and take away the files that the server wrote.

        Raises:
            StoreFailed: It cannot be remembered; nothing has changed.
        """
        before = self._state_of(name)
        written = before.written if before else {}
        record = Record(name, "undeployed", None, None, is_synced=True, is_users=False, written=written)
        self._set(record)
        self._clear(record)

    def release(self, name: str, version: str) -> None:
        """The files of that version may go when it is old."""
        self._versions.end_use(name, version)
        self._prune(name)

    def check(self) -> None:
        """Raise OSError when the state cannot be read."""
        self._state.check()

    def close(self) -> None:
        """Close the database."""
        self._state.close()

    def _choose(self, name: str, record: Record | None, path: Path | None) -> Bundle | None:
        if record is None:
            return self._shown.read(name, path) if path else None
        if record.state == "undeployed":
            self._clear(record)
            return None
        assert record.version is not None
        stored = self._versions.get(name, record.version)
        if not record.is_synced:
            if stored is not None:
                self._show(record, stored.files)
                return stored
            self._state.forget(name)
            return self._shown.read(name, path) if path else None
        if path is None:
            if record.shown is None and stored is not None:
                return stored  # it could not be shown, or lies beside files of the user's that are no deployment
            self._state.forget(name)  # somebody removed it while no server was looking
            return None
        shown = self._shown.read(name, path)
        return stored if stored is not None and shown.version == record.shown else shown

    def _prune(self, name: str, keep: str | None = None) -> None:
        record = self._state.get(name)
        is_gone = record is None or record.state == "undeployed"
        self._versions.prune(name, (keep, record.version if record else None), is_gone=is_gone)

    def _show(self, record: Record, files: Mapping[str, bytes]) -> None:
        """Write *files* into the pipelines directory, drop those of ours that are gone, then say what lies there.

        Never fails: the version itself is safe, and is served whatever can be seen of it.
        """
        try:
            written = {} if record.is_users else self._write_shown(record, files)
            path = self._shown.find(record.name)
            shown = self._shown.read(record.name, path).version if path else None
            self._state.set(record.with_(is_synced=True, shown=shown, written=written))
        except (OSError, HayhooksError) as error:
            self._on_error(f"Deployment {record.name!r} is kept, but {self._shown.path} does not show it", error)

    def _write_shown(self, record: Record, files: Mapping[str, bytes]) -> Mapping[str, str]:
        """Make the pipelines directory show *files*; what the server has written there afterwards."""
        ours = record.written

        def announce(all_ours: Mapping[str, str]) -> None:
            nonlocal ours
            ours = all_ours
            self._state.set(record.with_(written=all_ours))

        try:
            return self._shown.write(record.name, files, record.written, announce)
        except OSError as error:
            self._on_error(f"Deployment {record.name!r} is kept, but {self._shown.path} shows it in part", error)
            return ours

    def _clear(self, record: Record) -> None:
        """Take away what the server wrote of an undeployed name. Never fails: undeployed it is."""
        try:
            self._shown.remove(record.written)
            if self._shown.find(record.name) is None:
                self._state.forget(record.name)
            elif record.written:
                self._state.set(record.with_(written={}))
            self._prune(record.name)
        except OSError as error:
            self._on_error(f"Not all files of {record.name!r} could be removed from {self._shown.path}", error)

    def _state_of(self, name: str) -> Record | None:
        try:
            return self._state.get(name)
        except OSError as error:
            raise _refused(name, error) from error

    def _set(self, record: Record) -> None:
        try:
            self._state.set(record)
        except OSError as error:
            raise _refused(record.name, error) from error


def _refused(name: str, error: OSError) -> StoreFailed:
    return StoreFailed(f"Deployment {name!r} cannot be stored: {error.strerror or error}")
