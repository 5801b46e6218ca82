"""Who asks, and in which conversation: the same facts for every transport."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from hayhooks.core.context import NO_SESSION, Session, Trace
from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import LOCAL, Principal
from hayhooks.surfaces._http import caller_of, trace_of, trace_of_parent

Check = Callable[[Scope], None]
SESSION = "hayhooks.mcp.session"  # in the scope of a request of a session


@dataclass(frozen=True, slots=True)
class Asker:
    """The one behind a request. On standard input and output there is no HTTP, and it is who started the server."""

    caller: Principal
    scope: Scope | None
    session: Session
    trace: Trace
    check_change: Check

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Of the HTTP request."""
        return self.scope["headers"] if self.scope is not None else ()

    @property
    def manager(self) -> Principal | None:
        """Who it is as far as managing the server goes; None when it may not."""
        try:
            return self.require_manager()
        except HayhooksError:
            return None

    def require_manager(self) -> Principal:
        """The same. Raises Unauthorized, Forbidden or Misdirected, with what the caller can do."""
        if self.scope is None:
            return self.caller
        scope = dict(self.scope)  # programs of this machine are somebody else there than for runs
        self.check_change(scope)
        return caller_of(scope)


def asker_of(context: Any, check_change: Check) -> Asker:
    """Who sent the request that the SDK hands over in *context*."""
    request = context.request
    meta: Mapping[str, Any] = (context.params or {}).get("_meta") or {}
    if request is None:
        return Asker(LOCAL, None, NO_SESSION, trace_of_parent(meta.get("traceparent")), check_change)
    scope: Scope = request.scope
    trace = trace_of(scope)
    # The message's own parent is nearer than the request's: one connection carries many.
    inner = trace_of_parent(meta.get("traceparent"))
    if inner.trace_id is not None:
        trace = Trace(trace.request_id, inner.trace_id)
    session_id = scope.get(SESSION)
    return Asker(caller_of(scope), scope, Session(session_id) if session_id else NO_SESSION, trace, check_change)
