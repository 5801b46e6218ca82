"""Errors in OpenAI's shape: ``{"error": {"message", "type", "code", "param"}}``.

Statuses follow the API rather than our REST surface: a bad body is 400, an unknown model 404. Source: OpenAI API
reference, "Error codes", and what SDKs retry (408, 409, 429 and 5xx).
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope, Send

from hayhooks.core.errors import (
    DeploymentNotFound,
    EntryNotFound,
    HayhooksError,
    InvalidRequest,
    KeptFileNotFound,
    Kind,
)
from hayhooks.surfaces._http import (
    STATUS,
    Header,
    HTTPOptions,
    MethodNotAllowed,
    http_headers,
    retry_headers,
    send_json,
    traceback_of,
    user_http_exception,
)

_TYPES: dict[Kind, str] = {
    "busy": "rate_limit_error",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "failed": "server_error",
    "timeout": "server_error",
    "unavailable": "server_error",
}
_TYPES_BY_STATUS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refused(HayhooksError):
    """What the API refuses with a status and a code of its own."""

    kind = "invalid"

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


def error_answer(error: BaseException, *, show_tracebacks: bool) -> tuple[int, dict[str, Any], list[Header]]:
    """Status, body and headers for *error*; an HTTPException of the user's keeps its status and text."""
    own = user_http_exception(error)
    if own is not None:
        detail = own.detail if isinstance(own.detail, str) else json.dumps(own.detail, default=str)
        default = "server_error" if own.status_code >= 500 else "invalid_request_error"
        kind = _TYPES_BY_STATUS.get(own.status_code, default)
        return own.status_code, error_object(detail, kind, None), http_headers(own, error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(error.allowed).encode()
        return 405, error_object(str(error), "invalid_request_error", "method_not_allowed"), [(b"allow", allowed)]
    if isinstance(error, (DeploymentNotFound, EntryNotFound)):
        message = f"The model '{error.name}' does not exist or does not answer here."
        return 404, error_object(message, "invalid_request_error", "model_not_found", "model"), []
    if isinstance(error, KeptFileNotFound):
        return 404, error_object(str(error), "invalid_request_error", "file_not_found", "id"), []
    if isinstance(error, InvalidRequest):
        param = None
        if error.errors:
            param = ".".join(str(part) for part in error.errors[0]["loc"] if part != "body") or None
        return 400, error_object(str(error), "invalid_request_error", "invalid_body", param), []
    if isinstance(error, Refused):
        return error.status, error_object(str(error), "invalid_request_error", error.code, error.param), []
    if isinstance(error, HayhooksError):
        message = str(error)
        trace = traceback_of(error) if show_tracebacks else None
        if trace is not None:
            message = f"{message}\n{trace}"
        return (
            STATUS[error.kind],
            error_object(message, _TYPES.get(error.kind, "invalid_request_error"), _code(error.kind)),
            retry_headers(error),
        )
    message = "Internal server error. The server's log says why."
    return 500, error_object(message, "server_error", "internal_error"), []


def refuse(options: HTTPOptions) -> Callable[[BaseException, Scope, Send], Awaitable[None]]:
    """What answers with an error in this API's shape."""

    async def answer(error: BaseException, _scope: Scope, send: Send) -> None:
        status, body, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    return answer


def error_object(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """The error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _code(kind: Kind) -> str:
    return {"failed": "run_failed", "busy": "deployment_busy", "timeout": "run_timeout"}.get(kind, kind)
