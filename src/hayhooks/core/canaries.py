"""Beginning, changing, promoting and aborting canaries."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, CanaryNotFound, CanaryRefused, Counts, Outcome, Plan, State
from hayhooks.core.deployment import Deployment, Engine
from hayhooks.core.errors import BuildFailed, DeploymentNotFound, HayhooksError
from hayhooks.core.peers import Peers
from hayhooks.core.registry import Live, Registry
from hayhooks.core.store import FoundCanary, Store
from hayhooks.core.trial import Trial

T = TypeVar("T")
COUNT_S = 0.25  # at most so long after a run its count is in the store


class Changing(Protocol):
    """How the runtime makes a change."""

    async def build(
        self, bundle: Bundle, commit: Callable[[Bundle], None], check: Callable[[Deployment], None] | None = None
    ) -> Deployment:
        """Build *bundle* and *commit* it in a thread; when either fails, nothing is left of it."""

    async def remember(self, name: str) -> None:
        """Tell the store that what was found of *name* is live, before it is changed. While it is being changed."""

    def retire(self, old: Live | None) -> None:
        """Close that version when its last run has ended."""

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do *work*, and be done with it before the runtime stops."""


class Canaries:
    """The canaries of a runtime. Event loop only.

    Changes are carried to their end even when the caller leaves. A canary is promoted by all *peers* or by none;
    *on_change* is told of every other change, before the caller is answered, *on_end* of each canary that ended here.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        engine: Engine,
        changing: Changing,
        peers: Peers,
        *,
        on_error: Callable[[str, BaseException], None],
        on_change: Callable[[str], Awaitable[None]] | None = None,
        on_end: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._engine = engine
        self._changing = changing
        self._on_error = on_error
        self._peers = peers
        self._on_change = on_change
        self._on_end = on_end or (lambda _outcome: None)
        self._who = f"{os.getpid()}-{os.urandom(4).hex()}"  # a process id alone may have been another's
        self._counting: set[Trial] = set()
        self._is_stopping = asyncio.Event()

    def find(self, name: str) -> Trial | None:
        """The trial of *name*, if it has a canary."""
        live = self._registry.live.get(name)
        return live.trial if live is not None else None

    async def look(self, name: str) -> tuple[Trial | None, Outcome | None]:
        """The trial of *name* with what all processes have counted by now, and how the canary before it ended.

        Raises:
            DeploymentNotFound: Nothing of that name is live.
        """
        trial = self._registry.choose(name).trial and self.find(name)
        if trial is not None:
            await self._count(trial)
        return trial, await in_thread(self._store.outcome, name)

    async def begin(self, bundle: Bundle, plan: Plan) -> Deployment:
        """Build *bundle* and give it its share of the runs of its name; a canary that it has already is replaced.

        Raises:
            CanaryRefused: Nothing is live beside which it could run, or it is that version itself.
            BuildFailed: The files do not make a deployment, here or in another worker; or it lacks a hook of the live
                version, so that its share of these calls would fail.
        """
        canary, new = await self._whole(self._begin(bundle, plan))
        if self._on_change is not None:
            await self._on_change(bundle.name)
            outcome = await in_thread(self._store.outcome, bundle.name)
            if outcome is not None and outcome.is_automatic and outcome.canary.is_same(canary):
                raise BuildFailed(f"The canary was aborted. {outcome.reason}")
        return new

    def beside(self, bundle: Bundle) -> Live:
        """What is live beside a canary of *bundle*. Raises CanaryRefused, as ``begin``."""
        stable = self._registry.live.get(bundle.name)
        if stable is None:
            raise CanaryRefused(
                f"A canary needs a live version beside it, and no deployment named {bundle.name!r} is live. Deploy it "
                "without a canary first."
            )
        if stable.deployment.version == bundle.version:
            raise CanaryRefused(f"These files of {bundle.name!r} are live already, so there is nothing to try.")
        return stable

    async def change(self, name: str, change: Callable[[Plan], Plan]) -> Canary:
        """Go on with another plan. Raises CanaryNotFound."""
        return await self._told(name, self._change(name, change))

    async def abort(self, name: str, *, by: str = "") -> Outcome:
        """Give the canary no more runs; those under way end on it. Raises CanaryNotFound."""
        reason = f"Aborted by {by}." if by else "Aborted."
        return await self._told(name, self._abort(name, None, reason, by))

    async def promote(self, name: str, *, by: str = "", by_id: str = "") -> Outcome:
        """Make the canary the live version; runs under way end on the version they began with.

        Raises:
            CanaryNotFound: There is none.
            CanaryRefused: It is failing, and about to be aborted.
        """
        return await self._whole(self._promote(name, by, by_id))

    async def follow(self, name: str, look: Callable[[], FoundCanary | None]) -> None:
        """Run beside the live version of *name* what *look* says, for changes that another process made and stored.

        Raises:
            BuildFailed: It cannot be built here.
        """
        await self._whole(self._follow(name, look))

    async def adopt(self, found: FoundCanary, stable: Live) -> None:
        """Run a canary that the store has found, beside *stable*; one that cannot be built is aborted. Never fails."""
        try:
            new = await in_thread(self._engine.build, found.bundle)
            await self._open(found.canary, stable, new)
        except Exception as error:
            await self.fail(found.canary, error)
            await in_thread(self._store.release, found.bundle.name, found.bundle.version)

    async def fail(self, canary: Canary, error: BaseException) -> None:
        """Abort a canary that cannot be built in this process. Never fails."""
        self._on_error(f"The canary of {canary.name!r} could not be built", error)
        reason = "It could not be built when a server process started; the log says why."
        outcome = Outcome(canary, "aborted", reason, Counts(), time.time(), is_automatic=True)
        if await self._end(outcome):
            self._on_end(outcome)

    async def replaced(self, old: Live | None, reason: str) -> None:
        """The live version *old* is gone, and its canary with it. Never fails."""
        trial = old.trial if old is not None else None
        if trial is None:
            return
        trial.end()
        outcome = self._outcome(trial, "replaced", reason)
        await self._end(outcome)
        self._on_end(outcome)

    def stop(self) -> None:
        """Store what was counted, as soon as possible."""
        self._is_stopping.set()

    async def _begin(self, bundle: Bundle, plan: Plan) -> tuple[Canary, Deployment]:
        name = bundle.name
        async with self._registry.changing(name):
            stable = self.beside(bundle)
            await self._changing.remember(name)
            canary = Canary(name, bundle.version, stable.deployment.version, plan, time.time())
            new = await self._changing.build(
                bundle, lambda _: self._store.set_canary(canary), lambda new: check_hooks(stable.deployment, new)
            )
            await self._open(canary, stable, new)
        return canary, new

    async def _change(self, name: str, change: Callable[[Plan], Plan]) -> Canary:
        async with self._registry.changing(name):
            trial = self._get(name)
            canary = replace(trial.canary, plan=change(trial.canary.plan))
            if not await in_thread(self._store.change_canary, canary):
                raise CanaryNotFound(name)  # another process has just ended it
            trial.change(canary)
            self._noted(trial)
        return canary

    async def _abort(self, name: str, asked: Trial | None, reason: str, by: str = "") -> Outcome:
        async with self._registry.changing(name):
            trial = self._get(name)
            if asked is not None and trial is not asked:
                raise CanaryNotFound(name)
            outcome = self._outcome(trial, "aborted", reason, by, is_automatic=asked is not None)
            is_mine = await in_thread(self._store.end_canary, outcome)
            self._withdraw(trial)
        if is_mine:
            self._on_end(outcome)
        return outcome

    async def _promote(self, name: str, by: str, by_id: str) -> Outcome:
        async with self._peers.turn(name) as turn:
            async with self._registry.changing(name):
                trial = self._get(name)
                if not trial.is_open:
                    raise CanaryRefused(f"The canary of {name!r} is being aborted: {trial.why_to_abort()}")
                await self._changing.remember(name)
                await turn.agree_kept(trial.canary.version)
                outcome = self._outcome(trial, "promoted", f"Promoted by {by}." if by else "Promoted.", by, by_id=by_id)
                await in_thread(self._store.promote, outcome)
                self._changing.retire(self._registry.promote(trial))
            self._on_end(outcome)
            await turn.settle()
        return outcome

    async def _follow(self, name: str, look: Callable[[], FoundCanary | None]) -> None:
        async with self._registry.changing(name):
            found = await in_thread(look)
            stable = self._registry.live.get(name)
            trial = self.find(name)
            if found is None or stable is None:
                if trial is not None:
                    self._withdraw(trial)
            elif trial is not None and trial.canary.is_same(found.canary):
                trial.change(found.canary)
            else:
                new = await self._changing.build(found.bundle, lambda _: None)
                await self._open(found.canary, stable, new)

    async def _open(self, canary: Canary, stable: Live, new: Deployment) -> None:
        trial = Trial(canary, stable, Live(new), self._noted)
        try:
            trial.others = await in_thread(self._store.count_canary, canary, self._who, Counts())
        except Exception as error:
            self._on_error(f"What was counted of the canary of {canary.name!r} cannot be read", error)
        before = self._registry.begin(trial)
        if before is not None:
            self._changing.retire(before.live)
            self._on_end(self._outcome(before, "replaced", "Another canary has begun."))
        self._judge(trial)

    def _get(self, name: str) -> Trial:
        self._registry.get(name)
        trial = self.find(name)
        if trial is None:
            raise CanaryNotFound(name)
        return trial

    def _withdraw(self, trial: Trial) -> None:
        trial.end()
        self._changing.retire(trial.live)

    def _noted(self, trial: Trial) -> None:
        """A run was counted: judge at once, tell the others soon."""
        self._judge(trial)
        if trial not in self._counting:
            self._counting.add(trial)
            self._changing.spawn(self._count_soon(trial))

    def _judge(self, trial: Trial) -> None:
        reason = trial.why_to_abort() if trial.is_open else None
        if reason is not None:
            trial.is_open = False  # from now on, not when it is in the store: it gets no more runs
            self._changing.spawn(self._give_up(trial, reason))

    async def _give_up(self, trial: Trial, reason: str) -> None:
        name = trial.canary.name
        try:
            await self._abort(name, trial, reason)
        except (CanaryNotFound, DeploymentNotFound):  # somebody was quicker
            return
        except HayhooksError as error:
            self._on_error(f"The canary of {name!r} gets no more runs, but that cannot be stored. {reason}", error)

    async def _count_soon(self, trial: Trial) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_stopping.wait(), COUNT_S)
        self._counting.discard(trial)
        await self._count(trial)

    async def _count(self, trial: Trial) -> None:
        try:
            trial.others = await in_thread(self._store.count_canary, trial.canary, self._who, trial.own)
        except Exception as error:
            self._on_error(f"What the canary of {trial.canary.name!r} did cannot be stored", error)
        self._judge(trial)

    def _outcome(
        self, trial: Trial, state: State, reason: str, by: str = "", *, by_id: str = "", is_automatic: bool = False
    ) -> Outcome:
        return Outcome(trial.canary, state, reason, trial.counts, time.time(), by, is_automatic, by_id)

    async def _end(self, outcome: Outcome) -> bool:
        try:
            return await in_thread(self._store.end_canary, outcome)
        except HayhooksError as error:
            self._on_error(f"The end of the canary of {outcome.canary.name!r} cannot be stored", error)
            return False

    async def _told(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        done = await self._whole(work)
        if self._on_change is not None:
            await self._on_change(name)
        return done

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._changing.spawn(work))


def check_hooks(stable: Deployment, new: Deployment) -> None:
    """Raise BuildFailed when *new*, a canary, lacks a hook of the live version *stable*."""
    missing = sorted(set(stable.entries) - set(new.entries))
    if missing:
        raise BuildFailed(
            f"The live version of {stable.name!r} has {', '.join(missing)} and these files do not: the canary's share "
            "of such calls would fail. Deploy it without a canary."
        )
