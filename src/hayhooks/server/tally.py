"""What each worker of a server is doing, in memory that all of them see."""

import asyncio
import ctypes
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from hayhooks.core.errors import RunFailed
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime

REFRESH_S = 0.25


class _Slot(ctypes.Structure):
    # Each is written by one worker, in one step, so readers need no lock.
    _fields_ = (
        ("pid", ctypes.c_int64),  # 0: nobody
        ("started_s", ctypes.c_int64),
        ("is_ready", ctypes.c_int64),
        ("running", ctypes.c_int64),
        ("queued", ctypes.c_int64),
        ("runs", ctypes.c_int64),
        ("failed", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker: Unix time of its start, runs under way and waiting, and those that have ended since."""

    pid: int
    started_s: int
    is_ready: bool
    running: int
    queued: int
    runs: int
    failed: int


class Tallies:
    """Numbers of *count* workers, and of those that have died. Handed to each worker when it is started."""

    def __init__(self, count: int) -> None:
        self._slots: Any = multiprocessing.RawArray(_Slot, count + 1)
        self._gone = count  # the slot of all that have died

    def bury(self, number: int) -> None:
        """Worker *number* has died; what it has run still counts."""
        slot, gone = self._slots[number], self._slots[self._gone]
        gone.runs += slot.runs
        gone.failed += slot.failed
        ctypes.memset(ctypes.byref(slot), 0, ctypes.sizeof(slot))

    def slot(self, number: int) -> Any:
        """The numbers of one worker."""
        return self._slots[number]

    def all(self) -> list[WorkerStatus]:
        """The workers that have started."""
        return [_status(slot) for slot in list(self._slots)[: self._gone] if slot.pid]

    def totals(self) -> dict[str, int]:
        """Sums over all workers; what has ended, over the dead as well."""
        return {name: sum(getattr(slot, name) for slot in self._slots) for name in _SUMMED}


_SUMMED = ("running", "queued", "runs", "failed")


class Tally:
    """Counts the runs of this worker, the *number*-th."""

    def __init__(self, tallies: Tallies, number: int) -> None:
        self._tallies = tallies
        self._slot = tallies.slot(number)
        self._slot.started_s = int(time.time())
        self._slot.pid = os.getpid()

    def count(self, run: Run, error: BaseException | None) -> None:
        """A run has ended."""
        self._slot.runs += 1
        if isinstance(error, RunFailed):
            self._slot.failed += 1

    @asynccontextmanager
    async def showing(self, runtime: Runtime) -> AsyncIterator[None]:
        """Inside the block this worker is ready, and the others see what it is doing."""
        self._refresh(runtime)
        self._slot.is_ready = 1
        refreshing = asyncio.ensure_future(self._refresh_often(runtime))
        try:
            yield
        finally:
            self._slot.is_ready = 0
            refreshing.cancel()

    def status(self, runtime: Runtime, *, with_each: bool) -> dict[str, Any]:
        """What ``/status`` says of the workers; that of others is ``REFRESH_S`` old at most."""
        self._refresh(runtime)
        workers = self._tallies.all()
        status: dict[str, Any] = {"count": len(workers), **self._tallies.totals()}
        if with_each:
            status["each"] = [asdict(worker) for worker in workers]
        return status

    async def _refresh_often(self, runtime: Runtime) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            self._refresh(runtime)

    def _refresh(self, runtime: Runtime) -> None:
        self._slot.running, self._slot.queued = runtime.open_runs()


def _status(slot: Any) -> WorkerStatus:
    return WorkerStatus(
        slot.pid, slot.started_s, bool(slot.is_ready), slot.running, slot.queued, slot.runs, slot.failed
    )
