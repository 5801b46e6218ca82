"""The store of a server: a pipelines directory that people see, and a state directory of ours.

The pipelines directory says what should be live. The state directory keeps uploaded bundles by version and a small
SQLite database with the last change made to each name. Whichever changed last wins at start: a directory that was
edited since the server last recorded its digest is served as it stands, otherwise the recorded version is.
"""

import hashlib
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hayhooks.core.bundle import WRAPPER_FILE, YAML_SUFFIXES, Bundle, ignored, read_directory
from hayhooks.core.errors import HayhooksError
from hayhooks.core.names import check_name
from hayhooks.core.store import Found
from hayhooks.store.files import replace_file, write_tree
from hayhooks.store.state import Record, State

KEPT_VERSIONS = 10
_FILES, _LIST = "files", "files.json"  # inside a version's directory


class StoreFailed(HayhooksError):
    """The disk refused; nothing was changed."""


class DiskStore:
    """Keeps deployments below *pipelines_dir*, and what it must remember below *state_dir*.

    Files that the server did not write are never changed or removed.
    """

    def __init__(self, pipelines_dir: Path, state_dir: Path, ignore: Sequence[str] = ()) -> None:
        self._pipelines = pipelines_dir.absolute()
        self._versions = state_dir.absolute() / "versions"
        self._ignore = tuple(ignore)
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
                    self._use(bundle)
                    found.append(Found(name, bundle))
        return found

    def look(self, name: str) -> Bundle | None:
        """What lies in the pipelines directory under *name* now; None when nothing does, or it was undeployed.

        Raises:
            InvalidBundle, InvalidName: It cannot be deployed as it is.
        """
        record = self._state.get(name)
        if record is not None and record.state == "undeployed":
            return None
        path = self._scan().get(name)
        try:
            return self._read(name, path) if path else None
        except FileNotFoundError:  # removed while it was read
            return None

    def kept(self, name: str, version: str) -> Bundle | None:
        """A version that was uploaded and is still kept."""
        return self._stored(name, version)

    def put(self, bundle: Bundle) -> Bundle:
        """Keep the bytes of *bundle* by version.

        Raises:
            StoreFailed: The disk is full or refuses.
        """
        with self._lock:
            home = self._home(bundle.name, bundle.version)
            if bundle.directory is None and self._stored(bundle.name, bundle.version) is None:
                shutil.rmtree(home, ignore_errors=True)
                tree = {f"{_FILES}/{path}": content for path, content in bundle.files.items()}
                tree[_LIST] = json.dumps(sorted(bundle.files)).encode()
                _tried(lambda: write_tree(tree, home), bundle.name)
            self._use(bundle)
        return bundle

    def place(self, bundle: Bundle) -> Path:
        """The user's own directory, or the version's."""
        return bundle.directory or self._home(bundle.name, bundle.version) / _FILES

    def set_live(self, bundle: Bundle, *, save: bool) -> None:
        """Move the pointer, then show the files in the pipelines directory.

        The pointer comes first: a crash in between is finished at the next start.
        """
        if not save:
            return
        before = self._state.get(bundle.name)
        written = before.written if before else {}
        is_users = self._is_users(bundle.name, written)
        record = Record(bundle.name, "live", bundle.version, None, is_synced=False, is_users=is_users, written=written)
        _tried(lambda: self._state.set(record), bundle.name)
        self._show(record, bundle.files)
        self._prune(bundle.name, keep=bundle.version)

    def set_undeployed(self, name: str) -> None:
        """Remember that *name* is undeployed and take away the files that the server wrote."""
        before = self._state.get(name)
        written = before.written if before else {}
        record = Record(name, "undeployed", None, None, is_synced=True, is_users=False, written=written)
        _tried(lambda: self._state.set(record), name)
        self._clear(record)

    def release(self, name: str, version: str) -> None:
        """The files of that version may go when it is old."""
        with self._lock:
            key = (name, version)
            self._used[key] -= 1
            if self._used[key] <= 0:
                del self._used[key]
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
        if path is None:  # somebody removed it while no server was looking
            self._state.forget(name)
            return None
        shown = self._read(name, path)
        return stored if stored is not None and shown.version == record.shown else shown

    def _scan(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(self._pipelines.iterdir()):
            if path.name.startswith(".") or ignored(path.name, self._ignore):
                continue
            if path.is_file() and path.suffix in YAML_SUFFIXES:
                found.setdefault(path.stem, path)
        for path in sorted(self._pipelines.iterdir()):
            # A directory wins over a YAML file of its name, and one without a wrapper may be anything.
            if (
                not path.name.startswith(".")
                and (path / WRAPPER_FILE).is_file()
                and not ignored(path.name, self._ignore)
            ):
                found[path.name] = path
        return found

    def _read(self, name: str, path: Path) -> Bundle:
        if path.is_dir():
            return read_directory(name, path, self._ignore)
        check_name(name)
        return Bundle(name, {path.name: path.read_bytes()}, directory=path.parent)

    def _stored(self, name: str, version: str) -> Bundle | None:
        """The kept version, when its files are still what they were; a run may have written others beside them."""
        home = self._home(name, version)
        try:
            paths = json.loads((home / _LIST).read_bytes())
            bundle = Bundle(name, {path: (home / _FILES / path).read_bytes() for path in paths})
        except (OSError, ValueError, HayhooksError):
            return None
        return bundle if bundle.version == version else None

    def _home(self, name: str, version: str) -> Path:
        return self._versions / name / version

    # -- the pipelines directory ------------------------------------------------------------------------------

    def _is_users(self, name: str, written: Mapping[str, str]) -> bool:
        """Whether what lies under this name was put there by someone else."""
        if written:
            return False
        path = self._scan().get(name)
        return path is not None or (self._pipelines / name).exists()

    def _show(self, record: Record, files: Mapping[str, bytes]) -> None:
        """Write *files* into the pipelines directory, drop those of ours that are gone, then say that it is done."""
        name = record.name
        if record.is_users:
            self._state.set(record.with_(is_synced=True, shown=self._shown(name)))
            return
        wanted = {_shown_path(name, path, files): content for path, content in files.items()}
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in wanted.items()}
        # Said before it is done, so that after a crash these files are known to be ours.
        self._state.set(record.with_(written={**record.written, **hashes}))
        for path, content in wanted.items():
            _tried(partial(replace_file, self._pipelines / path, content), name)
        self._remove({path: digest for path, digest in record.written.items() if path not in wanted}, name)
        self._state.set(record.with_(is_synced=True, shown=self._shown(name), written=hashes))

    def _shown(self, name: str) -> str | None:
        """The version of what lies in the pipelines directory under this name."""
        path = self._scan().get(name)
        return self._read(name, path).version if path else None

    def _clear(self, record: Record) -> None:
        self._remove(record.written, record.name)
        if self._scan().get(record.name) is None:
            self._state.forget(record.name)
        elif record.written:
            self._state.set(record.with_(written={}))
        with self._lock:
            if not any(name == record.name for name, _ in self._used):
                shutil.rmtree(self._versions / record.name, ignore_errors=True)

    def _remove(self, written: Mapping[str, str], name: str) -> None:
        """Remove files that are still as the server wrote them, and directories that are empty then."""
        for path, digest in written.items():
            file = self._pipelines / path
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest:
                file.unlink()
        top = self._pipelines / name
        if top.is_dir() and not top.is_symlink():
            for directory, _, _ in os.walk(top, topdown=False):
                if Path(directory).name == "__pycache__":
                    shutil.rmtree(directory, ignore_errors=True)
                elif not any(Path(directory).iterdir()):
                    Path(directory).rmdir()

    # -- versions ---------------------------------------------------------------------------------------------

    def _use(self, bundle: Bundle) -> None:
        self._used[bundle.name, bundle.version] += 1

    def _prune(self, name: str, keep: str | None = None) -> None:
        """Drop the oldest versions beyond those that are kept, never one in use."""
        with self._lock:
            home = self._versions / name
            if not home.is_dir():
                return
            record = self._state.get(name)
            live = {keep, record.version if record else None}
            versions = sorted(
                (path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True
            )
            for path in versions[KEPT_VERSIONS:]:
                if path.name not in live and not self._used.get((name, path.name)):
                    shutil.rmtree(path, ignore_errors=True)
            if record is None and not any(used == name for used, _ in self._used):
                shutil.rmtree(home, ignore_errors=True)


def _shown_path(name: str, path: str, files: Mapping[str, bytes]) -> str:
    """Where a bundle's file appears: a lone YAML as ``<name>.yml``, everything else below ``<name>/``."""
    if len(files) == 1 and path.endswith(YAML_SUFFIXES):
        return f"{name}{Path(path).suffix}"
    return f"{name}/{path}"


def _tried(action: Callable[[], None], name: str) -> None:
    try:
        action()
    except OSError as error:
        raise StoreFailed(f"Deployment {name!r} cannot be stored: {error.strerror or error}") from error
