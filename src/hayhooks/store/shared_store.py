"""The disk store of one of the processes that serve the same: what all of them should serve, how each finds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Outcome
from hayhooks.core.errors import HayhooksError
from hayhooks.core.store import DEPLOYED, KEPT_VERSIONS, UNDEPLOYED, Cause, Found
from hayhooks.store.disk import StoreFailed
from hayhooks.store.followed import FollowedStore
from hayhooks.store.presence import Presence
from hayhooks.store.shared import Shared
from hayhooks.store.state import Record

_ABSENT, _UNDEPLOYED = "", "undeployed"  # in the place of a record's version


@dataclass(frozen=True, slots=True)
class Target:
    """What a name should be in every worker; workers follow when it differs from before."""

    version: str | None  # None: not to be served
    is_shown: bool = False  # as it lies in the pipelines directory; otherwise a kept version


class VersionLost(HayhooksError):
    """The files of a version are gone."""

    def __init__(self, name: str, version: str, where: str) -> None:
        super().__init__(f"Version {version[:12]} of {name!r} is not in the {where} directory any more.")


class SharedStore(FollowedStore):
    """A store whose directories other processes use, too. *presence* says whether they do, and is settled here.

    Without it, somebody else was first.
    """

    def __init__(
        self,
        pipelines_dir: Path,
        state_dir: Path,
        ignore: Sequence[str],
        on_error: Callable[[str, BaseException], None],
        shared: Shared,
        *,
        kept_versions: int = KEPT_VERSIONS,
        only: str = "",
        presence: Presence | None = None,
    ) -> None:
        uses = shared.uses
        super().__init__(pipelines_dir, state_dir, ignore, on_error, kept_versions=kept_versions, only=only, uses=uses)
        self._shared = shared
        self._presence = presence
        self._state_dir = state_dir.absolute()
        self.found: dict[str, Target] = {}  # what there was when ``find`` looked: later changes differ from it

    def find(self) -> Sequence[Found]:
        """What should be live. Whoever is the first begins anew; others leave alone what may be under way."""
        presence = self._presence
        self._is_alone = presence is not None and presence.is_first
        try:
            if self._is_alone:
                self._shared.forget()
            self.found = self._targets_found()
            found = super().find()
            if self._is_alone:
                self._shared.show(self._shown_in(found))
                self.found = self._targets_found()
        finally:
            self._is_alone = False
            if presence is not None:
                presence.settle()
        return found

    def unfinished(self) -> list[str]:
        """Names of which the pipelines directory does not show yet what is recorded. Raises OSError."""
        return [record.name for record in self._state.records() if _is_unfinished(record)]

    def finish(self, name: str) -> None:
        """Show what is recorded of *name*, as a process was killed before it could. In the name's turn only."""
        record = self._state.get(name)
        if record is None or not _is_unfinished(record):
            return
        if record.version is None:
            self._clear(record)
        elif (stored := self._versions.get(name, record.version)) is not None:
            self._show(record, stored.files)

    def set_live(self, bundle: Bundle, *, save: bool, cause: Cause = DEPLOYED) -> None:
        """Make *bundle* the live version of its name in all workers; with *save* also after a restart."""
        super().set_live(bundle, save=save, cause=cause)
        if save:
            self._drop_override(bundle.name)
        else:
            self._override(bundle.name, bundle.version, is_shown=self.is_shown(bundle))

    def set_undeployed(self, name: str, cause: Cause = UNDEPLOYED) -> None:
        """Nothing of that name is live any more in any worker, also after a restart."""
        super().set_undeployed(name, cause)
        self._drop_override(name)

    def promote(self, outcome: Outcome) -> None:
        """Make a canary's version the live one in all workers, also after a restart."""
        super().promote(outcome)
        self._drop_override(outcome.canary.name)

    def take_shown(self, name: str, bundle: Bundle | None, cause: Cause) -> None:
        """What lies in the pipelines directory is live in all workers from now on."""
        self._override(name, bundle.version if bundle is not None else None, is_shown=True)
        super().take_shown(name, bundle, cause)

    def is_shown(self, bundle: Bundle) -> bool:
        """Whether it is served as it lies in the pipelines directory, and is no kept version."""
        return bundle.directory is not None and not bundle.directory.is_relative_to(self._state_dir)

    @property
    def poll_s(self) -> float:
        """Seconds between two looks at the counter."""
        return self._shared.poll_s

    def counter(self) -> int:
        """Differs from before when another connection has written to the state database; takes microseconds."""
        return self._shared.counter()

    def targets(self) -> dict[str, Target]:
        """What each name should be. Raises OSError when the database cannot be read."""
        recorded = self.recorded()
        targets = {name: Target(version) for name, version in recorded.items()}
        for name, version, is_shown, over in self._shared.overrides():
            if over == _over(recorded, name):  # otherwise the record has changed since, by another program perhaps
                targets[name] = Target(version, is_shown)
        return targets

    def _targets_found(self) -> dict[str, Target]:
        """Those among the targets, or records under them, that ``find`` finds: not what is served without a record."""
        recorded = {name: Target(version) for name, version in self.recorded().items()}
        return {**recorded, **{name: target for name, target in self.targets().items() if target.is_shown}}

    def bundle_of(self, name: str, target: Target) -> Bundle | None:
        """The files of a target. Raises VersionLost, and as ``look``."""
        if target.version is None:
            return None
        bundle = self.look(name) if target.is_shown else self.version(name, target.version)
        # A kept version whose own runs have changed its files is served as it is.
        if bundle is None or (target.is_shown and bundle.version != target.version):
            raise VersionLost(name, target.version, "pipelines" if target.is_shown else "state")
        return bundle

    def close(self) -> None:
        """Close the database, which other processes go on using."""
        super().close()
        self._shared.close()

    def _override(self, name: str, version: str | None, *, is_shown: bool) -> None:
        try:
            self._shared.set_override(name, version, is_shown=is_shown, over=_over(self.recorded(), name))
        except OSError as error:
            raise StoreFailed(f"Deployment {name!r} cannot be changed: {error}") from error

    def _drop_override(self, name: str) -> None:
        try:
            self._shared.drop_override(name)
        except OSError as error:  # it is over another record, and means nothing
            self._on_error(f"A row about {name!r} cannot be removed from the state", error)

    def _pointer(self, name: str) -> str:
        recorded = self.recorded()
        unsaved = (
            version
            for other, version, is_shown, over in self._shared.overrides()
            if other == name and not is_shown and over == _over(recorded, name)
        )
        return next(unsaved, None) or super()._pointer(name)

    def _end_invalid(self, canaries: Sequence[Canary]) -> None:
        """What looks left over may be another's."""
        if self._is_alone:
            super()._end_invalid(canaries)

    def _shown_in(self, found: Sequence[Found]) -> dict[str, tuple[str, str]]:
        """What lies there, so that one who comes when a directory was edited can tell that the others serve another."""
        recorded = self.recorded()
        return {
            item.name: (item.bundle.version, _over(recorded, item.name))
            for item in found
            if item.bundle is not None and self.is_shown(item.bundle)
        }

    def _is_needed(self, name: str) -> bool:
        return super()._is_needed(name) or any(other == name for other, *_ in self._shared.overrides())


def _is_unfinished(record: Record) -> bool:
    return bool(record.written) if record.state == "undeployed" else not record.is_synced


def _over(recorded: dict[str, str | None], name: str) -> str:
    return (recorded[name] or _UNDEPLOYED) if name in recorded else _ABSENT
