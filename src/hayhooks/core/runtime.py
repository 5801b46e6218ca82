"""All that a surface may do: list, run, deploy and undeploy."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.deployment import Call, Deployment, Engine
from hayhooks.core.errors import BuildFailed, DeploymentExists, DeploymentNotFound, HayhooksError
from hayhooks.core.files import FileStore
from hayhooks.core.names import check_name
from hayhooks.core.peers import Alone, Peers, Turn
from hayhooks.core.registry import Live, Registry
from hayhooks.core.run import Run
from hayhooks.core.store import Found, Store

T = TypeVar("T")
RunListener = Callable[[Run, BaseException | None], None]


class Runtime:
    """A registry, a store and an engine, put together. Event loop only.

    *on_run_end* is told of every run and what ended it; *on_error* of what no caller waits for. *peers* serve the
    same: a change is made by all of them or by none. Runs read from *files* what callers have uploaded.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        files: FileStore | None = None,
        on_run_end: RunListener | None = None,
        on_error: Callable[[str, BaseException], None] | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._registry = Registry()
        self._store = store
        self._engine = engine
        self._files = files
        self._on_run_end = on_run_end
        self._on_error = on_error or (lambda _what, _error: None)
        self._peers: Peers = peers or Alone()
        self._retiring: set[Live] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: dict[str, str] = {}

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """What is live, a snapshot."""
        return self._registry.deployments

    @property
    def live(self) -> Mapping[str, Live]:
        """The current table by name; for look-ups on the way of a request."""
        return self._registry.live

    @property
    def failures(self) -> Mapping[str, str]:
        """What should be live and is not, with the reason."""
        return self._failures

    def open_runs(self) -> tuple[int, int]:
        """Runs under way, those of replaced versions too, and runs that wait for a slot."""
        running = queued = 0
        for live in (*self._registry.live.values(), *self._retiring):
            running += live.running
            queued += live.queued
        return running, queued

    @property
    def revision(self) -> int:
        """Grows whenever something is deployed or undeployed."""
        return self._registry.revision

    def get(self, name: str) -> Deployment:
        """The live deployment of that name. Raises DeploymentNotFound."""
        return self._registry.get(name)

    def run(self, name: str, entry: str, call: Call, *, via: str) -> Run:
        """One call: ``async with runtime.run(...) as run``. Entering raises what the caller must be told."""
        return Run(self._registry, name, entry, call, via, self._on_run_end, self._files)

    async def start(self, workers: int = 4) -> None:
        """Deploy everything that the store says should be live, *workers* at a time.

        What fails is left out and named in ``failures``.
        """
        await self._engine.start()
        found = await in_thread(self._store.find)
        turn = asyncio.Semaphore(max(1, workers))
        await asyncio.gather(*(self._start_one(item, turn) for item in found))

    async def stop(self) -> None:
        """Retire everything; returns when the teardowns have run."""
        for name in list(self.deployments):
            self._retire(self._registry.withdraw(name))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.stop()

    async def deploy(
        self,
        bundle: Bundle,
        *,
        overwrite: bool = False,
        save: bool = True,
        check: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        """Build *bundle* and make it live; on failure the old version stays live.

        Once begun it is carried to its end, even when the caller leaves. *check* may refuse what was built.

        Raises:
            DeploymentExists: The name is live and *overwrite* is false.
            BuildFailed: The files do not make a deployment.
        """
        return await self._whole(self._deploy(bundle, overwrite, save, check))

    async def undeploy(self, name: str) -> None:
        """Take *name* out of service; its runs end on their own. Raises DeploymentNotFound."""
        await self._whole(self._undeploy(name))

    async def follow(
        self, name: str, look: Callable[[], Bundle | None], commit: Callable[[Bundle | None], None] = lambda _: None
    ) -> None:
        """Make live what *look* says that *name* is by now; None takes it out of service.

        For changes that somebody else made and stored, as in an edited directory. Nothing happens when that version
        is live already. *look* and *commit*, which remembers what is live, block; they are called in a thread.

        Raises:
            BuildFailed: The old version, if any, stays live.
        """
        await self._whole(self._follow(name, look, commit))

    async def build(self, bundle: Bundle) -> Deployment:
        """Build *bundle*, to be taken over or discarded later. Raises BuildFailed, or what the disk refuses."""
        placed = await in_thread(self._store.put, bundle)
        try:
            return await in_thread(self._engine.build, placed)
        except BaseException:
            await in_thread(self._store.release, placed.name, placed.version)
            raise

    async def discard(self, built: Deployment) -> None:
        """Close what was built and is not needed."""
        await self._whole(self._close(built))

    async def take_over(self, name: str, look: Callable[[], Bundle | None], built: Deployment | None = None) -> None:
        """As ``follow``, of what all peers have agreed upon; uses what was *built*, when that is it."""
        await self._whole(self._take_over(name, look, built))

    async def _follow(
        self, name: str, look: Callable[[], Bundle | None], commit: Callable[[Bundle | None], None]
    ) -> None:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                bundle = await in_thread(look)
                live = self._registry.live.get(name)
                if bundle is None:
                    self._failures.pop(name, None)
                    if live is None:
                        return
                    await turn.agree(None)
                    await in_thread(commit, None)
                    self._retire(self._registry.withdraw(name))
                else:
                    if live is not None and live.deployment.version == bundle.version:
                        if await turn.is_current(bundle):
                            return
                        await turn.agree(bundle)  # this process found it so when it started, the others did not
                        await in_thread(commit, bundle)
                    else:
                        with self._telling(name, is_first=live is None):
                            await self._replace(bundle, turn, commit)
            await turn.settle()

    async def _take_over(self, name: str, look: Callable[[], Bundle | None], built: Deployment | None) -> None:
        try:
            async with self._registry.changing(name):
                bundle = await in_thread(look)
                live = self._registry.live.get(name)
                if bundle is None:
                    self._failures.pop(name, None)
                    self._retire(self._registry.withdraw(name))
                elif live is None or live.deployment.version != bundle.version:
                    if built is not None and built.version == bundle.version:
                        new, built = built, None
                    else:
                        with self._telling(name, is_first=live is None):
                            new = await self.build(bundle)
                    self._failures.pop(name, None)
                    self._retire(self._registry.publish(new))
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
                self._failures[name] = str(error)
            raise

    async def _deploy(
        self, bundle: Bundle, overwrite: bool, save: bool, check: Callable[[Deployment], None] | None
    ) -> Deployment:
        async with self._peers.turn(bundle.name) as turn:
            async with self._registry.changing(bundle.name):
                if bundle.name in self._registry.live and not overwrite:
                    raise DeploymentExists(bundle.name)
                new = await self._replace(bundle, turn, partial(self._store.set_live, save=save), check)
            await turn.settle()
        return new

    async def _replace(
        self,
        bundle: Bundle,
        turn: Turn,
        commit: Callable[[Bundle], None],
        check: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        """Build *bundle*, *commit* it in a thread when all can serve it, and put it in the place of what is live."""
        placed = await in_thread(self._store.put, bundle)
        try:
            new = await in_thread(self._engine.build, placed)
            try:
                if check is not None:
                    check(new)
                await turn.agree(placed)
                await in_thread(commit, placed)
            except BaseException:
                await in_thread(new.worker.close)
                raise
        except BaseException:
            await in_thread(self._store.release, placed.name, placed.version)
            raise
        self._failures.pop(bundle.name, None)
        self._retire(self._registry.publish(new))
        return new

    async def _undeploy(self, name: str) -> None:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                known = name in self._registry.live or name in self._failures
                if not known:
                    raise DeploymentNotFound(name)
                await turn.agree(None)
                await in_thread(self._store.set_undeployed, name)
                self._failures.pop(name, None)
                self._retire(self._registry.withdraw(name))
            await turn.settle()

    async def _start_one(self, found: Found, turn: asyncio.Semaphore) -> None:
        async with turn, self._registry.changing(found.name):
            if found.name in self._registry.live:  # somebody deployed it while we were starting
                if found.bundle is not None:
                    await in_thread(self._store.release, found.name, found.bundle.version)
                return
            try:
                check_name(found.name)
                if found.bundle is None:
                    raise found.error or BuildFailed("There is nothing to deploy.")
                new = await in_thread(self._engine.build, found.bundle)
            except Exception as error:
                is_told = isinstance(error, HayhooksError)
                reason = str(error) if is_told else "It could not be started; the server's log says why."
                self._failures[found.name] = reason
                self._on_error(f"Deployment {found.name!r} could not be started", error)
                if found.bundle is not None:
                    await in_thread(self._store.release, found.name, found.bundle.version)
            else:
                self._retire(self._registry.publish(new))

    def _retire(self, old: Live | None) -> None:
        if old is not None:
            self._retiring.add(old)
            old.retire(self._close_soon)

    def _close_soon(self, live: Live) -> None:
        self._retiring.discard(live)
        self._spawn(self._close(live.deployment))

    async def _close(self, deployment: Deployment) -> None:
        try:
            await in_thread(deployment.worker.close)
        except Exception as error:
            self._on_error(f"teardown() of {deployment.name!r} failed", error)
        finally:
            await in_thread(self._store.release, deployment.name, deployment.version)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end even when the caller is cancelled: a change is done or not, never half."""
        return await asyncio.shield(self._spawn(work))
