"""Kept versions: the bytes of bundles in the state directory, by name and version."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Container
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.errors import HayhooksError
from hayhooks.store.files import replace_file, write_tree

KEPT_VERSIONS = 10
_FILES, _LIST = "files", "files.json"  # inside a version's directory


class Versions:
    """The versions below *directory*: the newest of each name, and all that are in use. Thread-safe.

    Methods that write raise OSError when the disk refuses.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
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
            tree = {f"{_FILES}/{path}": content for path, content in bundle.files.items()}
            tree[_LIST] = json.dumps(sorted(bundle.files)).encode()
            write_tree(tree, home)
            return
        # Kept before, perhaps in use: what its own runs have changed since is put right file by file.
        for path, content in bundle.files.items():
            file = home / _FILES / path
            if not file.is_file() or file.read_bytes() != content:
                replace_file(file, content)

    def get(self, name: str, version: str) -> Bundle | None:
        """The kept version; when its own runs have changed its files, as they are now, to be served in place."""
        home = self._home(name, version)
        try:
            bundle = Bundle(name, {path: (home / _FILES / path).read_bytes() for path in _listed(home) or ()})
        except (OSError, HayhooksError):
            return None
        if not bundle.files:
            return None
        return bundle if bundle.version == version else Bundle(name, bundle.files, directory=home / _FILES)

    def use(self, name: str, version: str) -> None:
        """That version is in use, once more, and not pruned."""
        with self._lock:
            self._used[name, version] += 1

    def end_use(self, name: str, version: str) -> None:
        """One use has ended."""
        with self._lock:
            self._used[name, version] -= 1
            if self._used[name, version] <= 0:
                del self._used[name, version]

    def prune(self, name: str, live: Container[str | None], *, is_gone: bool) -> None:
        """Drop the oldest versions beyond those that are kept, never one in use or *live*.

        A name that *is_gone* loses all of them once none is in use.
        """
        with self._lock:
            home = self._directory / name
            if not home.is_dir():
                return
            if is_gone and not any(used == name for used, _ in self._used):
                shutil.rmtree(home, ignore_errors=True)
                return
            versions = sorted(
                (path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")),
                key=lambda path: path.stat().st_mtime,
                reverse=True,
            )
            for path in versions[KEPT_VERSIONS:]:
                if path.name not in live and not self._used.get((name, path.name)):
                    shutil.rmtree(path, ignore_errors=True)

    def names(self) -> list[str]:
        """The names of which something is kept; drafts that killed deploys left are removed on the way."""
        if not self._directory.is_dir():
            return []
        homes = list(self._directory.iterdir())
        for home in homes:
            for draft in home.glob(".*.tmp"):
                shutil.rmtree(draft, ignore_errors=True)
        return [home.name for home in homes]

    def _home(self, name: str, version: str) -> Path:
        return self._directory / name / version


def _listed(home: Path) -> list[str] | None:
    """The paths of a kept version; None when there is none, or only a part."""
    try:
        paths = json.loads((home / _LIST).read_bytes())
    except (OSError, ValueError):
        return None
    return paths if isinstance(paths, list) else None
