"""A store that forgets everything when its process ends; for tests and for trying things."""

import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome
from hayhooks.core.store import Found, FoundCanary
from hayhooks.store.files import write_tree


class MemoryStore:
    """Remembers in memory what is live. Files lie in a temporary directory, as modules are loaded from files."""

    def __init__(self, bundles: Iterable[Bundle] = ()) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="hayhooks-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._live = {bundle.name: bundle for bundle in bundles}
        self._put: dict[tuple[str, str], Bundle] = {}
        self._canaries: dict[str, Canary] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._counts: dict[str, dict[str, Counts]] = {}

    def find(self) -> Sequence[Found]:
        """The bundles that were made live, or given at the start."""
        return [
            Found(name, self.put(bundle), canary=self._found_canary(name))
            for name, bundle in sorted(self._live.items())
        ]

    def put(self, bundle: Bundle) -> Bundle:
        """Write the files of *bundle*, once per version."""
        with self._lock:
            self._put[bundle.name, bundle.version] = bundle
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
        self._end_any(bundle.name)

    def set_undeployed(self, name: str) -> None:
        """Forget *name*."""
        self._live.pop(name, None)
        self._end_any(name)

    def release(self, name: str, version: str) -> None:
        """Nothing to free: the directory goes as a whole."""

    def set_canary(self, canary: Canary) -> None:
        """Remember *canary*."""
        self._counts[canary.name] = {}
        self._canaries[canary.name] = canary

    def change_canary(self, canary: Canary) -> bool:
        """Remember its new plan."""
        known = self._canaries.get(canary.name)
        if known is None or not known.is_same(canary):
            return False
        self._canaries[canary.name] = canary
        return True

    def end_canary(self, outcome: Outcome) -> bool:
        """Remember how it ended."""
        name = outcome.canary.name
        known = self._canaries.get(name)
        if known is None or not known.is_same(outcome.canary):
            return False
        del self._canaries[name]
        self._outcomes[name] = outcome
        return True

    def promote(self, outcome: Outcome) -> None:
        """Make its version the live one."""
        canary = outcome.canary
        self._live[canary.name] = self._put[canary.name, canary.version]
        self.end_canary(outcome)

    def count_canary(self, canary: Canary, who: str, counts: Counts) -> Counts:
        """Remember what *who* has counted."""
        known = self._counts.setdefault(canary.name, {})
        known[who] = counts
        return sum((found for other, found in known.items() if other != who), Counts())

    def outcome(self, name: str) -> Outcome | None:
        """How the last canary of that name ended."""
        return self._outcomes.get(name)

    def close(self) -> None:
        """Remove the files."""
        self._temporary.cleanup()

    def _found_canary(self, name: str) -> FoundCanary | None:
        canary = self._canaries.get(name)
        if canary is None or canary.stable != self._live[name].version:
            return None
        return FoundCanary(canary, self.put(self._put[name, canary.version]))

    def _end_any(self, name: str) -> None:
        canary = self._canaries.get(name)
        if canary is not None:
            self.end_canary(Outcome(canary, "replaced", "Another version was deployed.", Counts(), time.time()))
