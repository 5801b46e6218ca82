"""Threads that run the users' sync code, and the one door through which they speak to the event loop."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from hayhooks.engines.pace import FEW, LOOK_EVERY_S, LOOKS_TO_JUDGE, Pace, Worker


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
        self._is_ahead = False  # somebody may know already what the loop has not heard yet

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return threading.get_ident() == self._thread

    def post(self, function: Callable[[Any], None], argument: Any = None) -> None:
        """Call ``function(argument)`` on the loop soon. From any thread."""
        self._calls.append((function, argument))
        self.wake()

    def put(self, function: Callable[[Any], None], argument: Any = None) -> None:
        """Have ``function(argument)`` called at the next ``wake``, or when the loop catches up before."""
        self._calls.append((function, argument))
        self._is_ahead = True

    def wake(self) -> None:
        """Have all that was put called soon, unless it has been."""
        if self._armed and self._calls:
            self._armed = False
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                self._calls.clear()

    def catch_up(self) -> None:
        """Call now what was put. Event loop only."""
        if self._is_ahead:
            self._is_ahead = False
            self._call_all()

    def _drain(self) -> None:
        # Re-armed before reading: a message that comes in between wakes the loop once more, none is lost.
        self._armed = True
        self._call_all()

    def _call_all(self) -> None:
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
    once. Threads that are idle for *keep_idle_s* end, all but one. Limits on concurrency are the deployments', not the
    pool's. Methods are for the event loop.
    """

    def __init__(self, mailbox: Mailbox, keep_idle_s: float = 30.0) -> None:
        self._mailbox = mailbox
        self._keep_idle_s = keep_idle_s
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[bool] = SimpleQueue()  # one for each job; False: end
        self._jobs: dict[str, deque[tuple[float, Callable[[], None]]]] = {}  # by group, in the order of their turns
        self._choosing = threading.Lock()
        self._threads = 0
        self._outstanding = 0  # jobs that have not ended; threads look at it as well
        self._ended = 0
        self.max_wait_s: float | None = None  # jobs look at it themselves
        self._closed = False
        self._is_looking = False
        self._looks = 0
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
                self._pace.begin(self._ended)
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
        self._loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._is_looking = False
        waiting = min(self._calls.qsize(), self._outstanding - self._threads)
        if waiting <= 0 or self._closed:
            return
        self._looks += 1
        # Two threads there are soon; for more, a single stutter is no evidence.
        if self._threads < FEW or self._looks >= LOOKS_TO_JUDGE:
            missing = self._pace.missing(self._threads, waiting, self._ended, self._looks)
            self._looks = 0
            for _ in range(missing):
                self._spawn()
            if missing < 0:
                self._let_go()
        self._look_later()

    def _spawn(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name="hayhooks-run", daemon=True).start()

    def _work(self) -> None:
        calls = self._calls
        me = Worker()
        self._pace.workers.add(me)
        while True:
            try:
                called = calls.get(timeout=self._keep_idle_s)
            except Empty:  # only the loop may decide to let a thread go
                self._mailbox.post(self._shrink)
                continue
            if not called:
                self._pace.workers.discard(me)
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
            self._let_go()

    def _let_go(self) -> None:
        """Let one thread end, when it has no job."""
        self._threads -= 1
        self._calls.put(False)
