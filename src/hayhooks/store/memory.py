"""A store that forgets everything when its process ends; for tests and for trying things."""

import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.store import Found
from hayhooks.store.files import write_tree


class MemoryStore:
    """Remembers in memory what is live. Files lie in a temporary directory, as modules are loaded from files."""

    def __init__(self, bundles: Iterable[Bundle] = ()) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="hayhooks-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._live = {bundle.name: bundle for bundle in bundles}

    def find(self) -> Sequence[Found]:
        """The bundles that were made live, or given at the start."""
        return [Found(name, self.put(bundle)) for name, bundle in sorted(self._live.items())]

    def put(self, bundle: Bundle) -> Bundle:
        """Write the files of *bundle*, once per version."""
        with self._lock:
            place = self.place(bundle)
            if bundle.directory is None and not place.exists():
                write_tree(bundle.files, place)
        return bundle

    def place(self, bundle: Bundle) -> Path:
        """The directory of a bundle that was put."""
        return bundle.directory or Path(self._temporary.name) / bundle.name / bundle.version

    def set_live(self, bundle: Bundle, *, save: bool) -> None:
        """Remember *bundle* when it is to be saved."""
        if save:
            self._live[bundle.name] = bundle

    def set_undeployed(self, name: str) -> None:
        """Forget *name*."""
        self._live.pop(name, None)

    def release(self, name: str, version: str) -> None:
        """Nothing to free: the directory goes as a whole."""

    def close(self) -> None:
        """Remove the files."""
        self._temporary.cleanup()
