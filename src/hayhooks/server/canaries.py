"""Canaries of several workers: each runs what the store says, and a change of one waits until all do."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from hayhooks.core.aio import in_thread
from hayhooks.core.canary import Canary, Outcome
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import FoundCanary
from hayhooks.store.processes import is_gone_worker
from hayhooks.store.shared_store import SharedStore
from hayhooks.store.sqlite import Database, open_database
from hayhooks.store.state import state_failed
from hayhooks.telemetry import log, log_error

_WAIT_POLL_S = 0.01
_WAIT_S = 60.0  # as for deploys: a worker that has not built a version by then is not waited for

_BUILDING = "building"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS canaries_applied (
    pid INTEGER NOT NULL, name TEXT NOT NULL, state TEXT, PRIMARY KEY (pid, name)
) STRICT;
"""
# No row means that this worker never had a canary of that name: enough when there is none to have.
_LAGGARDS = """
SELECT w.pid FROM peers w LEFT JOIN canaries_applied a ON a.pid = w.pid AND a.name = ?1 WHERE a.state IS NOT ?2
"""


class Applied:
    """Which canary each worker runs, or is building, in the state database. Thread-safe."""

    def __init__(self, state_dir: Path) -> None:
        opening = partial(open_database, state_dir / "state.db", _SCHEMA, is_durable=False)
        self._database = Database(opening, state_failed)
        self._database.rows("DELETE FROM canaries_applied WHERE pid = ?", (os.getpid(),))

    def set(self, name: str, state: str | None) -> None:
        """Say which canary of *name* this process runs."""
        self._database.rows("INSERT OR REPLACE INTO canaries_applied VALUES (?, ?, ?)", (os.getpid(), name, state))

    def laggards(self, name: str, state: str | None) -> list[int]:
        """Other workers that live and do not run that one."""
        return [pid for (pid,) in self._database.rows(_LAGGARDS, (name, state)) if not is_gone_worker(pid)]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class CanaryReconciler:
    """Keeps the canaries of one worker on the store's. It looks when somebody has written to the state database."""

    def __init__(self, store: SharedStore, state_dir: Path) -> None:
        self._store = store
        self._applied = Applied(state_dir)
        self._told: dict[str, str | None] = {}  # what it says of this process
        self._counter = -1
        self._wanted: dict[str, FoundCanary] = {}
        self._failed: set[tuple[str, float]] = set()  # by name and start: what could not be built is not tried again
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runtime: Runtime | None = None

    @asynccontextmanager
    async def following(self, runtime: Runtime) -> AsyncIterator[None]:
        """Follow the store inside the block."""
        self._runtime = runtime
        following = asyncio.ensure_future(self._follow(runtime))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, *self._tasks.values(), return_exceptions=True)
            self._applied.close()

    async def settle(self, name: str) -> None:
        """Wait until every worker runs the canary of *name* that this one runs, or none, or a later one."""
        if self._runtime is None:  # others wait for nobody who is starting, nor the other way round
            return
        state = self._state(self._runtime, name)
        await self._tell(name, state)
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while laggards := await in_thread(self._applied.laggards, name, state):
            found = (await in_thread(self._store.running_canaries)).get(name)
            if _word(found.canary if found is not None else None) != state:
                return  # somebody has changed it again, and waits for that
            if asyncio.get_running_loop().time() > deadline:
                log.warning("Workers {} do not follow the canary of {} yet", laggards, name)
                return
            await asyncio.sleep(_WAIT_POLL_S)

    async def _follow(self, runtime: Runtime) -> None:
        told = ""
        while True:
            try:
                counter = self._store.counter()
                if counter != self._counter:
                    self._wanted = await in_thread(self._store.running_canaries)
                    self._counter = counter
                    told = ""
                on_trial = (name for name, live in runtime.live.items() if live.trial is not None)
                for name in {*self._wanted, *self._told, *on_trial}:
                    if name in runtime.live:
                        await self._look_at(runtime, name)
            except Exception as error:  # a boundary: the next look may succeed
                if str(error) != told:
                    told = str(error)
                    log_error("The canaries of other processes cannot be read", error)
            await asyncio.sleep(self._store.poll_s)

    async def _look_at(self, runtime: Runtime, name: str) -> None:
        """Begin to change what is not as it should be; else say how it is.

        What is wanted is compared with what is, not with what was wanted before: a live version that is replaced here
        later than in another worker takes its canary with it, and the next look brings it back.
        """
        if name in self._tasks:
            return
        trial, wanted = runtime.canaries.find(name), self._wanted.get(name)
        is_given_up = wanted is not None and (name, wanted.canary.started_s) in self._failed
        if wanted is None or is_given_up:
            has_to_change = trial is not None
        else:
            has_to_change = trial is None or trial.canary != wanted.canary
        if has_to_change:
            task = self._tasks[name] = asyncio.ensure_future(self._apply(runtime, name))
            task.add_done_callback(lambda _: self._tasks.pop(name, None))
        else:
            await self._tell(name, self._state(runtime, name))

    async def _apply(self, runtime: Runtime, name: str) -> None:
        seen: FoundCanary | None = None

        def look() -> FoundCanary | None:
            nonlocal seen
            seen = self._store.running_canaries().get(name)  # read again: this may have waited for a later change
            return seen

        trial = runtime.canaries.find(name)
        try:
            target = (await in_thread(self._store.targets)).get(name)
            if trial is not None and target is not None and target.version == trial.canary.version:
                return  # promoted: whoever follows deploys makes it live as it is
            if trial is None:
                await self._tell(name, _BUILDING)
            await runtime.canaries.follow(name, look)
        except Exception as error:  # a boundary: this worker goes on with what it has
            if seen is None:
                log_error(f"The canary of {name!r} could not be taken over from another worker", error)
            else:
                self._failed.add((name, seen.canary.started_s))
                await runtime.canaries.fail(seen.canary, error)

    def _state(self, runtime: Runtime, name: str) -> str | None:
        trial = runtime.canaries.find(name)
        return _word(trial.canary if trial is not None else None)

    async def _tell(self, name: str, state: str | None) -> None:
        if self._told.get(name) != state:
            await in_thread(self._applied.set, name, state)
            self._told[name] = state


def log_outcome(outcome: Outcome) -> None:
    """Log how a canary ended; loudly when the server gave it up by itself."""
    canary = outcome.canary
    level = "ERROR" if outcome.is_automatic else "INFO"
    words = "aborted by the server" if outcome.is_automatic else outcome.state
    log.log(level, "Canary {} of {} was {}: {}", canary.version[:12], canary.name, words, outcome.reason)


def _word(canary: Canary | None) -> str | None:
    return None if canary is None else repr((canary.version, canary.started_s, canary.plan))
