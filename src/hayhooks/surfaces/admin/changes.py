"""What a new version changes for callers, as deploys and rollbacks answer it."""

from typing import Any

from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Deployment
from hayhooks.core.runtime import Runtime
from hayhooks.core.schema_diff import compare


class Comparison:
    """Compares a version with what is live, at the moment in which it is about to take its place."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pair: tuple[Deployment, Deployment] | None = None

    @property
    def is_new(self) -> bool:
        """Nothing of that name was live."""
        return self._pair is None

    def look(self, new: Deployment) -> None:
        """Remember *new* and what is live; a *check* of the runtime's that refuses nothing."""
        live = self._runtime.live.get(new.name)
        self._pair = (live.deployment, new) if live is not None else None

    async def facts(self) -> dict[str, Any]:
        """The sentences: all of them, and those that break callers."""
        changes = await in_thread(compare, *self._pair) if self._pair is not None else []
        return {
            "changes": [change.sentence for change in changes],
            "breaking": [change.sentence for change in changes if change.breaks],
        }
