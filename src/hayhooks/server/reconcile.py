"""One process among several: it builds what another proposes, and serves what the records say.

Nothing is sent from one to another. A counter of SQLite's says that somebody has written, and reading it costs
microseconds (https://www.sqlite.org/pragma.html#pragma_data_version).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import HayhooksError
from hayhooks.core.peers import Peers
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import Cause
from hayhooks.store.shared import Change, Phase, Shared, State
from hayhooks.store.shared_store import SharedStore, Target
from hayhooks.telemetry import log, log_error

_BUSY_POLL_S = 0.01  # while another worker changes something, and waits for this one
_JOIN_S = 60.0
_ANSWER_AGAIN_S = 1.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_UNKNOWN = "It failed; the server's log says why."


@dataclass(frozen=True, slots=True, eq=False)
class _Built:
    """What somebody has proposed, ready to be served here."""

    change: Change
    bundle: Bundle
    deployment: Deployment


class Reconciler:
    """Keeps one worker's registry on what all have agreed upon."""

    def __init__(self, store: SharedStore, shared: Shared) -> None:
        self._store = store
        self._shared = shared
        self._counter = -1
        self._known: dict[str, Target] = {}
        self._runtime: Runtime | None = None
        self._looking = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loose: set[asyncio.Task[None]] = set()  # may end at any moment
        self._applying: dict[str, asyncio.Task[None]] = {}
        self._open: dict[int, Change] = {}
        self._answering: set[tuple[int, Phase]] = set()
        self._built: dict[int, _Built] = {}
        self._behind: dict[str, str] = {}  # what could not be taken over, and why

    @asynccontextmanager
    async def following(self, runtime: Runtime, peers: Peers) -> AsyncIterator[None]:
        """Follow inside the block, after the store has found what to serve; changes by others wait for this process.

        It begins with what has changed while this process started.
        """
        self._runtime = runtime
        self._known = self._store.found
        await self._look()
        await self._settled()
        await self._join()
        following = asyncio.ensure_future(self._follow())
        try:
            await self._look()
            await self._settled()
            await self._spread(runtime)
            self._let_go(self._finish(peers))
            yield
        finally:
            await self._leave(following)

    async def catch_up(self, name: str) -> None:
        """Serve what *name* has become by now, before this worker changes it."""
        await self._look()
        if name in self._applying:
            await asyncio.wait([self._applying[name]])

    async def _leave(self, following: "asyncio.Task[None]") -> None:
        for task in (following, *self._loose):
            task.cancel()
        try:
            await in_thread(self._shared.leave)
        except OSError as error:  # nobody waits for a process that has ended
            log_error("The other workers cannot be told that this one stops", error)
        self._open = {}  # what could not be answered yet never will be
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for built in self._built.values():
            await self._discard(built)

    async def _join(self) -> None:
        deadline = _now() + _JOIN_S
        while not await in_thread(self._shared.join):
            if _now() > deadline:  # whoever makes that change hangs
                log.warning("A change is not coming to its end; starting nevertheless")
                return
            await asyncio.sleep(_BUSY_POLL_S)

    async def _spread(self, runtime: Runtime) -> None:
        """What was edited while the others were running is served by this worker: by all or none."""
        for name, target in (await in_thread(self._store.targets)).items():
            live = runtime.deployments.get(name)
            if not target.is_shown or live is None or live.version == target.version:
                continue
            try:
                await runtime.follow(
                    name,
                    lambda name=name: self._store.look(name),  # type: ignore[misc]
                    lambda bundle, name=name: self._store.take_shown(name, bundle, Cause("reload")),  # type: ignore[misc]
                )
                log.info("{} was edited since the other workers started: all serve it as it is now", name)
            except Exception as error:  # a boundary: the rest is right
                log_error(f"{name!r} was edited since the other workers started, and they cannot serve it", error)

    async def _finish(self, peers: Peers) -> None:
        """Show in the pipelines directory what another process was killed before it could."""
        try:
            for name in await in_thread(self._store.unfinished):
                async with peers.turn(name):
                    await in_thread(self._store.finish, name)
        except Exception as error:  # a boundary: it is served all the same
            log_error("The pipelines directory does not show all that is served", error)

    async def _follow(self) -> None:
        told = ""
        while True:
            is_awaited = any(change.pid != os.getpid() for change in self._open.values())
            await asyncio.sleep(_BUSY_POLL_S if is_awaited else self._store.poll_s)
            try:
                if self._shared.is_beside_dead:
                    await in_thread(self._shared.bury_dead)
                counter = self._shared.counter()
                if counter != self._counter:
                    self._counter = counter
                    await self._look()
                    told = ""
            except Exception as error:  # a boundary: the next look may succeed
                self._counter = -1
                if str(error) != told:  # once, not many times a second
                    told = str(error)
                    log_error("What other processes have changed cannot be read", error)

    async def _look(self) -> None:
        async with self._looking:
            # In this order: when a change has been made, or is over, its target is what is read then.
            changes = await in_thread(self._shared.changes)
            targets = await in_thread(self._store.targets)
            self._open = {change.serial: change for change in changes}
            known, self._known = self._known, targets
            for name in sorted({*known, *targets}):
                if known.get(name) != targets.get(name):
                    self._apply_soon(name, targets.get(name))
            for change in changes:
                self._answer_soon(change)
            self._answering = {key for key in self._answering if key[0] in self._open}
            for serial in [serial for serial in self._built if serial not in self._open]:
                self._spawn(self._discard(self._built.pop(serial)))

    def _apply_soon(self, name: str, target: Target | None) -> None:
        """Each name in a task of its own: one that takes long to build does not delay another."""
        self._behind.pop(name, None)
        built = next((built for built in self._built.values() if _is_of(built, name, target)), None)
        if built is not None:
            del self._built[built.change.serial]
        before = self._applying.get(name)
        task = self._spawn(self._apply(name, built, before))
        self._applying[name] = task
        task.add_done_callback(lambda done: self._applied(name, done))

    def _applied(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._applying.get(name) is task:
            del self._applying[name]

    async def _apply(self, name: str, built: _Built | None, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        if not await self._is_taken_over(name, built):
            self._let_go(self._retry(name, self._known.get(name)))

    async def _is_taken_over(self, name: str, built: _Built | None = None) -> bool:
        assert self._runtime is not None

        def look(live: str | None) -> Bundle | Literal["live"] | None:
            target = self._store.targets().get(name)  # read again: this may have waited for a later change
            if target is not None and live is not None and target.version == live:
                return "live"  # as after every change of this process's own
            if built is not None and _is_of(built, name, target):
                return built.bundle
            # No target: its record was dropped with its files, or what lies there is to be served as it is.
            return self._store.look(name) if target is None else self._store.bundle_of(name, target)

        try:
            await self._runtime.take_over(name, look, built.deployment if built is not None else None)
        except Exception as error:  # a boundary: this worker goes on with what it has
            log_error(f"Deployment {name!r} could not be taken over; trying again", error)
            self._behind[name] = _reason(error)
            return False
        self._behind.pop(name, None)
        return True

    async def _retry(self, name: str, target: Target | None) -> None:
        delay_s = _FIRST_RETRY_S
        while True:
            await asyncio.sleep(delay_s)
            if name not in self._behind or self._known.get(name) != target or await self._is_taken_over(name):
                return
            delay_s = min(2 * delay_s, _LAST_RETRY_S)

    def _answer_soon(self, change: Change) -> None:
        key = (change.serial, change.phase)
        if change.pid == os.getpid() or key in self._answering:
            return
        self._answering.add(key)
        if change.phase == "proposed":
            self._spawn(self._prepare(change))
        elif change.phase == "made":
            self._spawn(self._confirm(change))

    async def _prepare(self, change: Change) -> None:
        """Build what is proposed, so that serving it takes no time and cannot fail."""
        reason = None
        try:
            await self._build(change)
        except Exception as error:  # a boundary: whoever proposed it is told
            log_error(f"The new version of {change.name!r} could not be built in this worker", error)
            reason = _reason(error)
        await self._answer(change, "built", reason)

    async def _build(self, change: Change) -> None:
        assert self._runtime is not None
        live = self._runtime.deployments.get(change.name)
        trial = self._runtime.canaries.find(change.name)
        there = (live, trial.live.deployment if trial is not None else None)  # a canary is built and warm
        if change.version is None or any(found is not None and found.version == change.version for found in there):
            return
        bundle = await in_thread(self._store.bundle_of, change.name, Target(change.version, change.is_shown))
        assert bundle is not None
        built = _Built(change, bundle, await self._runtime.build(bundle))
        if change.serial in self._open:
            self._built[change.serial] = built
        else:
            await self._discard(built)

    async def _confirm(self, change: Change) -> None:
        """Tell that what was made is served here."""
        while change.name in self._applying:
            await asyncio.wait([self._applying[change.name]])
        await self._answer(change, "live", self._behind.get(change.name))

    async def _answer(self, change: Change, state: State, reason: str | None) -> None:
        while change.serial in self._open:
            try:
                await in_thread(self._shared.answer, change.serial, state, reason)
            except OSError as error:  # the disk is full: whoever waits may wait until it is not
                log_error("Another worker cannot be answered; trying again", error)
                await asyncio.sleep(_ANSWER_AGAIN_S)
            else:
                return

    async def _discard(self, built: _Built) -> None:
        assert self._runtime is not None
        await self._runtime.discard(built.deployment)

    async def _settled(self) -> None:
        if self._applying:
            await asyncio.wait(list(self._applying.values()))

    def _let_go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_of(built: _Built, name: str, target: Target | None) -> bool:
    change = built.change
    return change.name == name and target is not None and target == Target(change.version, change.is_shown)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, HayhooksError) else _UNKNOWN


def _now() -> float:
    return asyncio.get_running_loop().time()
