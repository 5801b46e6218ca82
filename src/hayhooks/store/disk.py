"""The store of a server: a pipelines directory that people see, and a state directory of ours.

The pipelines directory says what should be live. The state directory keeps uploaded bundles by version and a small
SQLite database with the last change made to each name. Whichever changed last wins at start: a directory that was
edited since the server last recorded its digest is served as it stands, otherwise the recorded version is.

Versions that were live are kept for rolling back, of undeployed names, too: of each name the newest, and of what was
served from a user's directory a copy. Both numbers are bounded.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome
from hayhooks.core.errors import HayhooksError
from hayhooks.core.store import (
    DEPLOYED,
    KEPT_VERSIONS,
    UNDEPLOYED,
    Cause,
    Change,
    Found,
    FoundCanary,
    Kept,
    promoted_by,
)
from hayhooks.core.versions import versions_in
from hayhooks.store.canaries import CanaryTables
from hayhooks.store.files import temporary_tree
from hayhooks.store.shown import PipelinesDirectory
from hayhooks.store.state import Record, State
from hayhooks.store.uses import Uses
from hayhooks.store.versions import Versions

MAX_GONE_NAMES = 100  # undeployed names of which versions and history are kept


class StoreFailed(HayhooksError):
    """The disk refused; nothing was changed."""


class DiskStore:
    """Keeps deployments below *pipelines_dir*, and what it must remember below *state_dir*.

    Files that the server did not write are never changed or removed. A version is safe in the state directory before
    it is shown in the pipelines directory; *on_error* is told when showing it fails, as in a read-only directory. Of
    each name *kept_versions* are kept, besides those in use: by this process or, as *uses* tells, by others.
    """

    _is_alone = True  # what is found undone was interrupted by a crash; nobody is doing it

    def __init__(
        self,
        pipelines_dir: Path,
        state_dir: Path,
        ignore: Sequence[str] = (),
        on_error: Callable[[str, BaseException], None] | None = None,
        *,
        kept_versions: int = KEPT_VERSIONS,
        max_gone_names: int = MAX_GONE_NAMES,
        only: str = "",
        uses: Uses | None = None,
    ) -> None:
        self._kept_versions = kept_versions
        self._max_gone_names = max_gone_names
        self._shown = PipelinesDirectory(pipelines_dir.absolute(), ignore, only)
        self._versions = Versions(state_dir.absolute() / "versions", uses)
        self._on_error = on_error or (lambda _what, _error: None)
        self._shown.path.mkdir(parents=True, exist_ok=True)
        state_dir.mkdir(parents=True, exist_ok=True)
        self._state = State(state_dir / "state.db")
        self._canaries = CanaryTables(state_dir / "state.db")

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
                    found.append(Found(name, bundle))
        found = self._with_canaries(found)
        bundles = [item.bundle for item in found] + [item.canary.bundle for item in found if item.canary is not None]
        try:
            self._versions.use([(bundle.name, bundle.version) for bundle in bundles if bundle is not None])
        except OSError as error:  # what is recorded is not dropped in any case
            self._on_error("The other processes cannot be told which versions this one uses", error)
        self._forget_gone()
        for name in self._versions.names():  # some were never live
            self._prune(name)
        return found

    def put(self, bundle: Bundle) -> Bundle:
        """Keep the bytes of *bundle* by version.

        Raises:
            StoreFailed: The disk is full or refuses.
        """
        try:
            self._versions.use([(bundle.name, bundle.version)])  # first: not to be pruned while it is written
            if bundle.directory is None:
                self._versions.keep(bundle)
        except OSError as error:
            self._versions.end_use(bundle.name, bundle.version)
            raise _refused(bundle.name, error) from error
        return bundle

    def place(self, bundle: Bundle) -> Path:
        """The user's own directory, or the version's."""
        return bundle.directory or self._versions.files_of(bundle.name, bundle.version)

    def set_live(self, bundle: Bundle, *, save: bool, cause: Cause = DEPLOYED) -> None:
        """Move the pointer, then show the files in the pipelines directory.

        The pointer comes first, with its line of history: a crash in between is finished at the next start.

        Raises:
            StoreFailed: The pointer cannot be moved; it stays where it was.
        """
        if not save:
            try:
                self._state.note(bundle.name, bundle.version, cause, if_new=False)
            except OSError as error:
                raise _refused(bundle.name, error) from error
        else:
            self._point_to(bundle.name, bundle.version, bundle.files, cause)
        self._end_canary(bundle.name, "Another version was deployed.")

    def set_found(self, bundle: Bundle, cause: Cause) -> None:
        """Remember that this version is live now, if another was before, and keep a copy of a user's directory.

        Never fails: it is live whatever can be remembered of it.
        """
        try:
            self._state.note(bundle.name, bundle.version, cause, if_new=True)
            self._versions.copy(bundle)
        except OSError as error:
            self._on_error(f"Deployment {bundle.name!r} cannot be kept for rolling back", error)

    def set_undeployed(self, name: str, cause: Cause = UNDEPLOYED) -> None:
        """Remember that *name* is undeployed and take away the files that the server wrote.

        Raises:
            StoreFailed: It cannot be remembered; nothing has changed.
        """
        before = self._state_of(name)
        written = before.written if before else {}
        record = Record(name, "undeployed", None, None, is_synced=True, is_users=False, written=written)
        self._set(record, cause)
        self._end_canary(name, "The deployment was taken out of service.")
        self._clear(record)

    def release(self, name: str, version: str) -> None:
        """The files of that version may go when it is old."""
        self._versions.end_use(name, version)
        self._prune(name)

    def set_canary(self, canary: Canary) -> None:
        """Run *canary* beside what the pointer says now. Raises StoreFailed."""
        try:
            self._canaries.set(canary, self._pointer(canary.name))
        except OSError as error:
            raise _refused(canary.name, error) from error

    def change_canary(self, canary: Canary) -> bool:
        """Run the canary with another plan. Raises StoreFailed."""
        try:
            return self._canaries.change(canary)
        except OSError as error:
            raise _refused(canary.name, error) from error

    def end_canary(self, outcome: Outcome) -> bool:
        """The canary runs no more. Raises StoreFailed."""
        try:
            return self._canaries.end(outcome)
        except OSError as error:
            raise _refused(outcome.canary.name, error) from error

    def promote(self, outcome: Outcome) -> None:
        """Move the pointer to the canary's version. Raises StoreFailed; the pointer stays where it was.

        The pointer comes first: the next start sees by it that the canary is none any more.
        """
        canary = outcome.canary
        kept = self._versions.get(canary.name, canary.version)
        if kept is None:
            raise StoreFailed(f"The files of version {canary.version[:12]} of {canary.name!r} are gone.")
        self._point_to(canary.name, canary.version, kept.files, promoted_by(outcome))
        self.end_canary(outcome)

    def count_canary(self, canary: Canary, who: str, counts: Counts) -> Counts:
        """Remember what the process *who* has counted. Raises OSError."""
        return self._canaries.count(canary, who, counts)

    def outcome(self, name: str) -> Outcome | None:
        """How the last canary of that name ended. Raises OSError."""
        return self._canaries.outcome(name)

    def running_canaries(self) -> dict[str, FoundCanary]:
        """The canaries beside what the pointers say now, by name. Raises OSError."""
        found = {}
        for name, (canary, pointer) in self._canaries.running().items():
            bundle = self._versions.get(name, canary.version) if pointer == self._pointer(name) else None
            if bundle is not None:
                found[name] = FoundCanary(canary, bundle)
        return found

    def history(self, name: str) -> Sequence[Change]:
        """What the database has of it, newest first. Raises StoreFailed."""
        try:
            return self._state.history(name)
        except OSError as error:
            raise StoreFailed(f"The history of {name!r} cannot be read.") from error

    def kept(self, name: str) -> Mapping[str, Kept]:
        """What lies in the state directory, and was live. Raises StoreFailed."""
        were_live = versions_in(self.history(name))
        sizes = self._versions.sizes(name)
        return {version: sizes[version] for version in were_live if version in sizes}

    def fetch(self, name: str, version: str) -> Bundle | None:
        """The kept version; in its own place when the user's directory still holds the same. Raises StoreFailed."""
        record = self._state_of(name)
        path = self._shown.find(name)
        if path is not None and (record is None or not record.written):
            try:
                shown = self._shown.read(name, path)
            except (HayhooksError, OSError):  # cannot be served as it is
                shown = None
            if shown is not None and shown.version == version:
                return shown
        return self._versions.get(name, version)

    @contextmanager
    def aside(self, bundle: Bundle) -> Iterator[Bundle]:
        """*bundle* in a temporary directory. Raises StoreFailed."""
        with ExitStack() as stack:
            try:
                place = stack.enter_context(temporary_tree(bundle.files))
            except OSError as error:
                raise _refused(bundle.name, error) from error
            yield Bundle(bundle.name, bundle.files, directory=place)

    def check(self) -> None:
        """Raise OSError when the state cannot be read."""
        self._state.check()

    def close(self) -> None:
        """Close the databases."""
        self._canaries.close()
        self._state.close()

    def _point_to(self, name: str, version: str, files: Mapping[str, bytes], cause: Cause) -> None:
        before = self._state_of(name)
        written = before.written if before else {}
        is_users = not written and self._shown.is_taken(name)  # somebody else put it there
        record = Record(name, "live", version, None, is_synced=False, is_users=is_users, written=written)
        self._set(record, cause)
        self._show(record, files)
        self._prune(name)

    def _pointer(self, name: str) -> str:
        """What the records say of *name*, in a word that changes with every change of it."""
        record = self._state_of(name)
        return (record.version or record.state) if record else ""

    def _with_canaries(self, found: Sequence[Found]) -> list[Found]:
        """*found* with the canaries that are valid beside it; what a crash, or an edit since, has ended is ended."""
        running = self._canaries.running()
        valid = self.running_canaries()
        with_canaries = []
        for item in found:
            canary = valid.get(item.name)
            if canary is not None and item.bundle is not None and self._is_stable(canary.canary, item.bundle):
                del running[item.name]
                item = replace(item, canary=canary)
            with_canaries.append(item)
        self._end_invalid([ended for ended, _ in running.values()])
        return with_canaries

    def _end_invalid(self, canaries: Sequence[Canary]) -> None:
        """These run beside nothing that is live."""
        for canary in canaries:
            is_live = canary.version == self._pointer(canary.name)
            reason = "The server stopped in the middle." if is_live else "What is live was changed."
            counts = self._canaries.count(canary, "", None)
            self.end_canary(Outcome(canary, "promoted" if is_live else "replaced", reason, counts, time.time()))

    def _is_stable(self, canary: Canary, bundle: Bundle) -> bool:
        """Whether *bundle* is what the canary began beside; its own runs may have changed its files since."""
        own = self._versions.files_of(canary.name, self._pointer(canary.name))
        return bundle.version == canary.stable or bundle.directory == own

    def _end_canary(self, name: str, reason: str) -> None:
        """Never fails: the pointer has moved, and the next start sees by it that the canary has ended."""
        try:
            self._canaries.end_any(name, "replaced", reason)
        except OSError as error:
            self._on_error(f"The canary of {name!r} has ended, but cannot be taken from the records", error)

    def _choose(self, name: str, record: Record | None, path: Path | None) -> Bundle | None:
        if record is None:
            return self._shown.read(name, path) if path else None
        if record.state == "undeployed":
            if self._is_alone:
                self._clear(record)
            return None
        assert record.version is not None
        stored = self._versions.get(name, record.version)
        if not record.is_synced:
            if stored is not None:
                if self._is_alone:
                    self._show(record, stored.files)
                return stored
            self._forget(name)
            return self._shown.read(name, path) if path else None
        if path is None:
            # It could not be shown, or lies beside files of the user's that are no deployment; or others serve it.
            if stored is not None and (record.shown is None or not self._is_alone):
                return stored
            self._forget(name)  # somebody removed it while no server was looking
            return None
        shown = self._shown.read(name, path)
        if record.is_users and shown.version == record.version:
            return shown  # the user's own directory, to which somebody has rolled back
        return stored if stored is not None and shown.version == record.shown else shown

    def _forget(self, name: str) -> None:
        """What is recorded means nothing any more. Others may have changed it since it was read."""
        if self._is_alone:
            self._state.forget(name)

    def _prune(self, name: str) -> None:
        """Keep the newest versions that were live, the one that is recorded, its canary, and what is in use."""
        try:
            record = self._state.get(name)
            newest = versions_in(self._state.history(name))[: self._kept_versions]
            canary = self._canaries.version_of(name)
            wanted = (record.version if record else None, canary)
            self._versions.prune(name, {*newest, *(version for version in wanted if version)})
        except OSError as error:  # nothing is dropped by guesswork
            self._on_error(f"Old versions of {name!r} cannot be dropped", error)

    def _forget_gone(self) -> None:
        """Of names that are gone, keep versions and history of the newest only."""
        gone = [name for name in self._state.known_names() if not self._is_needed(name)]
        for name in gone[self._max_gone_names :]:
            if self._shown.find(name) is None:
                self._state.forget_history(name)
                self._prune(name)

    def _is_needed(self, name: str) -> bool:
        record = self._state.get(name)
        is_live = record is not None and record.state == "live"
        return is_live or self._canaries.version_of(name) is not None or self._versions.is_used(name)

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
            self._forget_gone()
        except OSError as error:
            self._on_error(f"Not all files of {record.name!r} could be removed from {self._shown.path}", error)

    def _state_of(self, name: str) -> Record | None:
        try:
            return self._state.get(name)
        except OSError as error:
            raise _refused(name, error) from error

    def _set(self, record: Record, cause: Cause) -> None:
        try:
            self._state.set(record, cause)
        except OSError as error:
            raise _refused(record.name, error) from error


def _refused(name: str, error: OSError) -> StoreFailed:
    return StoreFailed(f"Deployment {name!r} cannot be stored: {error.strerror or error}")
