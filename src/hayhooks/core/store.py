"""What a store must do: keep bundles, and remember which are live, which were, and who changed that."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome
from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import Principal

How = Literal[
    "deploy",
    "rollback",
    "promote",  # a canary became what is live
    "undeploy",
    "reload",  # an edited directory was taken over while the server ran
    "start",  # found when the server started
]

KEPT_VERSIONS = 10
# A directory of the user's with more is served, but no copy is kept of it: a model may lie beside the wrapper.
MAX_COPIED_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FoundCanary:
    """A canary that should run, and its files."""

    canary: Canary
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should be live at start: a bundle, or the reason why there is none. Perhaps with a canary."""

    name: str
    bundle: Bundle | None = None
    error: HayhooksError | None = None
    canary: FoundCanary | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """How a name came to mean something else, and by whom: a caller's id and name; by default the server itself."""

    how: How
    by_id: str = "server"
    by_name: str = "server"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of what a name means; ``version`` is None when it was undeployed."""

    name: str
    version: str | None
    at_s: float  # Unix time
    cause: Cause


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that can be made live again, and how much it holds."""

    files: int
    bytes: int


DEPLOYED, UNDEPLOYED = Cause("deploy"), Cause("undeploy")


def caused_by(how: How, caller: Principal) -> Cause:
    """The cause of what *caller* has asked for."""
    return Cause(how, caller.id, caller.name)


def promoted_by(outcome: Outcome) -> Cause:
    """The cause of a canary's becoming live."""
    return Cause("promote", outcome.by_id or "server", outcome.by or "server")


class CanaryStore(Protocol):
    """Remembers canaries: at most one of each name, and the outcome of the last. Methods block.

    A crash leaves a name with its canary or without, never with the canary as what is live.
    """

    def set_canary(self, canary: Canary) -> None:
        """Run *canary*, whose bundle was put, also after a restart; another of its name is forgotten."""

    def change_canary(self, canary: Canary) -> bool:
        """Run the canary with another plan. False when it does not run any more."""

    def end_canary(self, outcome: Outcome) -> bool:
        """The canary runs no more. False when it did not: it had ended, or another has taken its place."""

    def promote(self, outcome: Outcome) -> None:
        """Make the canary's version the live one, in the way of ``set_live``, and with that end it."""

    def count_canary(self, canary: Canary, who: str, counts: Counts) -> Counts:
        """Remember what the process *who* has counted since it began; what all others have."""

    def outcome(self, name: str) -> Outcome | None:
        """How the last canary of that name ended that did."""


class Store(CanaryStore, Protocol):
    """Keeps bundles and the live pointers. All methods block; the runtime calls them in threads.

    Calls that change one name never overlap. A crash between any two of them, or inside one, leaves each name on its
    last live version or on the new one.
    """

    def find(self) -> Sequence[Found]:
        """What should be live, by the last change of each name: deployed, edited, or undeployed."""

    def put(self, bundle: Bundle) -> Bundle:
        """Lay the files of *bundle* on disk, where they stay while it is live; nothing is live by that."""

    def place(self, bundle: Bundle) -> Path:
        """The directory in which the files of a bundle lie that was put or found."""

    def set_live(self, bundle: Bundle, *, save: bool, cause: Cause = DEPLOYED) -> None:
        """Make *bundle* the live version of its name; with *save* also after a restart. A canary of the name ends."""

    def set_found(self, bundle: Bundle, cause: Cause) -> None:
        """What was found, at start or in an edited directory, is live now: remember that it was, and its bytes."""

    def set_undeployed(self, name: str, cause: Cause = UNDEPLOYED) -> None:
        """Nothing of that name is live any more, also after a restart, canaries included. The user's own files stay."""

    def release(self, name: str, version: str) -> None:
        """The files of that version are no longer used here; one call for each ``put`` and each found bundle."""

    def history(self, name: str) -> Sequence[Change]:
        """The changes of *name*, newest first; a store forgets old ones."""

    def kept(self, name: str) -> Mapping[str, Kept]:
        """The versions of *name* that ``fetch`` gives: of those that were live, the newest."""

    def fetch(self, name: str, version: str) -> Bundle | None:
        """A version that was live, to be put and made live again; None when it is not kept."""

    def aside(self, bundle: Bundle) -> AbstractContextManager[Bundle]:
        """*bundle* in a place of its own, to be built and thrown away; nothing is kept or remembered."""
