"""Threads that run the users' sync code."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.pace import FEW, LOOK_EVERY_S, LOOK_SELDOM_S, LOOKS_TO_JUDGE, Pace, Worker

_Bed = SimpleQueue[bool]  # where one thread sleeps; woken with whether somebody has picked it for a job


class Threads:
    """As many threads as jobs block at once, and hardly more.

    A job goes to an idle thread; jobs that wait are taken from each group in turn. While jobs wait, the pool is
    looked at every millisecond, and grows unless those that wait are done soon anyway, or jobs compute: short jobs,
    and those that compute, then share a few threads instead of fighting for the interpreter lock, while blocking
    jobs all run at once. When jobs compute and there are many threads, left from others that blocked, most of them
    end. Threads that are idle for *keep_idle_s* end, all but one. Limits on concurrency are the deployments', not
    the pool's. Methods are for the event loop.
    """

    def __init__(self, mailbox: Mailbox, keep_idle_s: float = 30.0) -> None:
        self._mailbox = mailbox
        self._keep_idle_s = keep_idle_s
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[str, deque[tuple[float, Callable[[], None]]]] = {}  # by group, in the order of their turns
        self._choosing = threading.Lock()  # for the jobs and the next four; all else is the event loop's
        self._waiting = 0  # jobs
        self._sleeping: list[_Bed] = []  # of threads that are not being woken; the latest is the last
        self._woken = 0  # threads that have not said yet that they are awake
        self._leaving = 0  # threads that are to end and are not counted any more
        self._threads = 0
        self._peak = 1  # jobs at once, since there was none
        self._is_waking = False  # in this round of the loop
        self._outstanding = 0  # jobs that have not ended; threads look at it as well
        self._ended = 0
        self.max_wait_s: float | None = None  # jobs look at it themselves
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None  # until the next look
        self._look_s = LOOK_EVERY_S  # which is so long after the one before
        self._looks = 0  # since the last judgement
        self._pace = Pace()

    @property
    def delay_s(self) -> float:
        """For how long a job has been waiting, at most."""
        with self._choosing:
            first = min((jobs[0][0] for jobs in self._jobs.values()), default=None)
        return 0.0 if first is None else time.monotonic() - first

    @property
    def is_idle(self) -> bool:
        """Whether there is no job."""
        return self._outstanding == 0

    @property
    def has_one_job(self) -> bool:
        """Whether the job that asks is alone."""
        return self._outstanding == 1

    def submit(self, job: Callable[[], None], group: str = "") -> None:
        """Run *job* in a thread. It must not raise, and must end by posting ``self.done`` to the mailbox.

        Jobs of one *group* run in order; groups take turns.
        """
        self._outstanding += 1
        is_alone = self._outstanding == 1 and self._peak == 1  # now, and as it looks soon
        self._peak = 1 if self._outstanding == 1 else max(self._peak, self._outstanding)
        bed: _Bed | None = None
        with self._choosing:
            jobs = self._jobs.get(group)
            if jobs is None:
                jobs = self._jobs[group] = deque()
            jobs.append((time.monotonic(), job))
            self._waiting += 1
            if is_alone:
                bed = self._pick()
        if bed is not None:
            bed.put(True)
        elif not is_alone and not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake)
        if self._outstanding > self._threads:
            if self._threads == 0:
                self._spawn()
            elif self._timer is None or self._look_s != LOOK_EVERY_S:
                self._begin_to_look(LOOK_EVERY_S)
        elif self._timer is None and self._has_many:
            self._begin_to_look(LOOK_SELDOM_S)

    def done(self) -> None:
        """One job has ended."""
        self._outstanding -= 1
        self._ended += 1

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its job."""
        with self._choosing:
            self._closed = True
            beds, self._sleeping = self._sleeping, []
        for bed in beds:
            bed.put(False)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_s = seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _begin_to_look(self, seconds: float) -> None:
        self._looks = 0
        self._pace.begin(self._ended)
        self._look_in(seconds)

    def _look(self) -> None:
        self._timer = None
        waiting = max(0, min(self._waiting, self._outstanding - self._threads))
        if self._closed or (not waiting and not self._has_many):
            return
        if bool(waiting) != (self._look_s == LOOK_EVERY_S):
            self._begin_to_look(LOOK_EVERY_S if waiting else LOOK_SELDOM_S)
            return
        self._looks += 1
        # Two threads there are soon; for more, a single stutter is no evidence.
        if not waiting or self._threads < FEW or self._looks >= LOOKS_TO_JUDGE:
            missing = self._pace.missing(self._threads, waiting, self._ended, self._looks * self._look_s)
            self._looks = 0
            for _ in range(missing):
                self._spawn()
            if missing < 0:
                self._let_go(-missing)
        self._look_in(self._look_s)

    @property
    def _has_many(self) -> bool:
        """Whether more threads are busy than jobs need that compute."""
        return self._threads > FEW < self._outstanding

    def _spawn(self) -> None:
        self._threads += 1
        with self._choosing:
            if self._leaving:  # who was to end stays
                self._leaving -= 1
                return
        threading.Thread(target=self._work, name="hayhooks-run", daemon=True).start()

    def _work(self) -> None:
        bed: _Bed = SimpleQueue()
        me = Worker()
        self._pace.workers.add(me)
        call: bool | None = None
        while True:
            job, ends = self._next(bed, is_woken=bool(call))
            if ends:
                break
            if job is not None:
                me.began_at = time.monotonic()
                job()
                me.began_at = None
                del job  # an idle thread must not keep the last run's values alive
                call = None
                continue
            while True:
                try:
                    call = bed.get(timeout=self._keep_idle_s)
                    break
                except Empty:  # only the loop may decide to let a thread go
                    self._mailbox.post(self._shrink)
        self._pace.workers.discard(me)

    def _next(self, bed: _Bed, *, is_woken: bool) -> tuple[Callable[[], None] | None, bool]:
        """The first job of the group whose turn it is, which then goes to the end of the row; and whether to end.

        When there is neither, the thread is to sleep in *bed*. *is_woken*: it is one that ``_pick`` has counted.
        """
        job: Callable[[], None] | None = None
        ends = False
        with self._choosing:
            if is_woken:
                self._woken -= 1
            if self._leaving:
                self._leaving -= 1
                ends = True
            elif self._waiting:
                self._waiting -= 1
                group = next(iter(self._jobs))
                jobs = self._jobs.pop(group)
                _, job = jobs.popleft()
                if jobs:
                    self._jobs[group] = jobs
            elif self._closed:
                ends = True
            else:
                self._sleeping.append(bed)
            other = self._pick()
        if other is not None:
            other.put(True)
        return job, ends

    def _pick(self) -> _Bed | None:
        """Who is to be woken now, if anybody: the one that has slept least, whose memory is warm. With the lock.

        One at a time, who then sees to the next: threads woken for jobs that are short would find nothing to do, and
        each costs as much as the job.
        """
        if not self._waiting or not self._sleeping or self._woken:
            return None
        self._woken += 1
        return self._sleeping.pop()

    def _wake(self) -> None:
        """Wake a thread for the jobs of this round.

        Not sooner where there are several: an event loop lets the interpreter lock go between two things that it reads,
        and would wait there until the thread has done what there is, for each job anew.
        """
        self._is_waking = False
        with self._choosing:
            bed = self._pick()
        if bed is not None:
            bed.put(True)

    def _shrink(self, _: object) -> None:
        if self._threads > max(1, self._outstanding) and not self._closed:
            self._let_go(1)

    def _let_go(self, count: int) -> None:
        """Let so many threads end, when they have no job, before they take another."""
        self._threads -= count
        with self._choosing:
            self._leaving += count
            beds = self._sleeping[:count]  # the longest
            del self._sleeping[:count]
        for bed in beds:
            bed.put(False)
