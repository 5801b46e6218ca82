"""Follow the pipelines directory: what is edited there is deployed again, by itself and without a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from watchfiles import Change, awatch

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import ALWAYS_IGNORED, YAML_SUFFIXES, ignored
from hayhooks.core.errors import HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.store.followed import FollowedStore
from hayhooks.telemetry import log, log_error

_STEP_MS = 50
_DEBOUNCE_MS = 400


@asynccontextmanager
async def following_directory(
    runtime: Runtime, store: FollowedStore, directory: Path
) -> AsyncIterator[Callable[[], None]]:
    """Deploy again, inside the block, each deployment whose files change, from when the yielded function is called.

    What changed between entering and that call is not missed. One that cannot be built keeps its old version, and the
    log says why. One whose files are removed is taken out of service; nothing is ever deleted. What the server itself
    writes is live already and changes nothing.
    """
    begin = asyncio.Event()
    directory = await in_thread(directory.resolve)  # changes are reported by their real paths
    task = asyncio.ensure_future(_follow(runtime, store, directory, begin))
    await asyncio.sleep(0)  # it watches from its first step on
    try:
        yield begin.set
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(runtime: Runtime, store: FollowedStore, directory: Path, begin: asyncio.Event) -> None:
    watching = awatch(directory, watch_filter=None, step=_STEP_MS, debounce=_DEBOUNCE_MS, ignore_permission_denied=True)
    try:
        async for changes in watching:
            await begin.wait()
            for name in sorted(changed_names(directory, changes)):
                await _follow_one(runtime, store, name)
    except Exception as error:  # a boundary: the server goes on without
        log_error(f"{directory} cannot be watched any more, changes are not reloaded", error)


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


async def _follow_one(runtime: Runtime, store: FollowedStore, name: str) -> None:
    before = runtime.deployments.get(name)
    try:
        await runtime.follow(name, lambda: store.look(name), lambda bundle: store.set_shown(name, bundle))
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
