"""A canary: a version that gets a share of a deployment's runs beside the live one, until it is promoted or aborted."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from hayhooks.core.errors import HayhooksError, RunFailed, RunTimeout

MIN_PERCENT, MAX_PERCENT = 1, 99
MAX_ERROR_PERCENT = 10.0  # unless the plan says otherwise
MIN_RUNS = 20

PLACES = 1 << 64  # a run's place is a number below


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: the share of runs, and when the server is to give up by itself."""

    percent: int  # 1 to 99
    max_error_percent: float = MAX_ERROR_PERCENT  # of the canary's runs
    min_runs: int = MIN_RUNS  # of the canary, before it is judged
    by: str = ""  # who asks, for people


@dataclass(frozen=True, slots=True)
class Canary:
    """A version on trial."""

    name: str
    version: str
    stable: str  # the version beside which it began
    plan: Plan
    started_s: float  # Unix time

    def is_same(self, other: "Canary") -> bool:
        """Whether both are one canary, perhaps with another plan by now."""
        return (self.name, self.version, self.started_s) == (other.name, other.version, other.started_s)


@dataclass(frozen=True, slots=True)
class Counts:
    """Runs that ended well or failed since a canary began; those that callers left or got wrong are in neither."""

    runs: int = 0
    failures: int = 0
    stable_runs: int = 0
    stable_failures: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.runs + other.runs,
            self.failures + other.failures,
            self.stable_runs + other.stable_runs,
            self.stable_failures + other.stable_failures,
        )

    @property
    def error_percent(self) -> float:
        """Share of the canary's runs that failed."""
        return _percent(self.failures, self.runs)

    @property
    def stable_error_percent(self) -> float:
        """Share of the stable version's runs that failed."""
        return _percent(self.stable_failures, self.stable_runs)


State = Literal["promoted", "aborted", "replaced"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a canary ended."""

    canary: Canary
    state: State
    reason: str
    counts: Counts
    ended_s: float  # Unix time
    by: str = ""  # who ended it; empty: the server itself
    is_automatic: bool = False
    by_id: str = ""  # the same as a Principal.id


class CanaryNotFound(HayhooksError):
    """The deployment is live and has no canary."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Deployment {name!r} has no canary.")


class CanaryRefused(HayhooksError):
    """There can be no such canary beside what is live."""

    kind = "conflict"


def place_of_session(canary: Canary, key: str) -> int:
    """Where the session *key* lies for this canary, from 0 to ``PLACES``; the same in every process and for ever.

    Another version gives other places, so that it is not always the same callers on whom versions are tried.
    """
    text = f"{canary.name}\0{canary.version}\0{key}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def why_to_abort(canary: Canary, counts: Counts) -> str | None:
    """The figures that say that the canary is worse than the plan and than the stable version allow, or None."""
    plan = canary.plan
    if counts.runs < plan.min_runs or counts.error_percent <= plan.max_error_percent:
        return None
    if counts.error_percent <= counts.stable_error_percent:
        return None  # what makes both fail is not the canary's doing
    return (
        f"{counts.failures} of {counts.runs} runs failed ({counts.error_percent:.1f} %, at most "
        f"{plan.max_error_percent:g} % are allowed); of the stable version {counts.stable_failures} of "
        f"{counts.stable_runs} ({counts.stable_error_percent:.1f} %)."
    )


def has_failed(error: BaseException | None) -> bool | None:
    """Whether a run that ended with *error* counts as a failure of its version; None when it does not count at all.

    What the caller got wrong, a caller who left and a full queue say nothing about a version. An HTTPException below
    500 is an answer.
    """
    if error is None:
        return False
    if isinstance(error, RunTimeout):
        return True
    if not isinstance(error, RunFailed):
        return None
    status = getattr(error.__cause__, "status_code", None)
    return not (isinstance(status, int) and status < 500 and hasattr(error.__cause__, "detail"))


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
