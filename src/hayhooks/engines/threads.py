"""Threads that run the users' sync code, and the one door through which they speak to the event loop."""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

_LOOK_EVERY_S = 0.001
_LOOKS_TO_JUDGE = 3
_FEW = 2  # threads: jobs that compute get no further with more, and hold up the loop
_SOON_S = 0.003
_SOON_WHEN_BUSY_S = 0.05
_BUSY = 0.7  # of one processor: Python code gets no further with more threads
_COMPUTES = 0.3  # of one processor, used by jobs: where it is busy, they compute
_PARALLEL = 0.8  # of a processor for each thread: they compute without the interpreter lock
_PROCESSORS = os.cpu_count() or 1
_LONG_S = 0.05  # a job that has not used the processor for so long waits for something
_STALE_S = 4 * _LONG_S  # between two readings of their clocks
_LATE_S = 0.02
_UNUSED_S = 0.0005  # of processor time in that time: looking for the interpreter lock, and not getting it


@dataclass(frozen=True, slots=True)
class _Judged:
    ended: int  # jobs
    at_s: float
    pool_s: float  # of processor time, used by all threads but the loop's
    loop_s: float


class _Worker:
    """What is known of a thread: when its job began, and how much processor time it had used when we last looked."""

    __slots__ = ("_clock", "_used_s", "began_at")

    def __init__(self) -> None:
        self.began_at: float | None = None
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


class Mailbox:
    """Calls from threads to the loop, many with one wake-up. Made in the loop's thread.

    Waking an event loop costs a system call and a switch of the interpreter lock; under load one wake-up carries
    the messages of all threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._calls: deque[tuple[Callable[..., None], Any]] = deque()
        self._armed = True

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return threading.get_ident() == self._thread

    def post(self, function: Callable[[Any], None], argument: Any = None) -> None:
        """Call ``function(argument)`` on the loop soon. From any thread."""
        self._calls.append((function, argument))
        if self._armed:
            self._armed = False
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                self._calls.clear()

    def _drain(self) -> None:
        # Re-armed before reading: a message that comes in between wakes the loop once more, none is lost.
        self._armed = True
        calls = self._calls
        try:
            for _ in range(len(calls)):
                function, argument = calls.popleft()
                function(argument)
        except BaseException:  # the loop reports it; those behind must still be heard
            self._loop.call_soon(self._drain)
            raise


class Threads:
    """As many threads as jobs block at once, and hardly more.

    A job goes to an idle thread; jobs that wait are taken from each group in turn. While jobs wait, the pool is looked
    at every millisecond, and grows unless those that wait are done soon anyway, or jobs compute: short jobs, and those
    that compute, then share a few threads instead of fighting for the interpreter lock, while blocking jobs all run at
    once. Threads that are idle for
    *keep_idle_s* end, all but one. Limits on concurrency are the deployments', not the pool's. Methods are for the
    event loop.
    """

    def __init__(self, mailbox: Mailbox, keep_idle_s: float = 30.0) -> None:
        self._mailbox = mailbox
        self._keep_idle_s = keep_idle_s
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[bool] = SimpleQueue()  # one for each job; False: end
        self._jobs: dict[str, deque[tuple[float, Callable[[], None]]]] = {}  # by group, in the order of their turns
        self._choosing = threading.Lock()
        self._threads = 0
        self._outstanding = 0
        self._ended = 0
        self.max_wait_s: float | None = None  # jobs look at it themselves
        self._closed = False
        self._is_looking = False
        self._looks = 0
        self._judged = _Judged(0, 0.0, 0.0, 0.0)
        self._computed_at = self._counted_at = 0.0
        self._do_compute = self._is_counted = False  # the jobs; and whether that is news
        self._blocked = self._long = 0  # of them, when they were counted
        self._workers: set[_Worker] = set()

    @property
    def delay_s(self) -> float:
        """For how long a job has been waiting, at most."""
        with self._choosing:
            first = min((jobs[0][0] for jobs in self._jobs.values()), default=None)
        return 0.0 if first is None else time.monotonic() - first

    def submit(self, job: Callable[[], None], group: str = "") -> None:
        """Run *job* in a thread. It must not raise, and must end by posting ``self.done`` to the mailbox.

        Jobs of one *group* run in order; groups take turns.
        """
        self._outstanding += 1
        with self._choosing:
            jobs = self._jobs.get(group)
            if jobs is None:
                jobs = self._jobs[group] = deque()
            jobs.append((time.monotonic(), job))
        self._calls.put(True)
        if self._outstanding > self._threads:
            if self._threads == 0:
                self._spawn()
            elif not self._is_looking:
                self._looks = 0
                self._judged = self._judge()
                self._look_later()

    def done(self) -> None:
        """One job has ended."""
        self._outstanding -= 1
        self._ended += 1

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its job."""
        self._closed = True
        for _ in range(self._threads):
            self._calls.put(False)

    def _look_later(self) -> None:
        self._is_looking = True
        self._loop.call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._is_looking = False
        waiting = min(self._calls.qsize(), self._outstanding - self._threads)
        if waiting <= 0 or self._closed:
            return
        self._looks += 1
        # Two threads there are soon; for more, a single stutter is no evidence.
        if self._threads < _FEW or self._looks >= _LOOKS_TO_JUDGE:
            for _ in range(self._wanted(waiting)):
                self._spawn()
        self._look_later()

    def _wanted(self, waiting: int) -> int:
        """How many threads more there should be: none, if what waits is done soon at the present pace."""
        before, now = self._judged, self._judge()
        looks, self._looks = self._looks, 0
        self._judged = now
        ended, passed_s = now.ended - before.ended, now.at_s - before.at_s
        pool_s, loop_s = now.pool_s - before.pool_s, now.loop_s - before.loop_s
        # A look that comes late waited for the lock, or for a processor.
        is_busy = pool_s + loop_s >= _BUSY * passed_s or passed_s - looks * _LOOK_EVERY_S > _LATE_S
        if waiting * passed_s <= ended * (_SOON_WHEN_BUSY_S if is_busy else _SOON_S):
            return 0
        if is_busy and pool_s >= _COMPUTES * (pool_s + loop_s) and self._compute(now.at_s, pool_s + loop_s, passed_s):
            self._computed_at = now.at_s
            return self._wanted_to_compute(waiting)
        if now.at_s - self._computed_at < _LONG_S:  # a moment without a processor looks like waiting
            return 0
        # Doubling: hundreds of blocking jobs run within milliseconds, a passing jam costs few threads.
        return min(waiting, max(self._threads, _FEW // 2))

    def _compute(self, now: float, used_s: float, passed_s: float) -> bool:
        """Whether jobs use much of what the process has of the processor; nothing else of it shall hold them up.

        Their clocks are read every _LONG_S. As long as nothing is known, they do.
        """
        since_s = now - self._counted_at
        if since_s < _LONG_S:
            return self._do_compute
        self._counted_at = now
        self._blocked = self._long = 0
        jobs_s = 0.0
        long_s = _LONG_S * max(1.0, self._threads / _FEW)  # of those that share the processor
        for worker in list(self._workers):
            began_at, computed_s = worker.began_at, worker.computed_s()
            jobs_s += computed_s
            lasts_s = 0.0 if began_at is None else now - began_at
            if computed_s < _UNUSED_S and lasts_s >= _LONG_S:
                self._blocked += 1
            elif lasts_s >= long_s:
                self._long += 1
        processors = jobs_s / since_s
        is_parallel = processors >= _PARALLEL * self._threads and self._threads < _PROCESSORS
        share = min(1.0, used_s / passed_s)
        self._do_compute = since_s > _STALE_S or (processors >= _COMPUTES * share and not is_parallel)
        self._is_counted = since_s <= _STALE_S
        return self._do_compute

    def _wanted_to_compute(self, waiting: int) -> int:
        """As few as get on, beside those that wait for something or take long; one too many ends."""
        if not self._is_counted:
            return 0
        self._is_counted = False
        missing = _FEW + self._blocked + self._long - self._threads
        if missing > 0:
            return min(waiting, max(missing, self._blocked))  # doubling, where it is those that wait which are many
        if missing < 0:
            self._threads -= 1
            self._calls.put(False)
        return 0

    def _judge(self) -> _Judged:
        loop_s = time.thread_time()
        return _Judged(self._ended, time.monotonic(), time.process_time() - loop_s, loop_s)

    def _spawn(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name="hayhooks-run", daemon=True).start()

    def _work(self) -> None:
        calls = self._calls
        me = _Worker()
        self._workers.add(me)
        while True:
            try:
                called = calls.get(timeout=self._keep_idle_s)
            except Empty:  # only the loop may decide to let a thread go
                self._mailbox.post(self._shrink)
                continue
            if not called:
                self._workers.discard(me)
                return
            me.began_at = time.monotonic()
            job = self._next()
            job()
            me.began_at = None
            del job  # an idle thread must not keep the last run's values alive

    def _next(self) -> Callable[[], None]:
        """The first job of the group whose turn it is; the group goes to the end of the row."""
        with self._choosing:
            group = next(iter(self._jobs))
            jobs = self._jobs.pop(group)
            _, job = jobs.popleft()
            if jobs:
                self._jobs[group] = jobs
            return job

    def _shrink(self, _: object) -> None:
        if self._threads > max(1, self._outstanding) and not self._closed:
            self._threads -= 1
            self._calls.put(False)
