"""What a store must do: keep bundles, and remember which should be live."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome
from hayhooks.core.errors import HayhooksError


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

    Calls for one name never overlap. A crash between any two of them, or inside one, leaves each name on its last
    live version or on the new one.
    """

    def find(self) -> Sequence[Found]:
        """What should be live, by the last change of each name: deployed, edited, or undeployed."""

    def put(self, bundle: Bundle) -> Bundle:
        """Lay the files of *bundle* on disk, where they stay while it is live; nothing is live by that."""

    def place(self, bundle: Bundle) -> Path:
        """The directory in which the files of a bundle lie that was put or found."""

    def set_live(self, bundle: Bundle, *, save: bool) -> None:
        """Make *bundle* the live version of its name; with *save* also after a restart. A canary of the name ends."""

    def set_undeployed(self, name: str) -> None:
        """Nothing of that name is live any more, also after a restart, canaries included. The user's own files stay."""

    def release(self, name: str, version: str) -> None:
        """The files of that version are no longer used here; one call for each ``put`` and each found bundle."""
