"""How busy this process is, and whether it can take one more run."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from hayhooks.core.errors import Overloaded

_LOOK_S = 0.05
_FEW = 64  # callers, with whom a server is busy and not overloaded
_CALM_LOOKS = 20
_AIM = 0.2  # of the delay that is allowed: what is aimed at from the time on when it was exceeded
_MOST_WAIT = 2 * _AIM  # of it: for a thread, meanwhile
_LONG_S = 5.0  # that streams last at the pace at which they end
_FALLING = 0.5  # runs that begin, of those that end
_LESS, _MORE = 0.95, 1.05  # how the rate follows in the time of a look
_LEAST_RATE = 10.0  # runs per second
_MOST_SHARES = 1000
_SHARE_S = 1.0  # over which the shares of deployments are counted


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """How much one process takes. None is no limit."""

    max_total_runs: int | None = None
    max_total_streams: int | None = None
    max_delay_s: float | None = None


class Load:
    """Counts runs and streams, and sheds what the process cannot keep up with. Event loop only.

    While there are runs it looks, every 50 ms, how far the event loop is behind its clock and, by ``delay_s`` and
    ``backlog_s``, how long calls wait for a thread or to be looked at. Once that is more than ``max_delay_s``, and
    callers are many, it aims at a fifth of that until nothing has been refused for a second: a burst may be late, what
    comes all the time may not. Runs are admitted at the rate at which runs ended of late, which then falls and grows
    with the delay; what waited for longer than the aim before it was looked at, or twice as long for a thread, is
    refused in any case. Who asks for less than an equal share of the rate is admitted all the same: one deployment's
    flood is not paid for by the others.

    Long streams are no flood: hundreds that begin at once are slow, and all are served. Nor is what is about to end.
    """

    def __init__(self, limits: LoadLimits | None = None) -> None:
        self._limits = limits or LoadLimits()
        self._max_delay_s = self._limits.max_delay_s or 0.0
        self._aim_s = self._max_delay_s * _AIM
        self.delay_s: Callable[[], float] = lambda: 0.0
        self.backlog_s: Callable[[], float] = lambda: 0.0
        self.catch_up: Callable[[], None] = lambda: None  # hear of runs that have ended
        self.limit_waiting: Callable[[float | None], None] = lambda _: None
        self.favour_loop: Callable[[bool], None] = lambda _: None
        self.connections = 0  # that are open; whoever counts them
        self.runs = 0
        self.streams = 0
        self.is_shedding = False
        self._begun = self._ended = 0  # runs, since the last look
        self.written = 0  # pieces of streams, since the last look; whoever writes them counts
        self._speaking = 0  # streams, at the last look
        self._refused = 0  # since the last look
        self._is_behind = self._is_favoured = False
        self._calm = 0  # looks in a row
        self._beginning_rate = self._ending_rate = 0.0  # runs per second, of late
        self._rate = 0.0  # admitted per second, while shedding
        self._tokens = 0.0
        self._tickets = 0  # runs that were admitted before they were read, and have not begun
        self._filled_at = self._looked_at = self._shared_at = 0.0
        self._admitted: dict[str, int] = {}
        self._is_looking = False

    def enter(self, name: str) -> None:
        """A run of that deployment begins.

        Raises:
            Overloaded: There are too many, or the process is behind its work.
        """
        limit = self._limits.max_total_runs
        if limit is not None and self.runs >= limit:
            raise Overloaded(f"The server is busy with {self.runs} runs. Try again later.")
        if self._tickets:
            self._tickets -= 1
        elif self.is_shedding and not self._is_admitted(name):
            self._refused += 1
            raise Overloaded("The server is overloaded. Try again later.")
        self.runs += 1
        self._begun += 1
        if not self._is_looking and self._limits.max_delay_s is not None:
            self._look_later()

    def leave(self) -> None:
        """A run has ended."""
        self.runs -= 1
        self._ended += 1

    def enter_stream(self) -> None:
        """A stream opens.

        Raises:
            Overloaded: There are too many.
        """
        limit = self._limits.max_total_streams
        if limit is not None and self.streams >= limit:
            raise Overloaded(f"The server is busy with {self.streams} streams. Try again later.")
        self.streams += 1

    def leave_stream(self) -> None:
        """A stream is closed."""
        self.streams -= 1

    def refuses(self, name: str, waited_s: float = 0.0) -> bool:
        """Whether a run of that deployment, which has waited, is refused now: for who can refuse it before it is read.

        Whoever is not, is admitted: of a thousand requests that are read at once only as many reach the app as can run,
        where to refuse the others costs several times as much.
        """
        if not self.is_shedding:
            return False
        if self._is_admitted(name, is_late=waited_s > self._aim_s):
            self._tickets += 1
            return False
        self._refused += 1
        return True

    def _is_admitted(self, name: str, *, is_late: bool = False) -> bool:
        if not self._has_token(name, is_late):
            return False
        self._tokens = max(self._tokens - 1, -self._rate * _LOOK_S)
        self._admitted[name] = self._admitted.get(name, 0) + 1
        return True

    def _has_token(self, name: str, is_late: bool) -> bool:
        now = time.monotonic()
        if now - self._shared_at >= _SHARE_S:
            self._shared_at = now
            # Who was admitted in the last period still has a share.
            self._admitted = dict.fromkeys((known for known, count in self._admitted.items() if count), 0)
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, max(1.0, self._rate * _LOOK_S))
        self._filled_at = now
        if len(self._admitted) < _MOST_SHARES:  # names may be anything that callers make up
            self._admitted.setdefault(name, 0)
        shares = len(self._admitted)
        return (self._tokens >= 1 and not is_late) or (
            shares > 1 and self._admitted.get(name, shares) < max(1.0, self._rate * _SHARE_S / shares)
        )

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_looking = True
        self._looked_at = time.monotonic()
        loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        passed_s = now - self._looked_at
        late_s = passed_s - _LOOK_S
        delay_s = max(late_s, self.delay_s(), self.backlog_s())
        looks = max(1.0, passed_s / _LOOK_S)  # that there would have been on time
        weight = min(1.0, 0.2 * looks)
        self._speaking = min(self.streams, self.written)
        self._beginning_rate += weight * (self._begun / passed_s - self._beginning_rate)
        self._ending_rate += weight * (self._ended / passed_s - self._ending_rate)
        was_behind, self._is_behind = self._is_behind, self.connections >= _FEW and delay_s > self._aim_s
        self._calm = 0 if self._is_behind or self._refused else self._calm + 1
        if self._is_behind:
            self._favour_loop(self.is_shedding or self._is_flood)
            if self.is_shedding:
                self._rate = max(_LEAST_RATE, self._rate * _LESS**looks)
            elif was_behind and delay_s > self._max_delay_s and self._is_flood:  # once may be a stutter
                self._begin_shedding(now)
        elif self.is_shedding:
            self._tickets = min(self._tickets, int(self._rate * _LOOK_S))  # some bodies were wrong, some callers left
            self._rate *= _MORE
        if self._calm == _CALM_LOOKS:
            self._favour_loop(False)
            self._end_shedding()
        goes_on = self._begun or self._refused or self.runs or self.is_shedding or self._is_favoured
        self._begun = self._ended = self._refused = self.written = 0
        self._is_looking = False
        if goes_on:
            self._look_later()

    @property
    def _is_flood(self) -> bool:
        """Whether it would help to admit fewer runs."""
        if self._beginning_rate < _FALLING * self._ending_rate:
            return False
        others = self.runs - self.streams
        return others >= min(_FEW, self._speaking) or self._speaking <= _LONG_S * self._ending_rate

    def _favour_loop(self, is_favoured: bool) -> None:
        self._is_favoured = is_favoured
        self.favour_loop(is_favoured)

    def _end_shedding(self) -> None:
        self.is_shedding = False
        self._tickets = 0
        self.limit_waiting(None)

    def _begin_shedding(self, now: float) -> None:
        self.is_shedding = True
        self.limit_waiting(self._max_delay_s * _MOST_WAIT)
        self._rate = max(_LEAST_RATE, self._ending_rate)
        self._tokens = 0.0
        self._filled_at = self._shared_at = now
        self._admitted = {}
