"""Kept versions: the bytes of bundles in the state directory, by name and version."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from hayhooks.core.bundle import Bundle, digest
from hayhooks.core.errors import HayhooksError
from hayhooks.core.store import MAX_COPIED_BYTES, Kept
from hayhooks.store.files import remove_drafts, removing_trees, replace_file, write_tree
from hayhooks.store.uses import NobodyElse, Uses

_FILES, _LIST = "files", "files.json"  # inside a version's directory


class Versions:
    """The versions below *directory*: those that are wanted, and all that are in use, here or by others. Thread-safe.

    Methods that write raise OSError when the disk refuses.
    """

    def __init__(self, directory: Path, uses: Uses | None = None) -> None:
        self._directory = directory
        self._uses = uses or NobodyElse()
        self._lock = threading.Lock()
        self._used: Counter[tuple[str, str]] = Counter()

    def files_of(self, name: str, version: str) -> Path:
        """The directory in which that version's files lie."""
        return self._home(name, version) / _FILES

    def keep(self, bundle: Bundle) -> None:
        """Write *bundle*; when it returns, the bytes are on disk."""
        home = self._home(bundle.name, bundle.version)
        if _listed(home) != sorted(bundle.files):
            shutil.rmtree(home, ignore_errors=True)
            self._write(bundle.files, home)
            return
        # Kept before, perhaps in use: what its own runs have changed since is put right file by file.
        for path, content in bundle.files.items():
            file = home / _FILES / path
            if not file.is_file() or file.read_bytes() != content:
                replace_file(file, content)

    def copy(self, bundle: Bundle) -> None:
        """Write what lies in a user's directory, unless it is kept already, is large, or has changed meanwhile."""
        home = self._home(bundle.name, bundle.version)
        if _listed(home) is not None or bundle.directory is None:
            return
        sizes = ((bundle.directory / path).stat().st_size for path in bundle.files)
        if sum(sizes) > MAX_COPIED_BYTES:
            return
        files = {path: bundle.files[path] for path in bundle.files}
        if digest(files) != bundle.version:
            return
        try:
            self._write(files, home)
        except OSError:
            if _listed(home) is None:  # else another worker has written the same
                raise

    def get(self, name: str, version: str) -> Bundle | None:
        """The kept version; when its own runs have changed its files, as they are now."""
        home = self._home(name, version)
        try:
            bundle = Bundle(
                name, {path: (home / _FILES / path).read_bytes() for path in _listed(home) or ()}, deployed_as=version
            )
        except (OSError, HayhooksError):
            return None
        return bundle if bundle.files else None

    def sizes(self, name: str) -> dict[str, Kept]:
        """What is kept of *name*: versions and how much they hold."""
        found = {}
        for home in self._homes(name):
            paths = _listed(home)
            if paths:
                with suppress(OSError):  # pruned meanwhile, or damaged
                    found[home.name] = Kept(len(paths), sum((home / _FILES / path).stat().st_size for path in paths))
        return found

    def use(self, used: Iterable[tuple[str, str]]) -> None:
        """These are in use, names and versions, once more, and not pruned: here, whatever is raised."""
        used = list(used)
        with self._lock:
            new = [pair for pair in used if not self._used[pair]]
            self._used.update(used)
            if new:
                self._uses.add(new)

    def end_use(self, name: str, version: str) -> None:
        """One use has ended. Never fails."""
        with self._lock:
            self._used[name, version] -= 1
            if self._used[name, version] <= 0:
                del self._used[name, version]
                with suppress(OSError):  # to others it is in use as long as this process lives
                    self._uses.drop(name, version)

    def is_used(self, name: str) -> bool:
        """Whether some version of *name* is in use. Raises OSError when that cannot be known."""
        with self._lock, self._uses.deciding(name) as others:
            return bool(others) or self._is_used_here(name)

    def prune(self, name: str, wanted: Container[str]) -> None:
        """Drop the versions of *name* that are neither *wanted* nor in use. Raises OSError when that is not known."""
        with self._lock:
            homes = [home for home in self._homes(name) if home.name not in wanted and not self._used[name, home.name]]
            with removing_trees() as remove:
                if homes:
                    with self._uses.deciding(name) as others:
                        for home in homes:
                            if home.name not in others:
                                remove(home)
            if not self._is_used_here(name):
                with suppress(OSError):  # not empty, or not there
                    (self._directory / name).rmdir()

    def names(self) -> list[str]:
        """The names of which something is kept; drafts that killed deploys left are removed on the way."""
        if not self._directory.is_dir():
            return []
        homes = list(self._directory.iterdir())
        for home in homes:
            remove_drafts(home)
        return [home.name for home in homes]

    def _is_used_here(self, name: str) -> bool:
        return any(used == name for used, _ in self._used)

    def _write(self, files: Mapping[str, bytes], home: Path) -> None:
        tree = {f"{_FILES}/{path}": content for path, content in files.items()}
        tree[_LIST] = json.dumps(sorted(files)).encode()
        write_tree(tree, home)

    def _homes(self, name: str) -> list[Path]:
        try:
            return [home for home in (self._directory / name).iterdir() if not home.name.startswith(".")]
        except OSError:
            return []

    def _home(self, name: str, version: str) -> Path:
        return self._directory / name / version


def _listed(home: Path) -> list[str] | None:
    """The paths of a kept version; None when there is none, or only a part."""
    try:
        paths = json.loads((home / _LIST).read_bytes())
    except (OSError, ValueError):
        return None
    return paths if isinstance(paths, list) else None
