"""Which deployment each name means right now, and who still uses an older one."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from hayhooks.core.context import NO_SESSION, Session
from hayhooks.core.deployment import Deployment
from hayhooks.core.door import Door
from hayhooks.core.errors import DeploymentBusy, DeploymentNotFound
from hayhooks.core.locks import NameLocks
from hayhooks.core.trial import Trial

_ROUNDS = 5
_BURST_S = 0.25  # shorter is a burst, however many runs were done in it
_CALM_S = 1.0  # without a refusal, after which a queue that has been empty may hold a burst again


class Live:
    """A deployment in use: how many runs hold it, how many run, who waits. Event loop only."""

    __slots__ = (
        "_free_since",
        "_handed_over",
        "_on_idle",
        "_queued_since",
        "_refused_at",
        "_stands",
        "_waiting",
        "deployment",
        "is_retired",
        "leases",
        "running",
        "trial",
    )

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.leases = 0  # runs that keep this version alive
        self.running = 0  # of these, those that hold a slot
        self.is_retired = False
        self.trial: Trial | None = None  # in which this version, as the stable one or as the canary, takes part
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._handed_over = 0  # slots, since the queue was last empty
        self._queued_since = self._refused_at = self._free_since = 0.0  # seconds of the loop's clock
        self._stands = False  # the queue does not come to an end: runs come faster than they are done
        self._on_idle: Callable[[Live], None] | None = None

    @property
    def queued(self) -> int:
        """Runs that wait for a slot."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether there is a slot that nobody waits for, and no more to it than taking it."""
        limit = self.deployment.limits.max_concurrent_runs
        return (limit is None or self.running < limit) and not self._stands

    async def acquire_slot(self) -> None:
        """Wait for one of the deployment's slots, first come, first served.

        A burst may queue up to ``max_queued_runs``. A queue that never was empty while each slot has been used
        _ROUNDS times is no burst: it is cut to one run for each slot, so that who waits, waits about as long as a run
        takes. It stays so short until it has been empty and nobody was refused for a second, or until there has been
        a free slot for as long as a burst takes.

        Raises:
            DeploymentBusy: The queue is full, or has been cut.
        """
        limits = self.deployment.limits
        limit = limits.max_concurrent_runs
        if limit is None or self.running < limit:
            if self._stands and asyncio.get_running_loop().time() - self._free_since >= _BURST_S:
                self._stands = False
            self.running += 1
            return
        waiting = self._waiting
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not waiting and self._stands and now - self._refused_at >= _CALM_S:
            self._stands = False
        longest = limits.max_queued_runs
        if self._stands:
            longest = limit if longest is None else min(limit, longest)
        if longest is not None and len(waiting) >= longest:
            self._refused_at = now
            raise self._busy()
        if not waiting:
            self._handed_over = 0
            self._queued_since = now
        turn: asyncio.Future[None] = loop.create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release_slot()  # the slot was handed over while the caller was leaving
            elif turn in waiting:  # else a slot was freed meanwhile, and has gone on to the next
                waiting.remove(turn)
            raise

    def release_slot(self) -> None:
        """Give the slot to the longest waiting run, or free it."""
        waiting = self._waiting
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._handed_over += 1
                if waiting and not self._stands:
                    self._cut()
                return
        if self._stands and self.running == self.deployment.limits.max_concurrent_runs:
            self._free_since = asyncio.get_running_loop().time()
        self.running -= 1

    def _cut(self) -> None:
        """Send those away who would wait longest, once the queue has stood for long enough."""
        limit = self.deployment.limits.max_concurrent_runs
        if limit is None or self._handed_over < _ROUNDS * limit:
            return
        now = asyncio.get_running_loop().time()
        if now - self._queued_since < _BURST_S:
            return
        self._stands = True
        self._refused_at = now
        while len(self._waiting) > limit:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_exception(self._busy())

    def _busy(self) -> DeploymentBusy:
        return DeploymentBusy(self.deployment.name, self.running, len(self._waiting))

    def release(self) -> None:
        """A run no longer holds this version."""
        self.leases -= 1
        if self.is_retired and self.leases == 0 and self._on_idle is not None:
            self._on_idle(self)

    def retire(self, on_idle: Callable[["Live"], None]) -> None:
        """Call *on_idle* once the last run has ended; at once when there is none."""
        self.is_retired = True
        self._on_idle = on_idle
        if self.leases == 0:
            on_idle(self)


class Registry:
    """Maps a name to its live deployment. Reading is one dictionary look-up; changing swaps the dictionary."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._changes = NameLocks()
        self._watchers: dict[object, Callable[[], None]] = {}
        self.revision = 0  # grows with every change
        self.door = Door()

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """A snapshot: later changes do not show in it."""
        return {name: live.deployment for name, live in self._live.items()}

    @property
    def live(self) -> Mapping[str, Live]:
        """The current table, to be read only; it is replaced, never changed."""
        return self._live

    def get(self, name: str) -> Deployment:
        """The live deployment of that name.

        Raises:
            DeploymentNotFound: There is none.
        """
        try:
            return self._live[name].deployment
        except KeyError:
            raise DeploymentNotFound(name) from None

    def choose(self, name: str, session: Session = NO_SESSION) -> Live:
        """The version for one run: the live one or, as often as its share says, its canary. Event loop only.

        Raises:
            DeploymentNotFound: There is none.
            ServerStopping: No run may begin any more.
        """
        self.door.check()
        try:
            live = self._live[name]
        except KeyError:
            raise DeploymentNotFound(name) from None
        return live if live.trial is None else live.trial.choose(session)

    def lease(self, name: str, session: Session = NO_SESSION, chosen: Live | None = None) -> Live:
        """A version kept alive until ``release`` is called on it: the *chosen* one while it serves. Event loop only.

        Raises:
            DeploymentNotFound: There is none.
        """
        live = chosen if chosen is not None and not chosen.is_retired else self.choose(name, session)
        live.leases += 1
        return live

    def publish(self, new: Deployment) -> Live | None:
        """Make *new* live and return what it replaces. Event loop only."""
        old = self._live.get(new.name)
        # A new dict, so that a listing in progress keeps the snapshot it began with.
        self._live = {**self._live, new.name: Live(new)}
        self._changed()
        return old

    def begin(self, trial: Trial) -> Trial | None:
        """Let the canary of *trial* have its share, and return the trial whose place it takes. Event loop only."""
        before = trial.stable.trial
        if before is not None:
            before.end()
        trial.stable.trial = trial.live.trial = trial
        return before

    def promote(self, trial: Trial) -> Live:
        """Make the canary of *trial* live, with the runs it has, and return what it replaces. Event loop only."""
        trial.end()
        self._live = {**self._live, trial.canary.name: trial.live}
        self._changed()
        return trial.stable

    def withdraw(self, name: str) -> Live | None:
        """Take the name out of service and return what it meant. Event loop only."""
        old = self._live.get(name)
        if old is not None:
            self._live = {key: live for key, live in self._live.items() if key != name}
            self._changed()
        return old

    def watch(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call *tell* after each change, on the event loop, until what is returned is called."""
        token = object()
        self._watchers[token] = tell
        return lambda: self._watchers.pop(token, None) and None

    def changing(self, name: str) -> AbstractAsyncContextManager[None]:
        """One change per name at a time; changes to different names do not wait for each other."""
        return self._changes.holding(name)

    def _changed(self) -> None:
        self.revision += 1
        for tell in list(self._watchers.values()):
            tell()
