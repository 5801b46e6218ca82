"""The one door through which threads speak to the event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


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
        """Call now what was put. Event loop only. Failures are the loop's, not those of whoever asks."""
        if self._is_ahead:
            self._is_ahead = False
            try:
                self._call_all()
            except Exception as error:
                context = {"message": "What a thread has told could not be taken in", "exception": error}
                self._loop.call_exception_handler(context)

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
