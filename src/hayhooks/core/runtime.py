"""All that a surface may do: list, run, deploy and undeploy."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.deployment import Call, Deployment, Engine
from hayhooks.core.errors import BuildFailed, DeploymentExists, DeploymentNotFound, HayhooksError
from hayhooks.core.files import FileStore
from hayhooks.core.load import Load
from hayhooks.core.names import check_name
from hayhooks.core.registry import Live, Registry
from hayhooks.core.run import Run
from hayhooks.core.store import Found, Store

T = TypeVar("T")
RunListener = Callable[[Run, BaseException | None], None]


class Runtime:
    """A registry, a store and an engine, put together. Event loop only.

    *on_run_end* is told of every run and what ended it; *on_error* of what no caller waits for. *on_change* is told
    of each deploy (name, version) and undeploy (name, None) that was asked for here, before the caller is answered.
    Runs read from *files* what callers have uploaded. *load* decides whether there can be one more.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        files: FileStore | None = None,
        load: Load | None = None,
        on_run_end: RunListener | None = None,
        on_error: Callable[[str, BaseException], None] | None = None,
        on_change: Callable[[str, str | None], Awaitable[None]] | None = None,
    ) -> None:
        self._registry = Registry()
        self._store = store
        self._engine = engine
        self._files = files
        self._load = load or Load()
        self._on_run_end = on_run_end
        self._on_error = on_error or (lambda _what, _error: None)
        self._on_change = on_change
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

    @property
    def revision(self) -> int:
        """Grows whenever something is deployed or undeployed."""
        return self._registry.revision

    def get(self, name: str) -> Deployment:
        """The live deployment of that name. Raises DeploymentNotFound."""
        return self._registry.get(name)

    def run(self, name: str, entry: str, call: Call, *, via: str) -> Run:
        """One call: ``async with runtime.run(...) as run``. Entering raises what the caller must be told."""
        return Run(self._registry, name, entry, call, via, self._on_run_end, self._files, self._load)

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

    async def follow(self, name: str, look: Callable[[], Bundle | None]) -> None:
        """Make live what *look* says that *name* is by now; None takes it out of service.

        For changes that somebody else made and stored: an edited directory, another worker. Nothing happens when
        that version is live already. *look* blocks; it is called in a thread, after the changes under way.

        Raises:
            BuildFailed: The old version, if any, stays live.
        """
        await self._whole(self._follow(name, look))

    async def _follow(self, name: str, look: Callable[[], Bundle | None]) -> None:
        async with self._registry.changing(name):
            bundle = await in_thread(look)
            if bundle is None:
                self._failures.pop(name, None)
                self._retire(self._registry.withdraw(name))
                return
            live = self._registry.live.get(name)
            if live is not None and live.deployment.version == bundle.version:
                return
            try:
                await self._replace(bundle, lambda _: None)
            except HayhooksError as error:
                if live is None:
                    self._failures[name] = str(error)
                raise

    async def _deploy(
        self, bundle: Bundle, overwrite: bool, save: bool, check: Callable[[Deployment], None] | None
    ) -> Deployment:
        async with self._registry.changing(bundle.name):
            if bundle.name in self._registry.live and not overwrite:
                raise DeploymentExists(bundle.name)
            new = await self._replace(bundle, partial(self._store.set_live, save=save), check)
        if self._on_change is not None:
            await self._on_change(new.name, new.version)
        return new

    async def _replace(
        self,
        bundle: Bundle,
        commit: Callable[[Bundle], None],
        check: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        """Build *bundle*, *commit* it in a thread, and put it in the place of what is live."""
        placed = await in_thread(self._store.put, bundle)
        try:
            new = await in_thread(self._engine.build, placed)
            try:
                if check is not None:
                    check(new)
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
        async with self._registry.changing(name):
            known = name in self._registry.live or name in self._failures
            if not known:
                raise DeploymentNotFound(name)
            await in_thread(self._store.set_undeployed, name)
            self._failures.pop(name, None)
            self._retire(self._registry.withdraw(name))
        if self._on_change is not None:
            await self._on_change(name, None)

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
            old.retire(self._close_soon)

    def _close_soon(self, live: Live) -> None:
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
