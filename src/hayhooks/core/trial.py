"""A trial: a canary while it takes its share of runs, and how it and the stable version have fared."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from hayhooks.core.canary import PLACES, Canary, Counts, has_failed, place_of_session, why_to_abort
from hayhooks.core.context import Session

if TYPE_CHECKING:
    from hayhooks.core.registry import Live

# 2**64 divided by the golden ratio, odd: multiples of it, modulo 2**64, fall evenly into any stretch of the circle,
# and so does every second, third or n-th of them. D. Knuth, "The Art of Computer Programming", vol. 3, section 6.4.
_STEP = 0x9E3779B97F4A7C15


class Trial:
    """The canary *live* beside *stable*. Event loop only.

    *on_noted* is told when a run has been counted.
    """

    __slots__ = ("_on_noted", "_place", "_share", "canary", "is_open", "live", "others", "own", "stable")

    def __init__(self, canary: Canary, stable: "Live", live: "Live", on_noted: Callable[["Trial"], None]) -> None:
        self.stable = stable
        self.live = live
        self.is_open = True  # whether the canary gets runs
        self.own = Counts()  # of this process
        self.others = Counts()  # of other workers, and of processes before this one
        self._on_noted = on_noted
        self._place = 0
        self.change(canary)

    @property
    def counts(self) -> Counts:
        """All that is known here of the runs of both versions."""
        return self.own + self.others

    def change(self, canary: Canary) -> None:
        """Go on with another plan."""
        self.canary = canary
        self._share = canary.plan.percent * PLACES // 100

    def end(self) -> None:
        """The canary gets no more runs, and none are counted."""
        self.is_open = False
        for live in (self.stable, self.live):
            if live.trial is self:
                live.trial = None

    def choose(self, session: Session) -> "Live":
        """The version for one run: for a session always the same one, else by turns.

        Turns follow an even sequence and not chance, so that few runs have their share too, and no period, so that
        callers who take turns themselves each get theirs.
        """
        if not self.is_open:
            return self.stable
        key = session.id or session.user
        if key:
            place = place_of_session(self.canary, key)
        else:
            place = self._place = (self._place + _STEP) % PLACES
        return self.live if place < self._share else self.stable

    def note(self, live: "Live", error: BaseException | None) -> None:
        """A run of *live* has ended, with *error* or well."""
        failed = has_failed(error)
        if failed is None:
            return
        own = self.own
        if live is self.live:
            self.own = replace(own, runs=own.runs + 1, failures=own.failures + failed)
        else:
            self.own = replace(own, stable_runs=own.stable_runs + 1, stable_failures=own.stable_failures + failed)
        self._on_noted(self)

    def why_to_abort(self) -> str | None:
        """The figures that say that this must end, or None."""
        return why_to_abort(self.canary, self.counts)
