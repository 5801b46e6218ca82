"""What requests say of canaries, and how answers show them."""

from typing import Annotated, Any

from pydantic import Field
from starlette.types import Scope
from typing_extensions import TypedDict

from hayhooks.core.canary import MAX_ERROR_PERCENT, MAX_PERCENT, MIN_PERCENT, MIN_RUNS, Outcome, Plan
from hayhooks.core.errors import InvalidRequest
from hayhooks.core.trial import Trial
from hayhooks.surfaces._http import caller_of

Percent = Annotated[int, Field(ge=MIN_PERCENT, le=MAX_PERCENT)]
ErrorPercent = Annotated[float, Field(ge=0, le=100)]
Runs = Annotated[int, Field(ge=1, le=1_000_000)]


class CanaryFields(TypedDict, total=False):
    """Of a deploy: the share of runs that the new version gets, and when the server is to abort it."""

    canary: Percent | None
    max_error_percent: ErrorPercent | None
    min_runs: Runs | None


def plan_of(request: CanaryFields, scope: Scope, *, is_saved: bool) -> Plan | None:
    """The plan that a deploy asks for; None when it asks for no canary.

    Raises:
        InvalidRequest: It asks for something that only a canary has, or for a canary that is not kept.
    """
    percent = request.get("canary")
    error_percent, runs = request.get("max_error_percent"), request.get("min_runs")
    if percent is None:
        for field, value in (("max_error_percent", error_percent), ("min_runs", runs)):
            if value is not None:
                raise InvalidRequest(f"{field} is for a canary: say its share of the runs, too, as in 'canary: 10'.")
        return None
    if not is_saved:
        raise InvalidRequest("A canary is kept until it is promoted or aborted: it cannot be deployed without saving.")
    return Plan(
        percent,
        MAX_ERROR_PERCENT if error_percent is None else error_percent,
        MIN_RUNS if runs is None else runs,
        caller_of(scope).name,
    )


def short(trial: Trial | None) -> dict[str, Any] | None:
    """A canary in the list of what is deployed."""
    return None if trial is None else {"version": trial.canary.version, "percent": trial.canary.plan.percent}


def outcome_object(outcome: Outcome | None) -> dict[str, Any] | None:
    """How a canary ended."""
    if outcome is None:
        return None
    counts = outcome.counts
    return {
        "state": outcome.state,
        "version": outcome.canary.version,
        "reason": outcome.reason,
        "is_automatic": outcome.is_automatic,
        "runs": counts.runs,
        "failures": counts.failures,
        "stable_runs": counts.stable_runs,
        "stable_failures": counts.stable_failures,
        "began_at": int(outcome.canary.started_s),
        "ended_at": int(outcome.ended_s),
        "by": outcome.by,
    }
