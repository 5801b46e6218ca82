"""All that a surface may do: list, run, deploy, roll back and undeploy."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from hayhooks.core.access import OPEN, Access, refusal
from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.canaries import Canaries
from hayhooks.core.canary import Outcome
from hayhooks.core.context import NO_SESSION, Session
from hayhooks.core.deployment import Call, Deployment, Engine
from hayhooks.core.errors import BuildFailed, DeploymentExists, DeploymentNotFound, HayhooksError
from hayhooks.core.files import FileStore
from hayhooks.core.load import Load
from hayhooks.core.names import check_name
from hayhooks.core.principal import Action, Principal
from hayhooks.core.quotas import Quotas
from hayhooks.core.registry import Live, Registry
from hayhooks.core.run import Run
from hayhooks.core.store import DEPLOYED, UNDEPLOYED, Cause, Change, Found, Store
from hayhooks.core.versions import Version, VersionNotFound, choose, list_versions

T = TypeVar("T")
_SLOW_S = 0.02  # a build that takes longer waits for something, or could as well share the processors
_STARTED, _ROLLED_BACK = Cause("start"), Cause("rollback")
RunListener = Callable[[Run, BaseException | None], None]


class Runtime:
    """A registry, a store and an engine, put together. Event loop only.

    *on_run_end* is told of every run and what ended it; *on_error* of what no caller waits for. *on_change* is told
    of each deploy (name, version) and undeploy (name, None) that was asked for here, before the caller is answered;
    *on_canary_change* likewise of a canary that was begun, changed or aborted, and *on_canary_end* of how each ended.
    Runs read from *files* what callers have uploaded. *access* says who may call what, *quotas* how much of it,
    *load* whether there can be one more.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        files: FileStore | None = None,
        quotas: Quotas | None = None,
        access: Access = OPEN,
        load: Load | None = None,
        on_run_end: RunListener | None = None,
        on_error: Callable[[str, BaseException], None] | None = None,
        on_change: Callable[[str, str | None], Awaitable[None]] | None = None,
        on_canary_change: Callable[[str], Awaitable[None]] | None = None,
        on_canary_end: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._registry = Registry()
        self._store = store
        self._engine = engine
        self._files = files
        self._quotas = quotas
        self._access = access
        self._hides: tuple[int, bool] = (-1, False)
        self._load = load or Load()
        self._on_run_end = on_run_end
        self._on_error = on_error or (lambda _what, _error: None)
        self._on_change = on_change
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: dict[str, str] = {}
        self.canaries = Canaries(
            self._registry,
            store,
            engine,
            self,
            on_error=self._on_error,
            on_deploy=on_change,
            on_change=on_canary_change,
            on_end=on_canary_end,
        )

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
        """The live deployment of that name, for code that asks for nobody. Raises DeploymentNotFound."""
        return self._registry.get(name)

    def find(self, name: str, caller: Principal, action: Action = "run") -> Deployment:
        """The live deployment of that name, for *caller* to do that with.

        Raises:
            DeploymentNotFound, Unauthorized, Forbidden: Not telling whether it is there to those who may not know.
        """
        live = self._registry.live.get(name)
        if live is not None and self._access.allows(caller, action, live.deployment):
            return live.deployment
        raise self.refusal(name, caller, action)

    def choose(self, name: str, caller: Principal, session: Session = NO_SESSION) -> Live:
        """The version for one run, to look up what it can do and then to ``run`` it.

        One run asks once: the next answer may be another version.

        Raises:
            DeploymentNotFound, Unauthorized, Forbidden: As ``find``, for the version that was chosen as well.
        """
        self.find(name, caller)
        chosen = self._registry.choose(name, session)
        if not self._access.allows(caller, "run", chosen.deployment):  # the canary may be for fewer callers
            raise refusal(caller, "run", name, chosen.deployment, hides=True)
        return chosen

    def may(self, name: str, caller: Principal, action: Action = "run") -> bool:
        """Whether ``find`` would find it."""
        live = self._registry.live.get(name)
        return live is not None and self._access.allows(caller, action, live.deployment)

    def refusal(self, name: str, caller: Principal, action: Action = "run") -> HayhooksError:
        """What ``find`` raises for a name that is not there, or not for *caller*."""
        live = self._registry.live.get(name)
        return refusal(caller, action, name, live.deployment if live is not None else None, hides=self.hides)

    def open_to(self, caller: Principal, action: Action = "run") -> Mapping[str, Deployment]:
        """What is live and *caller* may do that with: the listings of every protocol."""
        if not self.hides:
            return self._registry.deployments
        return {
            name: live.deployment
            for name, live in self._registry.live.items()
            if self._access.allows(caller, action, live.deployment)
        }

    @property
    def hides(self) -> bool:
        """Whether some deployments are not for everybody."""
        if self._access.requires_login:
            return True
        if self._hides[0] != self.revision:
            is_hiding = not all(self._access.is_open(live.deployment) for live in self._registry.live.values())
            self._hides = (self.revision, is_hiding)
        return self._hides[1]

    def close_door(self) -> None:
        """From now on no run begins and nothing is deployed: both raise ServerStopping. Runs under way go on."""
        self._registry.door.is_closed = True

    def clear(self) -> None:
        """End the runs that are still under way, with ServerStopping."""
        self._registry.door.clear()

    def run(self, name: str, entry: str, call: Call, *, via: str, chosen: Live | None = None) -> Run:
        """One call: ``async with runtime.run(...) as run``. Entering raises what the caller must be told.

        It goes to the version that was *chosen*, as long as that serves; without, one is chosen for the call's session.
        """
        return Run(
            self._registry, name, entry, call, via, self._on_run_end, self._files, self.choose, self._quotas, chosen,
            self._load,
        )  # fmt: skip

    async def start(self, workers: int = 4) -> None:
        """Deploy everything that the store says should be live, at most *workers* at a time.

        One begins when the one before it has ended or is slow: what is built in a moment is built soonest one after
        the other, as threads that compute stand in each other's way. What fails is left out and named in ``failures``;
        what has not begun when the door closes is left out, too.
        """
        await self._engine.start()
        found = await in_thread(self._store.find)
        turn = asyncio.Semaphore(max(1, workers))
        starting = []
        for item in found:
            await turn.acquire()
            task = asyncio.ensure_future(self._start_one(item))
            task.add_done_callback(lambda _: turn.release())
            starting.append(task)
            await asyncio.wait({task}, timeout=_SLOW_S)
        await asyncio.gather(*starting)

    async def stop(self) -> None:
        """Retire everything; returns when the teardowns have run."""
        self.canaries.stop()
        for name in list(self.deployments):
            self.retire(self._registry.withdraw(name))
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
        cause: Cause = DEPLOYED,
    ) -> Deployment:
        """Build *bundle* and make it live; on failure the old version stays live.

        Once begun it is carried to its end, even when the caller leaves. *check* may refuse what was built; what is
        live then is what it would replace.

        Raises:
            DeploymentExists: The name is live and *overwrite* is false.
            BuildFailed: The files do not make a deployment.
            ServerStopping: It is too late.
        """
        self._registry.door.check()
        return await self._whole(self._deploy(bundle, overwrite, save, check, cause))

    async def try_out(self, bundle: Bundle, *, overwrite: bool = False) -> Deployment:
        """Build *bundle* as a deploy would, and close it again: nothing changes. Raises as ``deploy``."""
        if bundle.name in self._registry.live and not overwrite:
            raise DeploymentExists(bundle.name)
        return await self._whole(in_thread(self._try_out, bundle))

    async def rollback(
        self,
        name: str,
        version: str | None = None,
        *,
        check: Callable[[Deployment], None] | None = None,
        cause: Cause = _ROLLED_BACK,
    ) -> Deployment:
        """Make a version live again that *name* had: the one that begins with *version*, or the one before.

        It is a deploy of what the store keeps, and saved; an undeployed name comes back.

        Raises:
            DeploymentNotFound, VersionNotFound: Nothing is known of that name, or that version is not kept.
            NothingToRollBack: It is live, or there is no other.
            BuildFailed: It cannot be built any more; what is live stays.
        """
        check_name(name)
        self._registry.door.check()
        return await self._whole(self._rollback(name, version, check, cause))

    async def versions(self, name: str) -> Sequence[Version]:
        """What *name* has been, by when it was last live, newest first. Empty when nothing is known."""
        check_name(name)
        live = self._registry.live.get(name)
        version = live.deployment.version if live is not None else None
        return list_versions(version, await self.history(name), await in_thread(self._store.kept, name))

    async def history(self, name: str) -> Sequence[Change]:
        """The changes of *name*, newest first."""
        return await in_thread(self._store.history, check_name(name))

    async def undeploy(self, name: str, *, cause: Cause = UNDEPLOYED) -> None:
        """Take *name* out of service; its runs end on their own. Raises DeploymentNotFound, ServerStopping."""
        self._registry.door.check()
        await self._whole(self._undeploy(name, cause))

    async def follow(self, name: str, look: Callable[[], Bundle | None], *, cause: Cause | None = None) -> None:
        """Make live what *look* says that *name* is by now; None takes it out of service.

        For changes that somebody else made: an edited directory, another worker. *cause* is given when they have not
        told the store. Nothing happens when that version is live already. *look* blocks; it is called in a thread,
        after the changes under way.

        Raises:
            BuildFailed: The old version, if any, stays live.
        """
        await self._whole(self._follow(name, look, cause))

    async def _follow(self, name: str, look: Callable[[], Bundle | None], cause: Cause | None) -> None:
        async with self._registry.changing(name):
            bundle = await in_thread(look)
            if bundle is None:
                self._failures.pop(name, None)
                await self._replaced(self._registry.withdraw(name), "The deployment was taken out of service.")
                return
            live = self._registry.live.get(name)
            if live is not None and live.deployment.version == bundle.version:
                return
            trial = live.trial if live is not None else None
            if trial is not None and bundle.version in (trial.canary.version, trial.live.deployment.version):
                self.retire(self._registry.promote(trial))  # another process has; it is built and warm here, too
                return
            try:
                await self._replace(bundle, partial(self._store.set_found, cause=cause) if cause else lambda _: None)
            except HayhooksError as error:
                if live is None:
                    self._failures[name] = str(error)
                raise

    async def _deploy(
        self, bundle: Bundle, overwrite: bool, save: bool, check: Callable[[Deployment], None] | None, cause: Cause
    ) -> Deployment:
        async with self._registry.changing(bundle.name):
            if bundle.name in self._registry.live and not overwrite:
                raise DeploymentExists(bundle.name)
            new = await self._replace(bundle, partial(self._store.set_live, save=save, cause=cause), check)
        if self._on_change is not None:
            await self._on_change(new.name, new.version)
        return new

    async def _rollback(
        self, name: str, version: str | None, check: Callable[[Deployment], None] | None, cause: Cause
    ) -> Deployment:
        async with self._registry.changing(name):
            versions = await self.versions(name)
            if not versions:
                raise DeploymentNotFound(name)
            chosen = choose(name, version, versions)
            bundle = await in_thread(self._store.fetch, name, chosen)
            if bundle is None:
                raise VersionNotFound(f"The files of version {chosen[:12]} of {name!r} are gone.")
            new = await self._replace(bundle, partial(self._store.set_live, save=True, cause=cause), check)
        if self._on_change is not None:
            await self._on_change(new.name, new.version)
        return new

    def _try_out(self, bundle: Bundle) -> Deployment:
        with self._store.aside(bundle) as placed:
            new = self._engine.build(placed)
            try:
                new.worker.close()
            except Exception as error:  # as when a deployment that was live is closed
                self._on_error(f"teardown() of {bundle.name!r} failed", error)
        return new

    async def _replace(
        self,
        bundle: Bundle,
        commit: Callable[[Bundle], None],
        check: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        """Build *bundle*, *commit* it in a thread, and put it in the place of what is live."""
        new = await self.build(bundle, commit, check)
        self._failures.pop(bundle.name, None)
        await self._replaced(self._registry.publish(new), "Another version was deployed.")
        return new

    async def build(
        self, bundle: Bundle, commit: Callable[[Bundle], None], check: Callable[[Deployment], None] | None = None
    ) -> Deployment:
        """Build *bundle* and *commit* it in a thread; when either fails nothing is left of it. For its parts only."""
        placed = await in_thread(self._store.put, bundle)
        try:
            new = await in_thread(self._engine.build, placed)
            try:
                if check is not None:
                    check(new)
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

    async def _undeploy(self, name: str, cause: Cause) -> None:
        async with self._registry.changing(name):
            known = name in self._registry.live or name in self._failures
            if not known:
                raise DeploymentNotFound(name)
            await in_thread(self._store.set_undeployed, name, cause)
            self._failures.pop(name, None)
            await self._replaced(self._registry.withdraw(name), "The deployment was taken out of service.")
        if self._on_change is not None:
            await self._on_change(name, None)

    async def _start_one(self, found: Found) -> None:
        async with self._registry.changing(found.name):
            # Somebody deployed it while we were starting, or the server stops before it has started.
            if found.name in self._registry.live or self._registry.door.is_closed:
                for bundle in (found.bundle, found.canary.bundle if found.canary else None):
                    if bundle is not None:
                        await in_thread(self._store.release, found.name, bundle.version)
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
                await in_thread(self._store.set_found, found.bundle, _STARTED)
                self._registry.publish(new)
                if found.canary is not None:
                    await self.canaries.adopt(found.canary, self._registry.live[found.name])

    async def _replaced(self, old: Live | None, reason: str) -> None:
        self.retire(old)
        await self.canaries.replaced(old, reason)

    def retire(self, old: Live | None) -> None:
        """Close that version, and its canary, when their last runs have ended. For the runtime's parts only."""
        if old is not None:
            if old.trial is not None:
                old.trial.live.retire(self._close_soon)
            old.retire(self._close_soon)

    def _close_soon(self, live: Live) -> None:
        self.spawn(self._close(live.deployment))

    async def _close(self, deployment: Deployment) -> None:
        try:
            await in_thread(deployment.worker.close)
        except Exception as error:
            self._on_error(f"teardown() of {deployment.name!r} failed", error)
        finally:
            await in_thread(self._store.release, deployment.name, deployment.version)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do *work*, and be done with it before the runtime stops. For its parts only."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end even when the caller is cancelled: a change is done or not, never half."""
        return await asyncio.shield(self.spawn(work))
