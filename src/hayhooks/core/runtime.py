"""All that a surface may do: list, run, deploy and undeploy."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from hayhooks.core.access import OPEN, Access, refusal
from hayhooks.core.bundle import Bundle
from hayhooks.core.canaries import Canaries
from hayhooks.core.canary import Outcome
from hayhooks.core.changes import Changes, LookBeside
from hayhooks.core.context import NO_SESSION, Session
from hayhooks.core.deployment import Call, Deployment, Engine
from hayhooks.core.errors import HayhooksError
from hayhooks.core.files import FileStore
from hayhooks.core.load import Load
from hayhooks.core.peers import Alone, Peers
from hayhooks.core.principal import Action, Principal
from hayhooks.core.quotas import Quotas
from hayhooks.core.registry import Live, Registry
from hayhooks.core.run import Grounds, Run
from hayhooks.core.store import DEPLOYED, UNDEPLOYED, Cause, Change, Store
from hayhooks.core.versions import Version

RunListener = Callable[[Run, BaseException | None], None]
_ROLLED_BACK = Cause("rollback")


class Runtime:
    """A registry, a store and an engine, put together. Event loop only.

    *on_run_end* is told of every run and what ended it; *on_error* of what no caller waits for. *peers* serve the
    same: a change is made by all of them or by none. *on_canary_change* is told of a canary that was begun, changed or
    aborted, before the caller is answered, and *on_canary_end* of how each ended. Runs read from *files* what callers
    have uploaded. *access* says who may call what, *quotas* how much of it, *load* whether there can be one more.
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
        peers: Peers | None = None,
        on_canary_change: Callable[[str], Awaitable[None]] | None = None,
        on_canary_end: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._registry = Registry()
        self._access = access
        self._hides: tuple[int, bool] = (-1, False)
        self._grounds = Grounds(self._registry, self.choose, load or Load(), quotas, files, on_run_end)
        self._changes = Changes(
            self._registry,
            store,
            engine,
            peers or Alone(),
            on_error or (lambda _what, _error: None),
            on_canary_change,
            on_canary_end,
        )

    @property
    def canaries(self) -> Canaries:
        """The canaries beside what is live."""
        return self._changes.canaries

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
        return self._changes.failures

    def open_runs(self) -> tuple[int, int]:
        """Runs under way, those of canaries and replaced versions too, and runs that wait for a slot."""
        return self._changes.open_runs()

    @property
    def revision(self) -> int:
        """Grows whenever something is deployed or undeployed."""
        return self._registry.revision

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
        found = self.find(name, caller)
        chosen = self._registry.choose(name, session)
        deployment = chosen.deployment
        # The canary may be for fewer callers.
        if deployment is not found and not self._access.allows(caller, "run", deployment):
            raise refusal(caller, "run", name, chosen.deployment, hides=True)
        return chosen

    def only(self, name: str, caller: Principal) -> Live | None:
        """What ``choose`` gives where there is one version to choose from; None where ``choose`` has a say."""
        live = self._registry.live.get(name)
        if live is None or live.trial is not None or self._registry.door.is_closed:
            return None
        return live if self._access.allows(caller, "run", live.deployment) else None

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
        self._registry.door.close()

    def clear(self) -> None:
        """End the runs that are still under way, with ServerStopping."""
        self._registry.door.clear()

    def watch(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call *tell* whenever something is deployed, replaced or undeployed, until what is returned is called."""
        return self._registry.watch(tell)

    def watch_door(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call *tell* when the door closes: for what stays open as long as the server serves."""
        return self._registry.door.watch(tell)

    def run(self, name: str, entry: str, call: Call, *, via: str, chosen: Live | None = None) -> Run:
        """One call: ``async with runtime.run(...) as run``. Entering raises what the caller must be told.

        It goes to the version that was *chosen*, as long as that serves; without, one is chosen for the call's session.
        """
        return Run(self._grounds, name, entry, call, via, chosen)

    async def start(self, workers: int = 4) -> None:
        """Deploy everything that the store says should be live, at most *workers* at a time.

        What fails is left out and named in ``failures``; what has not begun when the door closes is left out, too.
        """
        await self._changes.start(workers)

    async def stop(self) -> None:
        """Retire everything; returns when the teardowns have run."""
        await self._changes.stop()

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
        return await self._changes.deploy(bundle, overwrite=overwrite, save=save, check=check, cause=cause)

    async def try_out(self, bundle: Bundle, *, overwrite: bool = False, as_canary: bool = False) -> Deployment:
        """Build *bundle* as a deploy would, and close it again: nothing changes.

        Raises as ``deploy``, or with *as_canary* as ``canaries.begin``.
        """
        return await self._changes.try_out(bundle, overwrite=overwrite, as_canary=as_canary)

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
        return await self._changes.rollback(name, version, check=check, cause=cause)

    async def undeploy(self, name: str, *, cause: Cause = UNDEPLOYED) -> None:
        """Take *name* out of service; its runs end on their own. Raises DeploymentNotFound, ServerStopping."""
        await self._changes.undeploy(name, cause)

    async def versions(self, name: str) -> Sequence[Version]:
        """What *name* has been, by when it was last live, newest first. Empty when nothing is known."""
        return await self._changes.versions(name)

    async def history(self, name: str) -> Sequence[Change]:
        """The changes of *name*, newest first."""
        return await self._changes.history(name)

    async def follow(
        self, name: str, look: Callable[[], Bundle | None], commit: Callable[[Bundle | None], None] = lambda _: None
    ) -> None:
        """Make live what *look* says that *name* is by now; None takes it out of service.

        For changes that somebody else made and stored, as in an edited directory. Nothing happens when that version
        is live already. *look* and *commit*, which remembers what is live, block; they are called in a thread.

        Raises:
            BuildFailed: The old version, if any, stays live.
        """
        await self._changes.follow(name, look, commit)

    async def take_over(self, name: str, look: LookBeside, built: Deployment | None = None) -> None:
        """As ``follow``, of what all peers have agreed upon; uses what was *built*, when that is it.

        *look* is given the version that is live here, and answers "live" when that is the one.
        """
        await self._changes.take_over(name, look, built)

    async def build(self, bundle: Bundle) -> Deployment:
        """Build *bundle*, to be taken over or discarded later. Raises BuildFailed, or what the disk refuses."""
        return await self._changes.build(bundle)

    async def discard(self, built: Deployment) -> None:
        """Close what was built and is not needed."""
        await self._changes.discard(built)
