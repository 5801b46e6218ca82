"""What callers with limits use of this process: requests per minute, and runs at once."""

import math
import time
from collections import deque
from collections.abc import Callable

from hayhooks.core.errors import QuotaExceeded
from hayhooks.core.principal import Principal

_MINUTE_S = 60
_FULL_RETRY_S = 1  # nobody knows when a run of the caller's ends


class Quotas:
    """Counts for each caller that has limits; others cost nothing. Event loop only.

    Each process counts for itself, and begins at nothing when it starts. *clock* gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.running: dict[str, int] = {}  # runs at the moment, by Principal.id
        self._asked: dict[str, deque[float]] = {}  # when, in the last minute

    def enter(self, caller: Principal) -> None:
        """Count a run that *caller* asks for; ``leave`` is then to be called when it has ended.

        The request counts also when the runs of the caller are too many.

        Raises:
            QuotaExceeded: With what the caller's limit is, and when to come back.
        """
        limits = caller.limits
        if limits is None:
            return
        if limits.requests_per_minute is not None:
            self._count(caller, limits.requests_per_minute)
        running = self.running.get(caller.id, 0)
        most = limits.max_concurrent_runs
        if most is not None and running >= most:
            raise QuotaExceeded(
                f"The key {caller.name!r} may have {most} run{'s' if most > 1 else ''} at once, and has. "
                "Try again when one has ended.",
                _FULL_RETRY_S,
            )
        self.running[caller.id] = running + 1

    def leave(self, caller: Principal) -> None:
        """A run that ``enter`` let in has really ended."""
        if caller.limits is None:
            return
        running = self.running[caller.id] - 1
        if running:
            self.running[caller.id] = running
        else:
            del self.running[caller.id]

    def _count(self, caller: Principal, most: int) -> None:
        # A sliding log of our own: on the way of every run it costs a tenth of what the libraries do
        # (docs/decisions/rates.md).
        asked = self._asked.get(caller.id)
        if asked is None:
            asked = self._asked[caller.id] = deque()
        now_s = self._clock()
        while asked and now_s - asked[0] >= _MINUTE_S:
            asked.popleft()
        if len(asked) >= most:
            retry_after_s = max(1, math.ceil(asked[-most] + _MINUTE_S - now_s))
            raise QuotaExceeded(
                f"The key {caller.name!r} may make {most} request{'s' if most > 1 else ''} a minute. "
                f"Try again in {retry_after_s} s.",
                retry_after_s,
            )
        asked.append(now_s)
