"""A disk store that can be asked for one name at a time, by those who follow changes that others make."""

from hayhooks.core.bundle import Bundle
from hayhooks.store.disk import DiskStore


class FollowedStore(DiskStore):
    """Tells what the pipelines directory, and what the records, say of a name right now."""

    def look(self, name: str) -> Bundle | None:
        """What lies in the pipelines directory under *name*; None when nothing does, or it was undeployed.

        Raises:
            InvalidBundle, InvalidName: It cannot be deployed as it is.
        """
        record = self._state.get(name)
        if record is not None and record.state == "undeployed":
            return None
        path = self._shown.find(name)
        try:
            return self._shown.read(name, path) if path else None
        except FileNotFoundError:  # removed while it was read
            return None

    def set_shown(self, name: str, bundle: Bundle | None) -> None:
        """What lies in the pipelines directory is live now; nothing to remember, as it lies there."""

    def recorded(self) -> dict[str, str | None]:
        """The live version of each name that has a record; None for one that is undeployed."""
        return {record.name: record.version for record in self._state.records()}

    def kept(self, name: str, version: str) -> Bundle | None:
        """A version that was uploaded and is still kept."""
        return self._versions.get(name, version)
