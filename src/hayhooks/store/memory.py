"""A store that forgets everything when its process ends; for tests and for trying things."""

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome
from hayhooks.core.store import (
    DEPLOYED,
    KEPT_VERSIONS,
    MAX_COPIED_BYTES,
    UNDEPLOYED,
    Cause,
    Change,
    Found,
    FoundCanary,
    Kept,
    promoted_by,
)
from hayhooks.core.versions import versions_in
from hayhooks.store.files import temporary_tree, write_tree


class MemoryStore:
    """Remembers in memory what is live. Files lie in a temporary directory, as modules are loaded from files."""

    def __init__(self, bundles: Iterable[Bundle] = (), kept_versions: int = KEPT_VERSIONS) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="hayhooks-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._live = {bundle.name: bundle for bundle in bundles}
        self._put: dict[tuple[str, str], Bundle] = {}
        self._canaries: dict[str, Canary] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._counts: dict[str, dict[str, Counts]] = {}
        self._kept_versions = kept_versions
        self._changes: dict[str, list[Change]] = {}  # newest first
        self._bundles: dict[tuple[str, str], Bundle] = {}  # that were live, each in memory

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

    def set_live(self, bundle: Bundle, *, save: bool, cause: Cause = DEPLOYED) -> None:
        """Remember *bundle*; as what is live when it is to be saved."""
        if save:
            self._live[bundle.name] = bundle
        self._end_any(bundle.name)
        self._remember(bundle, cause)

    def set_found(self, bundle: Bundle, cause: Cause) -> None:
        """Remember *bundle* when another version was live before."""
        changes = self._changes.get(bundle.name)
        if not changes or changes[0].version != bundle.version:
            self._remember(bundle, cause)

    def set_undeployed(self, name: str, cause: Cause = UNDEPLOYED) -> None:
        """Nothing of that name is live."""
        self._live.pop(name, None)
        self._end_any(name)
        self._note(name, None, cause)

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
        bundle = self._live[canary.name] = self._put[canary.name, canary.version]
        self._remember(bundle, promoted_by(outcome))
        self.end_canary(outcome)

    def count_canary(self, canary: Canary, who: str, counts: Counts) -> Counts:
        """Remember what *who* has counted."""
        known = self._counts.setdefault(canary.name, {})
        known[who] = counts
        return sum((found for other, found in known.items() if other != who), Counts())

    def outcome(self, name: str) -> Outcome | None:
        """How the last canary of that name ended."""
        return self._outcomes.get(name)

    def history(self, name: str) -> Sequence[Change]:
        """Its changes, newest first."""
        return list(self._changes.get(name, ()))

    def kept(self, name: str) -> Mapping[str, Kept]:
        """The versions that were live, how much they hold."""
        return {
            version: Kept(len(bundle.files), sum(map(len, bundle.files.values())))
            for (of, version), bundle in self._bundles.items()
            if of == name
        }

    def fetch(self, name: str, version: str) -> Bundle | None:
        """A version that was live."""
        return self._bundles.get((name, version))

    @contextmanager
    def aside(self, bundle: Bundle) -> Iterator[Bundle]:
        """*bundle* in a temporary directory."""
        with temporary_tree(bundle.files) as place:
            yield Bundle(bundle.name, bundle.files, directory=place)

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

    def _remember(self, bundle: Bundle, cause: Cause) -> None:
        self._note(bundle.name, bundle.version, cause)
        if bundle.directory is None:
            self._bundles[bundle.name, bundle.version] = bundle
        elif sum((bundle.directory / path).stat().st_size for path in bundle.files) <= MAX_COPIED_BYTES:
            copy = Bundle(bundle.name, dict(bundle.files))
            if copy.version == bundle.version:
                self._bundles[copy.name, copy.version] = copy
        wanted = versions_in(self._changes[bundle.name])[: self._kept_versions]
        for name, version in list(self._bundles):
            if name == bundle.name and version not in wanted:
                del self._bundles[name, version]

    def _note(self, name: str, version: str | None, cause: Cause) -> None:
        self._changes[name] = [Change(name, version, time.time(), cause), *self._changes.get(name, ())]
