"""A change of one name in all workers: each builds it first, then the record moves, then each serves it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, ParamSpec, TypeVar

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.errors import HayhooksError, Kind
from hayhooks.core.locks import NameLocks
from hayhooks.core.peers import Turn
from hayhooks.store.disk import StoreFailed
from hayhooks.store.shared import Missing, Shared
from hayhooks.store.shared_store import SharedStore
from hayhooks.telemetry import log_error

P = ParamSpec("P")
T = TypeVar("T")

_POLL_S = 0.01
_TOUCH_S = 1.0
_END_AGAIN_S = 1.0


class NotEverywhere(HayhooksError):
    """Some workers cannot build the new version; nothing has changed in any of them."""

    def __init__(self, name: str, missing: Missing) -> None:
        reasons = "; ".join(f"worker {pid}: {reason}" for pid, reason in missing.failed.items())
        super().__init__(f"{name!r} could be built here, but not in all workers, so nothing was changed: {reasons}")


class WorkersSilent(HayhooksError):
    """Some workers did not answer in time."""

    kind: ClassVar[Kind] = "timeout"


class ChangedElsewhere(HayhooksError):
    """Another worker changes the same name, and takes long."""

    kind: ClassVar[Kind] = "conflict"


class WorkerTurns:
    """The turns of one worker among others.

    *catch_up* makes this worker serve what a name has become, before it is changed. No step takes longer than
    *timeout_s*, not counting what this worker itself builds.
    """

    def __init__(
        self, store: SharedStore, shared: Shared, catch_up: Callable[[str], Awaitable[None]], timeout_s: float
    ) -> None:
        self._store = store
        self._shared = shared
        self._catch_up = catch_up
        self._timeout_s = timeout_s
        self._locks = NameLocks()
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Turn]:
        """Change *name* inside the block, when nobody else does.

        Raises:
            ChangedElsewhere: Somebody else does, and does not come to an end.
            StoreFailed: The database does not work.
        """
        async with self._locks.holding(name):
            serial = await self._begin(name)
            try:
                try:
                    await self._catch_up(name)
                except OSError as error:
                    raise _refused(name, error) from error
                yield _WorkerTurn(name, serial, self._store, self._shared, self._timeout_s)
            finally:
                await self._end(serial)

    async def _begin(self, name: str) -> int:
        deadline = _now() + self._timeout_s
        while (serial := await _stored(name, self._shared.begin, name)) is None:
            if _now() > deadline:
                holder = await _stored(name, self._shared.holder, name)
                raise ChangedElsewhere(f"Worker {holder} is changing {name!r} right now. Try again later.")
            await asyncio.sleep(_POLL_S)
        return serial

    async def _end(self, serial: int) -> None:
        try:
            await in_thread(self._shared.end, serial)
        except OSError as error:
            log_error("The end of a change cannot be written; trying again", error)
            task = asyncio.ensure_future(self._end_later(serial))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end_later(self, serial: int) -> None:
        while True:
            await asyncio.sleep(_END_AGAIN_S)
            try:
                await in_thread(self._shared.end, serial)
            except OSError:
                continue
            return


class _WorkerTurn:
    def __init__(self, name: str, serial: int, store: SharedStore, shared: Shared, timeout_s: float) -> None:
        self._name = name
        self._serial = serial
        self._store = store
        self._shared = shared
        self._timeout_s = timeout_s
        self._touch_s = 0.0

    async def agree(self, bundle: Bundle | None) -> None:
        version = bundle.version if bundle is not None else None
        await self._agree(version, is_shown=bundle is not None and self._store.is_shown(bundle))

    async def agree_kept(self, version: str) -> None:
        await self._agree(version, is_shown=False)

    async def _agree(self, version: str | None, *, is_shown: bool) -> None:
        await self._stored(self._shared.propose, self._serial, version, is_shown=is_shown)
        deadline, self._touch_s = _now() + self._timeout_s, _now() + _TOUCH_S
        while True:
            missing = await self._stored(self._shared.missing, self._serial, "built")
            if missing.failed:
                raise NotEverywhere(self._name, missing)
            if not missing and await self._stored(self._shared.agree, self._serial):
                return
            if _now() > deadline:
                raise WorkersSilent(
                    f"{self._name!r} was not changed: {_workers(missing)} did not answer within {self._timeout_s:g} s."
                )
            await self._pause()

    async def settle(self) -> None:
        try:
            await self._wait_until_live()
        except StoreFailed as error:
            raise StoreFailed(
                f"{self._name!r} is changed, but it cannot be told whether everywhere: {error}"
            ) from error

    async def is_current(self, bundle: Bundle) -> bool:
        target = (await _stored(self._name, self._store.targets)).get(self._name)
        return target is None or target.version == bundle.version

    async def _wait_until_live(self) -> None:
        await self._stored(self._shared.made, self._serial)
        deadline, self._touch_s = _now() + self._timeout_s, _now() + _TOUCH_S
        while missing := await self._stored(self._shared.missing, self._serial, "live"):
            if not missing.silent or _now() > deadline:
                reasons = "".join(f" Worker {pid}: {reason}" for pid, reason in missing.failed.items())
                raise WorkersSilent(
                    f"{self._name!r} is changed, but {_workers(missing)} did not follow within {self._timeout_s:g} s,"
                    f" and will as soon as possible.{reasons}"
                )
            await self._pause()

    async def _pause(self) -> None:
        """Wait a little. Raises StoreFailed when nobody can answer, as the disk is full."""
        await asyncio.sleep(_POLL_S)
        if _now() >= self._touch_s:
            self._touch_s = _now() + _TOUCH_S
            await self._stored(self._shared.touch, self._serial)

    async def _stored(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _stored(self._name, work, *args, **kwargs)


async def _stored(name: str, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await in_thread(work, *args, **kwargs)
    except OSError as error:
        raise _refused(name, error) from error


def _refused(name: str, error: OSError) -> StoreFailed:
    return StoreFailed(f"Deployment {name!r} cannot be changed: {error}")


def _workers(missing: Missing) -> str:
    pids = [*missing.silent, *missing.failed]
    return f"worker{'s' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"


def _now() -> float:
    return asyncio.get_running_loop().time()
