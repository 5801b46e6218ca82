"""Changing what is live: deploying, rolling back, undeploying, and following what others have changed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Literal, TypeVar

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.canaries import Canaries, check_hooks
from hayhooks.core.canary import Outcome
from hayhooks.core.deployment import Deployment, Engine
from hayhooks.core.errors import BuildFailed, DeploymentExists, DeploymentNotFound, HayhooksError
from hayhooks.core.names import check_name
from hayhooks.core.peers import Peers, Turn
from hayhooks.core.registry import Live, Registry
from hayhooks.core.starting import Starting
from hayhooks.core.store import Cause, Change, Found, Store
from hayhooks.core.versions import Version, VersionNotFound, choose, list_versions

T = TypeVar("T")
Check = Callable[[Deployment], None]
Commit = Callable[[Bundle], None]
Look = Callable[[], Bundle | None]
# Is given the version that is live; "live" says that it is the one, without reading its files.
LookBeside = Callable[[str | None], Bundle | Literal["live"] | None]

_STARTED = Cause("start")
_REPLACED, _WITHDRAWN = "Another version was deployed.", "The deployment was taken out of service."
_CALM_S = 0.25  # between two pieces of what can wait, while there are changes or runs


class Changes:
    """Makes the changes of one registry, store and engine, each to its end even when its caller leaves.

    *peers* serve the same: a change is made by all of them or by none. ``failures`` holds what should be live and is
    not, with the reason. Event loop only.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        engine: Engine,
        peers: Peers,
        on_error: Callable[[str, BaseException], None],
        on_canary_change: Callable[[str], Awaitable[None]] | None,
        on_canary_end: Callable[[Outcome], None] | None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._engine = engine
        self._peers = peers
        self._on_error = on_error
        self._retiring: set[Live] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._under_way = 0  # changes that a caller waits for
        self._is_calm = asyncio.Event()  # there is none
        self._is_calm.set()
        self._stops = asyncio.Event()
        self._started: dict[str, Bundle] = {}  # found at start and live, but not remembered by the store yet
        self.failures: dict[str, str] = {}
        self.canaries = Canaries(
            registry, store, engine, self, peers, on_error=on_error, on_change=on_canary_change, on_end=on_canary_end
        )

    def open_runs(self) -> tuple[int, int]:
        """Runs under way, those of canaries and replaced versions too, and runs that wait for a slot."""
        lives = set(self._retiring)
        for live in self._registry.live.values():
            lives.add(live)
            if live.trial is not None:
                lives.add(live.trial.live)
        return sum(live.running for live in lives), sum(live.queued for live in lives)

    async def start(self, workers: int) -> None:
        """Deploy everything that the store says should be live, at most *workers* at a time.

        What fails is left out and named in ``failures``; what has not begun when the door closes is left out, too.
        Nothing else changes these names until all have started.
        """
        await self._engine.start()
        found = {item.name: item for item in await in_thread(self._store.find)}
        adopting: list[Found] = []

        def publish(item: Found, new: Deployment | None, failure: BaseException | None) -> None:
            if new is None or item.bundle is None:
                self._start_failed(item, failure)
                return
            self._started[item.name] = item.bundle
            self._registry.publish(new)
            if item.canary is not None:
                adopting.append(item)

        async with AsyncExitStack() as held:
            for name in found:
                await held.enter_async_context(self._registry.changing(name))
            # Somebody may have deployed it while we were starting.
            items = [item for name, item in found.items() if name not in self._registry.live]
            await Starting(items, self._build_found, publish, lambda: self._registry.door.is_closed, workers).run()
            for item in adopting:
                assert item.canary is not None
                await self.canaries.adopt(item.canary, self._registry.live[item.name])
            unused = [item for name, item in found.items() if name not in self._started]
            if unused:
                await in_thread(self._release_found, unused)
        self._registry.door.watch(self._stops.set)
        self.spawn(self._remember_all())

    async def stop(self) -> None:
        """Retire everything; returns when the teardowns have run."""
        self.canaries.stop()
        self._stops.set()
        for name in list(self._registry.live):
            self.retire(self._registry.withdraw(name))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.stop()

    async def deploy(
        self, bundle: Bundle, *, overwrite: bool, save: bool, check: Check | None, cause: Cause
    ) -> Deployment:
        """As ``Runtime.deploy``."""
        self._registry.door.check()
        return await self._whole(self._deploy(bundle, overwrite, save, check, cause))

    async def try_out(self, bundle: Bundle, *, overwrite: bool, as_canary: bool) -> Deployment:
        """As ``Runtime.try_out``."""
        stable = self.canaries.beside(bundle).deployment if as_canary else None
        if stable is None and bundle.name in self._registry.live and not overwrite:
            raise DeploymentExists(bundle.name)
        new = await self._whole(in_thread(self._try_out, bundle))
        if stable is not None:
            check_hooks(stable, new)
        return new

    async def rollback(self, name: str, version: str | None, *, check: Check | None, cause: Cause) -> Deployment:
        """As ``Runtime.rollback``."""
        check_name(name)
        self._registry.door.check()
        return await self._whole(self._rollback(name, version, check, cause))

    async def undeploy(self, name: str, cause: Cause) -> None:
        """As ``Runtime.undeploy``."""
        self._registry.door.check()
        await self._whole(self._undeploy(name, cause))

    async def versions(self, name: str) -> Sequence[Version]:
        """What *name* has been, by when it was last live, newest first. Empty when nothing is known."""
        check_name(name)
        await self._remembered(name)
        return await self._versions(name)

    async def _versions(self, name: str) -> Sequence[Version]:
        live = self._registry.live.get(name)
        version = live.deployment.version if live is not None else None
        history = await in_thread(self._store.history, name)
        return list_versions(version, history, await in_thread(self._store.kept, name))

    async def history(self, name: str) -> Sequence[Change]:
        """The changes of *name*, newest first."""
        check_name(name)
        await self._remembered(name)
        return await in_thread(self._store.history, name)

    async def follow(self, name: str, look: Look, commit: Callable[[Bundle | None], None]) -> None:
        """As ``Runtime.follow``."""
        await self._whole(self._follow(name, look, commit))

    async def take_over(self, name: str, look: LookBeside, built: Deployment | None) -> None:
        """As ``Runtime.take_over``."""
        await self._whole(self._take_over(name, look, built))

    async def discard(self, built: Deployment) -> None:
        """Close what was built and is not needed."""
        await self._whole(self._close(built))

    async def build(
        self,
        bundle: Bundle,
        commit: Commit | None = None,
        check: Check | None = None,
        turn: Turn | None = None,
    ) -> Deployment:
        """Build *bundle* and, when all agree whose *turn* it is, *commit* it in a thread.

        When any of it fails, nothing is left.
        """
        placed = await in_thread(self._store.put, bundle)
        try:
            new = await in_thread(self._engine.build, placed)
            try:
                if check is not None:
                    check(new)
                if turn is not None:
                    await turn.agree(placed)
                if commit is not None:
                    await in_thread(commit, placed)
            except BaseException:
                try:
                    await in_thread(new.worker.close)
                except Exception as error:  # what went wrong first is what the caller must be told
                    self._on_error(f"teardown() of {bundle.name!r} failed", error)
                raise
        except BaseException:
            await in_thread(self._store.release, placed.name, placed.version)
            raise
        return new

    def retire(self, old: Live | None) -> None:
        """Close that version, and its canary, when their last runs have ended."""
        if old is None:
            return
        for live in (old.trial.live, old) if old.trial is not None else (old,):
            self._retiring.add(live)
            live.retire(self._close_soon)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do *work*, and be done with it before all stops."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deploy(
        self, bundle: Bundle, overwrite: bool, save: bool, check: Check | None, cause: Cause
    ) -> Deployment:
        async with self._peers.turn(bundle.name) as turn:
            async with self._registry.changing(bundle.name):
                if bundle.name in self._registry.live and not overwrite:
                    raise DeploymentExists(bundle.name)
                await self.remember(bundle.name)
                new = await self._replace(bundle, turn, partial(self._store.set_live, save=save, cause=cause), check)
            await turn.settle()
        return new

    async def _rollback(self, name: str, version: str | None, check: Check | None, cause: Cause) -> Deployment:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                await self.remember(name)
                versions = await self._versions(name)
                if not versions:
                    raise DeploymentNotFound(name)
                chosen = choose(name, version, versions)
                bundle = await in_thread(self._store.fetch, name, chosen)
                if bundle is None:
                    raise VersionNotFound(f"The files of version {chosen[:12]} of {name!r} are gone.")
                new = await self._replace(bundle, turn, partial(self._store.set_live, save=True, cause=cause), check)
            await turn.settle()
        return new

    async def _undeploy(self, name: str, cause: Cause) -> None:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                if name not in self._registry.live and name not in self.failures:
                    raise DeploymentNotFound(name)
                await self.remember(name)
                await turn.agree(None)
                await in_thread(self._store.set_undeployed, name, cause)
                self.failures.pop(name, None)
                await self._replaced(self._registry.withdraw(name), _WITHDRAWN)
            await turn.settle()

    async def _follow(self, name: str, look: Look, commit: Callable[[Bundle | None], None]) -> None:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                await self.remember(name)
                bundle = await in_thread(look)
                live = self._registry.live.get(name)
                if bundle is None:
                    self.failures.pop(name, None)
                    if live is None:
                        return
                    await turn.agree(None)
                    await in_thread(commit, None)
                    await self._replaced(self._registry.withdraw(name), _WITHDRAWN)
                elif live is not None and live.deployment.version == bundle.version:
                    if await turn.is_current(bundle):
                        return
                    await turn.agree(bundle)  # this process found it so when it started, the others did not
                    await in_thread(commit, bundle)
                else:
                    with self._telling(name, is_first=live is None):
                        await self._replace(bundle, turn, commit)
            await turn.settle()

    async def _take_over(self, name: str, look: LookBeside, built: Deployment | None) -> None:
        try:
            async with self._registry.changing(name):
                await self.remember(name)
                live = self._registry.live.get(name)
                bundle = await in_thread(look, live.deployment.version if live is not None else None)
                trial = live.trial if live is not None else None
                if bundle is None:
                    self.failures.pop(name, None)
                    await self._replaced(self._registry.withdraw(name), _WITHDRAWN)
                elif bundle == "live" or (live is not None and live.deployment.version == bundle.version):
                    return
                elif trial is not None and bundle.version in (trial.canary.version, trial.live.deployment.version):
                    self.retire(self._registry.promote(trial))  # it is built and warm here, too
                else:
                    if built is not None and built.version == bundle.version:
                        new, built = built, None
                    else:
                        with self._telling(name, is_first=live is None):
                            new = await self.build(bundle)
                    await self._publish(new)
        finally:
            if built is not None:
                await self._close(built)

    @contextmanager
    def _telling(self, name: str, *, is_first: bool) -> Iterator[None]:
        """Say in ``failures`` why nothing is live under *name*, when it is the first version that fails."""
        try:
            yield
        except HayhooksError as error:
            if is_first:
                self.failures[name] = str(error)
            raise

    def _try_out(self, bundle: Bundle) -> Deployment:
        with self._store.aside(bundle) as placed:
            new = self._engine.build(placed)
            try:
                new.worker.close()
            except Exception as error:  # as when a deployment that was live is closed
                self._on_error(f"teardown() of {bundle.name!r} failed", error)
        return new

    async def _replace(self, bundle: Bundle, turn: Turn, commit: Commit, check: Check | None = None) -> Deployment:
        """Build *bundle*, *commit* it when all can serve it, and put it in the place of what is live."""
        new = await self.build(bundle, commit, check, turn)
        await self._publish(new)
        return new

    async def _publish(self, new: Deployment) -> None:
        self.failures.pop(new.name, None)
        await self._replaced(self._registry.publish(new), _REPLACED)

    async def _replaced(self, old: Live | None, reason: str) -> None:
        self.retire(old)
        await self.canaries.replaced(old, reason)

    def _build_found(self, found: Found) -> Deployment:
        check_name(found.name)
        if found.bundle is None:
            raise found.error or BuildFailed("There is nothing to deploy.")
        return self._engine.build(found.bundle)

    def _start_failed(self, found: Found, error: BaseException | None) -> None:
        error = error or BuildFailed("There is nothing to deploy.")
        is_told = isinstance(error, HayhooksError)
        self.failures[found.name] = str(error) if is_told else "It could not be started; the server's log says why."
        self._on_error(f"Deployment {found.name!r} could not be started", error)

    def _release_found(self, unused: Sequence[Found]) -> None:
        for item in unused:
            for bundle in (item.bundle, item.canary.bundle if item.canary else None):
                if bundle is not None:
                    self._store.release(item.name, bundle.version)

    async def _remember_all(self) -> None:
        """Tell the store what was live at start, after it serves: copies of hundreds of directories take seconds.

        Meanwhile changes go first, as each would take twice as long beside it; runs hardly notice it. What
        somebody edits before its turn is not kept.
        """
        loop = asyncio.get_running_loop()
        for name in list(self._started):
            while not self._is_calm.is_set():
                await self._is_calm.wait()
                await self._pause(_CALM_S)  # the next may follow
            if self._stops.is_set():  # the next start finds it again
                return
            began_s = loop.time()
            await self._remembered(name)
            await self._pause(_CALM_S if self.open_runs()[0] else loop.time() - began_s)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not when all stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stops.wait(), seconds)

    async def _remembered(self, name: str) -> None:
        if name in self._started:
            async with self._registry.changing(name):
                await self.remember(name)

    async def remember(self, name: str) -> None:
        """Tell the store that what was found of *name* is live, before it is changed. While it is being changed."""
        bundle = self._started.pop(name, None)
        if bundle is not None:
            await in_thread(self._store.set_found, bundle, _STARTED)

    def _close_soon(self, live: Live) -> None:
        self._retiring.discard(live)
        self.spawn(self._close(live.deployment))

    async def _close(self, deployment: Deployment) -> None:
        try:
            await in_thread(deployment.worker.close)
        except Exception as error:
            self._on_error(f"teardown() of {deployment.name!r} failed", error)
        finally:
            await in_thread(self._store.release, deployment.name, deployment.version)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end even when the caller is cancelled: a change is done or not, never half."""

        async def counted() -> T:
            self._under_way += 1
            self._is_calm.clear()
            try:
                return await work
            finally:
                self._under_way -= 1
                if not self._under_way:
                    self._is_calm.set()

        return await asyncio.shield(self.spawn(counted()))
