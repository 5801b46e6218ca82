"""What a store must do: keep bundles, and remember which should be live."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hayhooks.core.bundle import Bundle
from hayhooks.core.errors import HayhooksError


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should be live at start: a bundle, or the reason why there is none."""

    name: str
    bundle: Bundle | None = None
    error: HayhooksError | None = None


class Store(Protocol):
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
        """Make *bundle* the live version of its name; with *save* also after a restart."""

    def set_undeployed(self, name: str) -> None:
        """Nothing of that name is live any more, also after a restart. The user's own files stay."""

    def release(self, name: str, version: str) -> None:
        """The files of that version are no longer used here; one call for each ``put`` and each found bundle."""
