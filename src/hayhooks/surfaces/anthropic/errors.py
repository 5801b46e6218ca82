"""Errors in Anthropic's shape: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

Source: Anthropic API reference, "Errors", and the statuses that its SDKs know.
"""

import json
from typing import Any

from hayhooks.core.errors import DeploymentNotFound, EntryNotFound, HayhooksError, Kind
from hayhooks.surfaces._http import (
    REQUEST_ID,
    STATUS,
    Header,
    MethodNotAllowed,
    http_headers,
    retry_headers,
    traceback_of,
    user_http_exception,
)

_STATUSES: dict[Kind, int] = {**STATUS, "invalid": 400, "unavailable": 529}
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_answer(
    error: BaseException, request_id: str, *, show_tracebacks: bool
) -> tuple[int, dict[str, Any], list[Header]]:
    """Status, body and headers for *error*; an HTTPException of the user's keeps its status and text."""
    status, message, headers = _told(error, show_tracebacks)
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    named = request_headers(request_id)
    return status, body, [*(pair for pair in headers if pair[0] != REQUEST_ID), *named]


def request_headers(request_id: str) -> tuple[Header, ...]:
    """The headers that name the request: the API's, and the one that all our answers have."""
    return (b"request-id", request_id.encode()), (REQUEST_ID, request_id.encode())


def _told(error: BaseException, show_tracebacks: bool) -> tuple[int, str, list[Header]]:
    own = user_http_exception(error)
    if own is not None:
        detail = own.detail if isinstance(own.detail, str) else json.dumps(own.detail, default=str)
        return own.status_code, detail, http_headers(own, error)
    if isinstance(error, MethodNotAllowed):
        return 405, f"Method not allowed. {error}", [(b"allow", ", ".join(error.allowed).encode())]
    if isinstance(error, (DeploymentNotFound, EntryNotFound)):
        return 404, f"The model '{error.name}' does not exist or does not answer here.", []
    if not isinstance(error, HayhooksError):
        return 500, "Internal server error. The server's log says why.", []
    trace = traceback_of(error) if show_tracebacks else None
    message = str(error) if trace is None else f"{error}\n{trace}"
    return _STATUSES[error.kind], message, retry_headers(error)
