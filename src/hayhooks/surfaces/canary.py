"""Canary surface: how a canary fares, its share, promoting and aborting it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from hayhooks.core.canary import Outcome, Plan
from hayhooks.core.errors import HayhooksError, InvalidRequest
from hayhooks.core.runtime import Runtime
from hayhooks.core.trial import Trial
from hayhooks.surfaces._canary import ErrorPercent, Percent, Runs, outcome_object
from hayhooks.surfaces._http import (
    HTTPOptions,
    caller_of,
    header,
    read_body,
    require,
    require_deploy,
    require_json,
    route_path,
    send_json,
)
from hayhooks.surfaces._rest_errors import rest_errors_answered

PREFIX = "canary"


@with_config(ConfigDict(extra="forbid"))
class ChangeCanary(TypedDict, total=False):
    """Body of ``POST /canary/{name}``."""

    percent: Percent
    max_error_percent: ErrorPercent
    min_runs: Runs


_CHANGE: TypeAdapter[ChangeCanary] = TypeAdapter(ChangeCanary)


def is_read(scope: Scope) -> bool:
    """Whether a request only asks; others change what is served."""
    return scope["method"] in ("GET", "HEAD")


def checking(check_read: Callable[[Scope], None], check_change: Callable[[Scope], None]) -> Callable[[Scope], None]:
    """One check for both kinds of requests."""
    return lambda scope: (check_read if is_read(scope) else check_change)(scope)


@asynccontextmanager
async def serve(runtime: Runtime, options: HTTPOptions) -> AsyncIterator[ASGIApp]:
    """Answers below ``/canary``. Who may ask is decided before it is reached."""
    canaries = runtime.canaries

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        _, _, rest = route_path(scope)[1:].partition("/")
        match [unquote(part) for part in rest.split("/")]:
            case [name] if is_read(scope):
                runtime.find(name, caller_of(scope), "read")
            case [name]:
                require(scope, "GET", "HEAD", "POST")
                require_deploy(scope, name)
                change = await _read_change(scope, receive, options)
                await canaries.change(name, lambda plan: _changed(plan, change))
            case [name, "promote"]:
                require(scope, "POST")
                require_deploy(scope, name)
                outcome = await canaries.promote(name, by=caller_of(scope).name, by_id=caller_of(scope).id)
                await send_json(send, 200, _ended(outcome))
                return
            case [name, "abort"]:
                require(scope, "POST")
                require_deploy(scope, name)
                outcome = await canaries.abort(name, by=caller_of(scope).name)
                await send_json(send, 200, _ended(outcome))
                return
            case _:
                raise UnknownPath(scope["path"])
        trial, last = await canaries.look(name)
        await send_json(send, 200, canary_object(name, trial, last))

    yield rest_errors_answered(api, options)


class UnknownPath(HayhooksError):
    """Nothing answers at this path."""

    kind = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Nothing answers at {path[:120]!r}.")


def canary_object(name: str, trial: Trial | None, last: Outcome | None) -> dict[str, Any]:
    """The canary of *name*, its counts and those of the stable version since it began, and the one before."""
    body: dict[str, Any] = {"name": name, "state": "none", "last_outcome": outcome_object(last)}
    if trial is None:
        return body
    canary, counts = trial.canary, trial.counts
    return {
        **body,
        "state": "running" if trial.is_open else "aborting",
        "version": canary.version,
        "stable_version": canary.stable,
        "percent": canary.plan.percent,
        "max_error_percent": canary.plan.max_error_percent,
        "min_runs": canary.plan.min_runs,
        "began_at": int(canary.started_s),
        "by": canary.plan.by,
        "runs": counts.runs,
        "failures": counts.failures,
        "error_percent": round(counts.error_percent, 2),
        "stable_runs": counts.stable_runs,
        "stable_failures": counts.stable_failures,
        "stable_error_percent": round(counts.stable_error_percent, 2),
    }


def _ended(outcome: Outcome) -> dict[str, Any]:
    return {"name": outcome.canary.name, **(outcome_object(outcome) or {})}


async def _read_change(scope: Scope, receive: Receive, options: HTTPOptions) -> ChangeCanary:
    require_json(header(scope, b"content-type"))
    try:
        change = _CHANGE.validate_json(await read_body(scope, receive, options.max_body_bytes), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("body", *first["loc"]))
        raise InvalidRequest(f"{where}: {first['msg']}") from None
    if not change:
        raise InvalidRequest("Say what to change: percent, max_error_percent or min_runs.")
    return change


def _changed(plan: Plan, change: ChangeCanary) -> Plan:
    return replace(plan, **change)
