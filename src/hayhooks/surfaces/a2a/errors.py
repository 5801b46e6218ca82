"""Errors in the words of A2A: JSON-RPC errors, or for the HTTP+JSON binding those of AIP-193.

What the protocol has no error for (no key, too busy, ...) is told by the HTTP status, with a body in the same shape.
Sources: A2A specification 1.0, sections 5.4, 9.5 and 11.6; google.rpc.Code.
"""

from typing import Any

from hayhooks.core.errors import Kind, NotJSON
from hayhooks.surfaces._http import STATUS, Header, error_body

DOMAIN = "a2a-protocol.org"
_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_SERVER_ERROR = -32000  # of the range that JSON-RPC leaves to servers
_CODES: dict[Kind, int] = {"invalid": -32602, "failed": -32603}
_CONTENT_TYPE = (-32005, "CONTENT_TYPE_NOT_SUPPORTED")  # which the protocol has for a body's type as for a part's
# By HTTP status: what google.rpc calls it.
_NAMES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 409: "ALREADY_EXISTS", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT",
    421: "FAILED_PRECONDITION", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def rpc_error(
    error: BaseException, request_id: str | int | None, *, show_tracebacks: bool
) -> tuple[int, dict[str, Any], list[Header]]:
    """Status, body and headers of a JSON-RPC answer that says *error*."""
    status, body, headers = error_body(error, show_tracebacks=show_tracebacks)
    code = _CONTENT_TYPE[0] if isinstance(error, NotJSON) else _CODES.get(body["kind"], _SERVER_ERROR)
    # A caller's mistake in what it says is an answer like any other; what concerns the connection has a status.
    is_answer = status == STATUS["invalid"]
    told = {"code": code, "message": _text(body), "data": [_info(error, body)]}
    return 200 if is_answer else status, {"jsonrpc": "2.0", "id": request_id, "error": told}, headers


def rest_error(error: BaseException, *, show_tracebacks: bool) -> tuple[int, dict[str, Any], list[Header]]:
    """The same for the HTTP+JSON binding."""
    status, body, headers = error_body(error, show_tracebacks=show_tracebacks)
    status = 400 if status == STATUS["invalid"] else status
    told = {
        "code": status,
        "status": _NAMES.get(status, "UNKNOWN"),
        "message": _text(body),
        "details": [_info(error, body)],
    }
    return status, {"error": told}, headers


def _text(body: dict[str, Any]) -> str:
    detail = body["detail"]
    return detail if isinstance(detail, str) else str(detail)


def _info(error: BaseException, body: dict[str, Any]) -> dict[str, Any]:
    metadata = {"traceback": body["traceback"]} if "traceback" in body else {}
    reason = _CONTENT_TYPE[1] if isinstance(error, NotJSON) else str(body["kind"]).upper()
    return {"@type": _INFO, "reason": reason, "domain": DOMAIN, "metadata": metadata}
