"""Whether jobs in threads compute or wait, and so how many threads they need."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

LOOK_EVERY_S = 0.001  # while jobs wait
LOOKS_TO_JUDGE = 3
LOOK_SELDOM_S = 0.05  # while none do, and there are many
FEW = 2  # threads: jobs that compute get no further with more, and hold up the loop
_SOON_S = 0.003
_SOON_WHEN_BUSY_S = 0.05
_BUSY = 0.7  # of one processor: Python code gets no further with more threads
_COMPUTES = 0.3  # of what the process uses of one: jobs that use so much compute
_PARALLEL = 0.8  # of a processor for each thread: they compute without the interpreter lock
_PROCESSORS = os.cpu_count() or 1
_LATE_S = 0.02
_LONG_S = LOOK_SELDOM_S  # a job that has not used the processor for so long waits for something
_STALE_S = 4 * _LONG_S  # between two readings of the threads' clocks
_UNUSED_S = 0.0005  # of processor time in _LONG_S: looking for the interpreter lock, and not getting it


class Worker:
    """A thread of jobs: when its job began, and what it uses of the processor. Made in that thread."""

    __slots__ = ("_clock", "_used_s", "began_at")

    def __init__(self) -> None:
        self.began_at: float | None = None  # seconds of the monotonic clock; None: it is idle
        self._used_s = 0.0
        # Where there is no such clock, all jobs count as waiting.
        find = getattr(time, "pthread_getcpuclockid", None)
        self._clock: int | None = find(threading.get_ident()) if find else None

    def computed_s(self) -> float:
        """Seconds of the processor since the last time that this was asked. From any thread."""
        before = self._used_s
        if self._clock is not None:
            with suppress(OSError):  # the thread has ended
                self._used_s = time.clock_gettime(self._clock)
        return self._used_s - before


@dataclass(frozen=True, slots=True)
class _Moment:
    ended: int  # jobs
    at_s: float
    pool_s: float  # of processor time, used by all threads but the loop's
    loop_s: float


class Pace:
    """Judges from time to time while jobs wait. Methods are for the event loop, whose processor time is left out."""

    def __init__(self) -> None:
        self.workers: set[Worker] = set()  # threads come and go by themselves
        self._before = _Moment(0, 0.0, 0.0, 0.0)
        self._computed_at = self._read_at = 0.0
        self._do_compute = False  # the jobs, when their threads' clocks were read

    def begin(self, ended: int) -> None:
        """Measure from here on, when that many jobs have ended."""
        loop_s = time.thread_time()
        self._before = _Moment(ended, time.monotonic(), time.process_time() - loop_s, loop_s)

    def missing(self, threads: int, waiting: int, ended: int, passed_looks_s: float) -> int:
        """How many threads more there should be, after looks that should have taken so long; less than 0: fewer.

        None, if what waits is done soon at the present pace. As few as get on for jobs that compute, beside those
        that wait for something or take long; from many to few in steps, as what looks like it may pass. Otherwise twice
        as many: hundreds of blocking jobs run within milliseconds, and a passing jam costs few threads.
        """
        before = self._before
        self.begin(ended)
        now = self._before
        done, passed_s = now.ended - before.ended, now.at_s - before.at_s
        pool_s, loop_s = now.pool_s - before.pool_s, now.loop_s - before.loop_s
        used_s = pool_s + loop_s
        # A look that comes late waited for the lock, or for a processor.
        is_busy = used_s >= _BUSY * passed_s or passed_s - passed_looks_s > _LATE_S
        if waiting and waiting * passed_s <= done * (_SOON_WHEN_BUSY_S if is_busy else _SOON_S):
            return 0
        # Whatever else of the process computes shall not hold the jobs up: their own clocks are read, now and then.
        if is_busy and pool_s >= _COMPUTES * used_s:
            if now.at_s - self._read_at >= _LONG_S:
                missing = self._read(threads, waiting, now.at_s, min(1.0, used_s / passed_s))
            else:
                missing = 0
            if self._do_compute:
                self._computed_at = now.at_s
                return missing
        if now.at_s - self._computed_at < _LONG_S:  # a moment without a processor looks like waiting
            return 0
        return min(waiting, max(threads, FEW // 2))

    def _read(self, threads: int, waiting: int, now: float, share: float) -> int:
        """Read the clocks of all threads, of a process that uses *share* of a processor; how many are missing then.

        As long as nothing is known, jobs compute.
        """
        since_s, self._read_at = now - self._read_at, now
        long_s = _LONG_S * max(1.0, threads / FEW)  # of those that share the processor
        jobs_s = 0.0
        blocked = long = 0
        for worker in list(self.workers):
            began_at, computed_s = worker.began_at, worker.computed_s()
            jobs_s += computed_s
            lasts_s = 0.0 if began_at is None else now - began_at
            if computed_s < _UNUSED_S and lasts_s >= _LONG_S:
                blocked += 1
            elif lasts_s >= long_s:
                long += 1
        if since_s > _STALE_S:
            self._do_compute = True
            return 0
        processors = jobs_s / since_s
        is_parallel = processors >= _PARALLEL * threads and threads < _PROCESSORS
        self._do_compute = processors >= _COMPUTES * share and not is_parallel
        missing = FEW + blocked + long - threads
        if missing > 0:
            return min(waiting, max(missing, blocked))  # doubling, where it is those that wait which are many
        return missing // 2 if missing < 0 else 0
