"""What was read from connections and waits for its turn."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

_AT_ONCE = 16  # pieces, in a round of the loop
_TURN_S = 0.002  # of work, after which everything else that is ready goes on
_MAX_BYTES = 16 * 1024 * 1024  # that wait; more than that is looked at at once


class Backlog:
    """Takes in what was read a little at a time, in the order in which it came. Event loop only.

    An event loop reads every socket that is ready before anything else goes on. With thousands of callers, a run that
    is under way would make one step for a thousand requests; here it makes one every few milliseconds, and what has
    not been looked at yet costs little to refuse. A round of uvloop is told by its clock, which stands still in it;
    with a loop whose clock goes on, everything is looked at at once.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Callable[[bytes], None], bytes]] = deque()
        self._bytes = 0
        self._round_at = 0.0
        self._left = _AT_ONCE
        self.waited_s = 0.0  # what is looked at now

    def delay_s(self) -> float:
        """For how long the first has been waiting."""
        return time.monotonic() - self._waiting[0][0] if self._waiting else 0.0

    def has_time(self) -> bool:
        """Whether a piece may be looked at at once; otherwise it is to be ``put``."""
        if self._waiting:
            return False
        now = asyncio.get_running_loop().time()
        if now != self._round_at:
            self._round_at = now
            self._left = _AT_ONCE
        self._left -= 1
        return self._left >= 0

    def put(self, take: Callable[[bytes], None], data: bytes) -> None:
        """Call ``take(data)`` when it is its turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append((time.monotonic(), take, data))
        self._bytes += len(data)
        while self._bytes > _MAX_BYTES:
            self._take()

    def _turn(self) -> None:
        end = time.monotonic() + _TURN_S
        while self._waiting and time.monotonic() < end:
            self._take()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)

    def _take(self) -> None:
        came_at, take, data = self._waiting.popleft()
        self._bytes -= len(data)
        self.waited_s = time.monotonic() - came_at
        try:
            take(data)
        except Exception as error:  # of one connection: the others are heard all the same
            context = {"message": "What was read could not be taken in", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        finally:
            self.waited_s = 0.0
