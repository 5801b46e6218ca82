"""A disk store that can be asked for one name at a time, by those who follow changes that others make."""

from hayhooks.core.bundle import Bundle
from hayhooks.core.store import Cause
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
            bundle = self._shown.read(name, path) if path else None
        except FileNotFoundError:  # removed while it was read
            return None
        if bundle is None or record is None or record.version is None or record.is_users:
            return bundle
        # What the server itself has written there is the version that it shows, whose runs may have changed it.
        is_ours = record.is_synced and bundle.version == record.shown
        return (self._versions.get(name, record.version) if is_ours else None) or bundle

    def take_shown(self, name: str, bundle: Bundle | None, cause: Cause) -> None:
        """What lies in the pipelines directory is live now; the history says since when and why."""
        if bundle is not None:
            self.set_found(bundle, cause)

    def recorded(self) -> dict[str, str | None]:
        """The live version of each name that has a record; None for one that is undeployed."""
        return {record.name: record.version for record in self._state.records()}

    def version(self, name: str, version: str) -> Bundle | None:
        """A version that somebody else has made live."""
        return self._versions.get(name, version) or self.fetch(name, version)
