"""Which deployment each name means right now, and who still uses an older one."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentBusy, DeploymentNotFound
from hayhooks.core.locks import NameLocks


class Live:
    """A deployment in use: how many runs hold it, how many run, who waits. Event loop only."""

    __slots__ = ("_on_idle", "_waiting", "deployment", "is_retired", "leases", "running")

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.leases = 0  # runs that keep this version alive
        self.running = 0  # of these, those that hold a slot
        self.is_retired = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._on_idle: Callable[[Live], None] | None = None

    @property
    def queued(self) -> int:
        """Runs that wait for a slot."""
        return len(self._waiting)

    async def acquire_slot(self) -> None:
        """Wait for one of the deployment's slots, first come, first served.

        Raises:
            DeploymentBusy: The queue is full.
        """
        limits = self.deployment.limits
        limit = limits.max_concurrent_runs
        if limit is None or self.running < limit:
            self.running += 1
            return
        if limits.max_queued_runs is not None and len(self._waiting) >= limits.max_queued_runs:
            raise DeploymentBusy(self.deployment.name, self.running, len(self._waiting))
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release_slot()  # the slot was handed over while the caller was leaving
            elif turn in self._waiting:  # else a slot was freed meanwhile, and has gone on to the next
                self._waiting.remove(turn)
            raise

    def release_slot(self) -> None:
        """Give the slot to the longest waiting run, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

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
        self.revision = 0  # grows with every change

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

    def lease(self, name: str) -> Live:
        """The live deployment, kept alive until ``release`` is called on what is returned. Event loop only.

        Raises:
            DeploymentNotFound: There is none.
        """
        try:
            live = self._live[name]
        except KeyError:
            raise DeploymentNotFound(name) from None
        live.leases += 1
        return live

    def publish(self, new: Deployment) -> Live | None:
        """Make *new* live and return what it replaces. Event loop only."""
        old = self._live.get(new.name)
        # A new dict, so that a listing in progress keeps the snapshot it began with.
        self._live = {**self._live, new.name: Live(new)}
        self.revision += 1
        return old

    def withdraw(self, name: str) -> Live | None:
        """Take the name out of service and return what it meant. Event loop only."""
        old = self._live.get(name)
        if old is not None:
            self._live = {key: live for key, live in self._live.items() if key != name}
            self.revision += 1
        return old

    def changing(self, name: str) -> AbstractAsyncContextManager[None]:
        """One change per name at a time; changes to different names do not wait for each other."""
        return self._changes.holding(name)
