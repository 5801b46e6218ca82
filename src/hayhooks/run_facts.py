"""What there is to say of a run that has ended: noted at once, written when there is time."""

import asyncio
import time
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

from hayhooks.core.errors import HayhooksError, RunFailed
from hayhooks.core.haystack.convert import usage_of
from hayhooks.core.names import printable
from hayhooks.core.run import Run

_STATUS_KINDS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict", 429: "busy"}


class RunFacts(NamedTuple):
    """Plain values, which keep nothing of the run alive."""

    ended_at: float  # seconds since the epoch
    run_id: str
    request_id: str
    trace_id: str | None
    deployment: str
    version: str
    entry: str
    via: str
    caller: str
    caller_id: str | None
    status: str  # see status_of
    streamed: bool
    passed_s: float
    queued_s: float | None  # None: it never got a slot
    input_tokens: int | None
    output_tokens: int | None

    @classmethod
    def of(cls, run: Run, error: BaseException | None) -> "RunFacts":
        """Those of *run*, which *error* has ended just now."""
        context = run.context
        usage = usage_of(context.usage) if context.usage else None
        caller = context.caller
        return cls(
            time.time(),
            context.run_id,
            context.request_id,
            context.trace_id,
            context.deployment,
            context.version,
            run.entry_name,
            run.via,
            caller.name,
            caller.id,
            "ok" if error is None else status_of(error),
            run.is_streamed,
            perf_counter() - run.began_s,
            run.queued_s,
            usage.prompt_tokens if usage else None,
            usage.completion_tokens if usage else None,
        )

    @property
    def queue_ms(self) -> float:
        """For how long it waited for a slot."""
        return round((self.passed_s if self.queued_s is None else self.queued_s) * 1000, 2)

    @property
    def run_ms(self) -> float:
        """How long it took from then on."""
        return 0.0 if self.queued_s is None else round((self.passed_s - self.queued_s) * 1000, 2)

    def fields(self) -> dict[str, Any]:
        """As fields of a log entry."""
        return {
            "run_id": self.run_id,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "deployment": self.deployment,
            "version": self.version[:12],
            "entry": self.entry,
            "via": self.via,
            "caller": self.caller,
            "caller_id": self.caller_id,
            "status": self.status,
            "streamed": self.streamed,
            "queue_ms": self.queue_ms,
            "run_ms": self.run_ms,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }

    def text(self) -> str:
        """On one line."""
        which = _which(self.deployment, self.version, self.entry, self.via, self.caller, self.status)
        text = f"run={self.run_id} {which} queue_ms={self.queue_ms} run_ms={self.run_ms}"
        if self.input_tokens is not None:
            text += f" input_tokens={self.input_tokens} output_tokens={self.output_tokens}"
        if self.streamed:
            text += " streamed"
        if self.request_id != self.run_id:
            text += f" request_id={self.request_id}"
        if self.trace_id is not None:
            text += f" trace_id={self.trace_id}"
        return text


@lru_cache(maxsize=256)
def _which(deployment: str, version: str, entry: str, via: str, caller: str, status: str) -> str:
    """What many runs have in common."""
    shown = printable(caller, 64)
    return (
        f"deployment={deployment} version={version[:12]} entry={entry} via={via} "
        f"caller={shown if ' ' not in shown else repr(shown)} status={status}"
    )


def status_of(error: BaseException) -> str:
    """How a run ended, in a word: cancelled by its caller, or the kind of its error."""
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    cause = error.__cause__
    if isinstance(error, RunFailed) and is_answer(cause):
        code = int(getattr(cause, "status_code", 500))
        return _STATUS_KINDS.get(code, "invalid" if code < 500 else "failed")
    return error.kind if isinstance(error, HayhooksError) else "failed"


def is_answer(cause: BaseException | None) -> bool:
    """Whether the user's code raised an HTTPException: an answer, not an accident."""
    return hasattr(cause, "status_code") and hasattr(cause, "detail")
