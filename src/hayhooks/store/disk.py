"""The store of a server: a pipelines directory that people see, and a state directory of ours.

The pipelines directory says what should be live. The state directory keeps uploaded bundles by version and a small
SQLite database with the last change made to each name. Whichever changed last wins at start: a directory that was
edited since the server last recorded its digest is served as it stands, otherwise the recorded version is.
"""

import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hayhooks.core.bundle import WRAPPER_FILE, YAML_SUFFIXES, Bundle, ignored, read_directory
from hayhooks.core.errors import HayhooksError
from hayhooks.core.names import check_name
from hayhooks.core.store import Found
from hayhooks.store.files import remove_drafts, replace_file, write_tree
from hayhooks.store.state import Record, State

KEPT_VERSIONS = 10
_FILES, _LIST = "files", "files.json"  # inside a version's directory


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
    ) -> None:
        self._pipelines = pipelines_dir.absolute()
        self._versions = state_dir.absolute() / "versions"
        self._ignore = tuple(ignore)
        self._on_error = on_error or (lambda _what, _error: None)
        self._lock = threading.Lock()
        self._used: Counter[tuple[str, str]] = Counter()
        self._pipelines.mkdir(parents=True, exist_ok=True)
        state_dir.mkdir(parents=True, exist_ok=True)
        self._state = State(state_dir / "state.db")

    def find(self) -> Sequence[Found]:
        """What should be live; finishes first what a crash interrupted."""
        records = {record.name: record for record in self._state.records()}
        on_disk = self._scan()
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
                    self._use(bundle.name, bundle.version)
                    found.append(Found(name, bundle))
        self._tidy()
        return found

    def put(self, bundle: Bundle) -> Bundle:
        """Keep the bytes of *bundle* by version.

        Raises:
            StoreFailed: The disk is full or refuses.
        """
        self._use(bundle.name, bundle.version)  # first: what is in use is not pruned while it is written
        try:
            if bundle.directory is None:
                self._keep(bundle)
        except OSError as error:
            self._end_use(bundle.name, bundle.version)
            raise _refused(bundle.name, error) from error
        return bundle

    def place(self, bundle: Bundle) -> Path:
        """The user's own directory, or the version's."""
        return bundle.directory or self._home(bundle.name, bundle.version) / _FILES

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
        # What lies under this name was put there by someone else, or leads to where the server has no business.
        is_users = not written and (
            self._path_of(bundle.name) is not None or (self._pipelines / bundle.name).is_symlink()
        )
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
        self._end_use(name, version)
        self._prune(name)

    def close(self) -> None:
        """Close the database."""
        self._state.close()

    # -- what should be live ---------------------------------------------------------------------------------

    def _choose(self, name: str, record: Record | None, path: Path | None) -> Bundle | None:
        if record is None:
            return self._read(name, path) if path else None
        if record.state == "undeployed":
            self._clear(record)
            return None
        assert record.version is not None
        stored = self._stored(name, record.version)
        if not record.is_synced:
            if stored is not None:
                self._show(record, stored.files)
                return stored
            self._state.forget(name)
            return self._read(name, path) if path else None
        if path is None:
            if record.shown is None and stored is not None:
                return stored  # it could not be shown, or lies beside files of the user's that are no deployment
            self._state.forget(name)  # somebody removed it while no server was looking
            return None
        shown = self._read(name, path)
        return stored if stored is not None and shown.version == record.shown else shown

    def _scan(self) -> dict[str, Path]:
        names = {
            path.stem if path.suffix in YAML_SUFFIXES and path.is_file() else path.name
            for path in self._pipelines.iterdir()
        }
        return {name: path for name in names if (path := self._path_of(name)) is not None}

    def _path_of(self, name: str) -> Path | None:
        """What lies in the pipelines directory under this name.

        A directory wins over a YAML file of its name, and one without a wrapper may be anything.
        """
        directory = self._pipelines / name
        choices = [(directory, directory / WRAPPER_FILE)]
        choices += [(file, file) for suffix in sorted(YAML_SUFFIXES) for file in [self._pipelines / (name + suffix)]]
        for path, needed in choices:
            if not path.name.startswith(".") and needed.is_file() and not ignored(path.name, self._ignore):
                return path
        return None

    def _read(self, name: str, path: Path) -> Bundle:
        if path.is_dir():
            return read_directory(name, path, self._ignore)
        check_name(name)
        return Bundle(name, {path.name: path.read_bytes()}, directory=path.parent)

    # -- versions ---------------------------------------------------------------------------------------------

    def _home(self, name: str, version: str) -> Path:
        return self._versions / name / version

    def _keep(self, bundle: Bundle) -> None:
        home = self._home(bundle.name, bundle.version)
        if _listed(home) != sorted(bundle.files):
            shutil.rmtree(home, ignore_errors=True)
            tree = {f"{_FILES}/{path}": content for path, content in bundle.files.items()}
            tree[_LIST] = json.dumps(sorted(bundle.files)).encode()
            write_tree(tree, home)
            return
        # Kept before, perhaps in use: what its own runs have changed since is put right file by file.
        for path, content in bundle.files.items():
            file = home / _FILES / path
            if not file.is_file() or file.read_bytes() != content:
                replace_file(file, content)

    def _stored(self, name: str, version: str) -> Bundle | None:
        """The kept version; when its own runs have changed its files, as they are now, to be served in place."""
        home = self._home(name, version)
        try:
            bundle = Bundle(name, {path: (home / _FILES / path).read_bytes() for path in _listed(home) or ()})
        except (OSError, HayhooksError):
            return None
        if not bundle.files:
            return None
        return bundle if bundle.version == version else Bundle(name, bundle.files, directory=home / _FILES)

    def _use(self, name: str, version: str) -> None:
        with self._lock:
            self._used[name, version] += 1

    def _end_use(self, name: str, version: str) -> None:
        with self._lock:
            self._used[name, version] -= 1
            if self._used[name, version] <= 0:
                del self._used[name, version]

    def _prune(self, name: str, keep: str | None = None) -> None:
        """Drop the oldest versions beyond those that are kept, never one in use."""
        with self._lock:
            home = self._versions / name
            if not home.is_dir():
                return
            record = self._state.get(name)
            is_used = any(used == name for used, _ in self._used)
            if not is_used and (record is None or record.state == "undeployed"):
                shutil.rmtree(home, ignore_errors=True)
                return
            live = {keep, record.version if record else None}
            versions = sorted(
                (path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")),
                key=lambda path: path.stat().st_mtime,
                reverse=True,
            )
            for path in versions[KEPT_VERSIONS:]:
                if path.name not in live and not self._used.get((name, path.name)):
                    shutil.rmtree(path, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove what deploys left that were killed: drafts, and versions that were never live."""
        if not self._versions.is_dir():
            return
        for home in list(self._versions.iterdir()):
            for draft in home.glob(".*.tmp"):
                shutil.rmtree(draft, ignore_errors=True)
            self._prune(home.name)

    # -- the pipelines directory ------------------------------------------------------------------------------

    def _show(self, record: Record, files: Mapping[str, bytes]) -> None:
        """Write *files* into the pipelines directory, drop those of ours that are gone, then say what lies there.

        Never fails: the version itself is safe, and is served whatever can be seen of it.
        """
        try:
            written = {} if record.is_users else self._write_shown(record, files)
            path = self._path_of(record.name)
            shown = self._read(record.name, path).version if path else None
            self._state.set(record.with_(is_synced=True, shown=shown, written=written))
        except (OSError, HayhooksError) as error:
            self._on_error(f"Deployment {record.name!r} is kept, but {self._pipelines} does not show it", error)

    def _write_shown(self, record: Record, files: Mapping[str, bytes]) -> Mapping[str, str]:
        """Make the pipelines directory show *files*; what the server has written there afterwards."""
        ours = record.written
        wanted = {_shown_path(record.name, path, files): content for path, content in files.items()}
        hashes: dict[str, str] = {}
        try:
            # Stale ones first: a file of the old version may stand where the new one has a directory.
            self._remove({path: digest for path, digest in ours.items() if path not in wanted})
            # A file that the user put beside ours stays, even where a new version has one of that name.
            wanted = {path: content for path, content in wanted.items() if path in ours or not self._is_there(path)}
            hashes = {path: hashlib.sha256(content).hexdigest() for path, content in wanted.items()}
            # Said before it is done, so that after a crash these files are known to be ours.
            self._state.set(record.with_(written={**ours, **hashes}))
            for path, content in wanted.items():
                remove_drafts(self._pipelines / path)
                replace_file(self._pipelines / path, content)
        except OSError as error:
            self._on_error(f"Deployment {record.name!r} is kept, but {self._pipelines} shows it in part", error)
            return {**ours, **hashes}
        return hashes

    def _is_there(self, path: str) -> bool:
        file = self._pipelines / path
        return file.is_symlink() or file.exists()

    def _clear(self, record: Record) -> None:
        """Take away what the server wrote of an undeployed name. Never fails: undeployed it is."""
        try:
            self._remove(record.written)
            if self._path_of(record.name) is None:
                self._state.forget(record.name)
            elif record.written:
                self._state.set(record.with_(written={}))
            self._prune(record.name)
        except OSError as error:
            self._on_error(f"Not all files of {record.name!r} could be removed from {self._pipelines}", error)

    def _remove(self, written: Mapping[str, str]) -> None:
        """Remove files that are still as the server wrote them, and the directories that are empty then."""
        for path, digest in written.items():
            file = self._pipelines / path
            remove_drafts(file)
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest:
                file.unlink()
        parents = {parent for path in written for parent in Path(path).parents if parent != Path()}
        for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
            directory = self._pipelines / parent
            if directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir()):
                directory.rmdir()

    # -- the database -----------------------------------------------------------------------------------------

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


def _listed(home: Path) -> list[str] | None:
    """The paths of a kept version; None when there is none, or only a part."""
    try:
        paths = json.loads((home / _LIST).read_bytes())
    except (OSError, ValueError):
        return None
    return paths if isinstance(paths, list) else None


def _shown_path(name: str, path: str, files: Mapping[str, bytes]) -> str:
    """Where a bundle's file appears: a lone YAML as ``<name>.yml``, everything else below ``<name>/``."""
    if len(files) == 1 and path.endswith(YAML_SUFFIXES):
        return f"{name}{Path(path).suffix}"
    return f"{name}/{path}"


def _refused(name: str, error: OSError) -> StoreFailed:
    return StoreFailed(f"Deployment {name!r} cannot be stored: {error.strerror or error}")
