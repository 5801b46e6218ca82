"""Follow the pipelines directory: what is edited there is deployed again, by itself and without a restart."""

from collections.abc import Iterable
from pathlib import Path

from watchfiles import Change, awatch

from hayhooks.core.bundle import ALWAYS_IGNORED, YAML_SUFFIXES, ignored
from hayhooks.core.errors import HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.store.disk import DiskStore
from hayhooks.telemetry import log, log_error

_STEP_MS = 50
_DEBOUNCE_MS = 400


async def follow_directory(runtime: Runtime, store: DiskStore, directory: Path) -> None:
    """Deploy again each deployment whose files change, until cancelled.

    One that cannot be built keeps its old version, and the log says why. One whose files are removed is taken out of
    service; nothing is ever deleted. What the server itself writes is live already and changes nothing.
    """
    directory = directory.resolve()  # changes are reported by their real paths
    async for changes in awatch(
        directory, watch_filter=None, step=_STEP_MS, debounce=_DEBOUNCE_MS, ignore_permission_denied=True
    ):
        for name in sorted(changed_names(directory, changes)):
            await _follow(runtime, store, name)


def changed_names(directory: Path, changes: Iterable[tuple[Change, str]]) -> set[str]:
    """Names of the deployments to which the changed paths belong."""
    names = set()
    for _, path in changes:
        parts = Path(path).relative_to(directory).parts
        # Drafts and caches begin with a dot or are never part of a bundle.
        if not parts or any(part.startswith(".") or ignored(part, ALWAYS_IGNORED) for part in parts):
            continue
        is_yaml = len(parts) == 1 and parts[0].endswith(YAML_SUFFIXES)
        names.add(Path(parts[0]).stem if is_yaml else parts[0])
    return names


async def _follow(runtime: Runtime, store: DiskStore, name: str) -> None:
    before = runtime.deployments.get(name)
    try:
        await runtime.follow(name, lambda: store.look(name))
    except HayhooksError as error:
        kept = "; its previous version stays live" if before is not None else ""
        log_error(f"Deployment {name!r} could not be reloaded{kept}", error)
        return
    except Exception as error:  # a boundary: the watcher outlives whatever one directory does
        log_error(f"Deployment {name!r} could not be reloaded", error)
        return
    after = runtime.deployments.get(name)
    if after is None and before is not None:
        log.info("Undeployed {}: its files are gone", name)
    elif after is not before and after is not None:
        log.info("{} {} from its changed files", "Deployed" if before is None else "Reloaded", name)
