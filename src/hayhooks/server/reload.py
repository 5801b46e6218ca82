"""Follow the pipelines directory: what is edited there is deployed again, by itself and without a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from watchfiles import Change, awatch

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import ALWAYS_IGNORED, YAML_SUFFIXES, Bundle, ignored
from hayhooks.core.errors import ServerStopping
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import Cause
from hayhooks.store.followed import FollowedStore
from hayhooks.telemetry import log, log_error

_STEP_MS = 50
_DEBOUNCE_MS = 400


@asynccontextmanager
async def following_directory(
    runtime: Runtime, store: FollowedStore, directory: Path, *, only: str = ""
) -> AsyncIterator[Callable[[], None]]:
    """Deploy again, inside the block, each deployment whose files change, from when the yielded function is called.

    What changed between entering and that call is not missed. One that cannot be built keeps its old version, and the
    log says why, once, and says so when it is mended. One whose files are removed is taken out of service; nothing is
    ever deleted. What the server itself writes is live already and changes nothing. With *only*, no other name is
    looked at, and no more of the directory is watched than that needs.
    """
    begin = asyncio.Event()
    directory = await in_thread(directory.resolve)  # changes are reported by their real paths
    is_inside = bool(only) and await in_thread((directory / only).is_dir)
    follower = _Follower(runtime, store, directory, only, is_inside=is_inside)
    task = asyncio.ensure_future(follower.follow(begin))
    await asyncio.sleep(0)  # it watches from its first step on
    try:
        yield begin.set
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Follower:
    def __init__(self, runtime: Runtime, store: FollowedStore, directory: Path, only: str, *, is_inside: bool) -> None:
        self._runtime = runtime
        self._store = store
        self._directory = directory
        self._only = only
        self._is_inside = is_inside  # only that one's own directory is watched
        self._told: dict[str, tuple[str | None, str]] = {}  # what could not be built: its version, and why

    async def follow(self, begin: asyncio.Event) -> None:
        """Follow for ever."""
        watched = self._directory / self._only if self._is_inside else self._directory
        watching = awatch(
            watched,
            watch_filter=None,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            recursive=self._is_inside or not self._only,
            ignore_permission_denied=True,
        )
        try:
            async for changes in watching:
                await begin.wait()
                for name in sorted(changed_names(self._directory, changes)):
                    if not self._only or name == self._only:
                        await self._follow_one(name)
        except Exception as error:  # a boundary: the server goes on without
            log_error(f"{watched} cannot be watched any more, changes are not reloaded", error)

    async def _follow_one(self, name: str) -> None:
        runtime = self._runtime
        before = runtime.deployments.get(name)
        was_failed = name in self._told or name in runtime.failures
        version: str | None = None

        def look() -> Bundle | None:
            nonlocal version
            bundle = self._store.look(name)
            version = bundle.version if bundle is not None else None
            return bundle

        try:
            await runtime.follow(name, look, lambda bundle: self._store.take_shown(name, bundle, Cause("reload")))
        except ServerStopping:
            return
        except Exception as error:  # a boundary: the watcher outlives whatever one directory does
            told = (version, str(error))
            if self._told.get(name) != told:  # what was saved once more says nothing new
                self._told[name] = told
                kept = "; its previous version stays live" if before is not None else ""
                log_error(f"Deployment {name!r} could not be reloaded{kept}", error)
            return
        self._told.pop(name, None)
        after = runtime.deployments.get(name)
        if after is None:
            if before is not None:
                log.info("Undeployed {}: its files are gone", name)
        elif was_failed:
            what = "Deployed" if before is None else "Reloaded" if after is not before else "Kept"
            log.success("{} {}: its error is gone", what, name)
        elif after is not before:
            log.info("{} {} from its changed files", "Deployed" if before is None else "Reloaded", name)


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
