"""Threads that run the users' sync code, and the one door through which they speak to the event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_GROW_DELAY_S = 0.001
_KEEP_IDLE_S = 30.0


class Mailbox:
    """Calls from threads to the loop, many with one wake-up.

    Waking an event loop costs a system call and a switch of the interpreter lock; under load one wake-up carries
    the messages of all threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., None], Any]] = deque()
        self._armed = True

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
        for _ in range(len(calls)):
            function, argument = calls.popleft()
            function(argument)


class Threads:
    """As many threads as jobs block at once, and hardly more.

    A job goes to an idle thread, and a new one is started only when a job has waited for a millisecond: short jobs
    then share a few threads instead of fighting for the interpreter lock, while blocking jobs all run at once.
    Limits on concurrency are the deployments', not the pool's. Methods are for the event loop.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._outstanding = 0
        self._growing = False
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run *job* in a thread. It must not raise, and must end by posting ``self.done`` to the mailbox."""
        self._outstanding += 1
        self._jobs.put(job)
        if self._outstanding > self._threads:
            if self._threads == 0:
                self._spawn()
            elif not self._growing:
                self._growing = True
                self._loop.call_later(_GROW_DELAY_S, self._grow)

    def done(self) -> None:
        """One job has ended."""
        self._outstanding -= 1

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its job."""
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _grow(self) -> None:
        self._growing = False
        for _ in range(min(self._jobs.qsize(), self._outstanding - self._threads)):
            self._spawn()
        if self._jobs.qsize() and self._outstanding > self._threads:
            self._growing = True
            self._loop.call_later(_GROW_DELAY_S, self._grow)

    def _spawn(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name="hayhooks-run", daemon=True).start()

    def _work(self) -> None:
        jobs = self._jobs
        while True:
            try:
                job = jobs.get(timeout=_KEEP_IDLE_S)
            except Exception:  # queue.Empty: idle for long; only the loop may decide to let a thread go
                self._mailbox.post(self._shrink)
                job = jobs.get()
            if job is None:
                return
            job()
            del job  # an idle thread must not keep the last run's values alive

    def _shrink(self, _: object) -> None:
        if self._threads > max(1, self._outstanding) and not self._closed:
            self._threads -= 1
            self._jobs.put(None)
