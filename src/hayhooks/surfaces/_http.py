"""What HTTP surfaces share: reading bodies, sending whole answers, and the one shape of an error."""

import asyncio
import json
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import to_jsonable_python
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hayhooks.core.context import NO_TRACE, Trace
from hayhooks.core.deployment import Limits
from hayhooks.core.errors import (
    Forbidden,
    HayhooksError,
    InvalidRequest,
    Kind,
    NotJSON,
    RunFailed,
    ServerStopping,
    TooLarge,
    UnsupportedEncoding,
)
from hayhooks.core.load import Load
from hayhooks.core.names import printable
from hayhooks.core.principal import ANONYMOUS, Principal
from hayhooks.core.run import Run

Header = tuple[bytes, bytes]
CALLER = "hayhooks.caller"  # in the scope of a request

STATUS: dict[Kind, int] = {
    "invalid": 422,
    "not_found": 404,
    "conflict": 409,
    "busy": 429,
    "failed": 500,
    "timeout": 504,
    "forbidden": 403,
    "unauthorized": 401,
    "too_large": 413,
    "unsupported": 415,
    "misdirected": 421,
    "unavailable": 503,
}

_BODILESS = (204, 205, 304)  # an HTTPException may have any status

REQUEST_ID = b"x-request-id"
# Both go into logs and headers of answers: what does not look like one is not taken.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@~-]{1,128}")
# Source: W3C Trace Context, "traceparent Header Field Values"; later versions may append fields.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

JSON: Header = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """What the server's owner decides about HTTP, handed to the surfaces as plain values."""

    max_body_bytes: int = 100 * 1024 * 1024
    max_upload_bytes: int = 10 * 1024 * 1024 * 1024
    heartbeat_s: float = 15.0
    show_tracebacks: bool = False
    events: Literal["auto", "chunk", "bare", "off"] = "auto"  # their form in chat streams whose caller names none
    load: Load = field(default_factory=Load)

    def body_limit(self, limits: Limits) -> int:
        """The longest body that a deployment with these *limits* takes."""
        return self.max_body_bytes if limits.max_body_bytes is None else limits.max_body_bytes

    def upload_limit(self, limits: Limits) -> int:
        """The longest form with files that it takes."""
        return self.max_upload_bytes if limits.max_upload_bytes is None else limits.max_upload_bytes


class MethodNotAllowed(Exception):
    """The path exists, with other methods."""

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"Use {', '.join(allowed)}.")
        self.allowed = allowed


class ClientGone(Exception):
    """The caller left before the request was read."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value  # type: ignore[no-any-return]
    return None


def caller_of(scope: Scope) -> Principal:
    """Who calls, as the server found out before it handed the request on."""
    caller: Principal = scope.get(CALLER, ANONYMOUS)
    return caller


def trace_of(scope: Scope) -> Trace:
    """How the request is known to its caller: by its ``X-Request-ID`` and ``traceparent``, where they are valid."""
    request_id = trace_id = None
    for key, value in scope["headers"]:
        if key == REQUEST_ID:
            request_id = value.decode() if _REQUEST_ID.fullmatch(value) else None
        elif key == b"traceparent":
            match = _TRACEPARENT.fullmatch(value)
            trace_id = match[1].decode() if match else None
    return Trace(request_id, trace_id) if request_id or trace_id else NO_TRACE


def trace_of_parent(parent: object) -> Trace:
    """The trace that a ``traceparent`` names which did not come as a header."""
    match = _TRACEPARENT.fullmatch(parent.encode("utf-8", "replace")) if isinstance(parent, str) else None
    return Trace(None, match[1].decode()) if match else NO_TRACE


def request_id_header(run: Run) -> Header:
    """The header by which an answer names its run: with the caller's id of the request when it gave one."""
    return (REQUEST_ID, run.context.request_id.encode())


def route_path(scope: Scope) -> str:
    """The request's path below the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path


def require(scope: Scope, *methods: str) -> None:
    """Raise MethodNotAllowed unless the request uses one of *methods*."""
    if scope["method"] not in methods:
        raise MethodNotAllowed(*methods)


def require_deploy(scope: Scope, name: str) -> None:
    """Raise Forbidden unless the caller may deploy under *name*, there or not."""
    caller = caller_of(scope)
    if not caller.may("deploy", name):
        raise Forbidden(f"The key {caller.name!r} may not deploy {name[:80]!r}.")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: It is longer than *limit* bytes; what is over is not kept.
        UnsupportedEncoding: It is compressed.
        ClientGone: The caller left.
    """
    require_plain(scope)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """*receive* once more from the start, of a request whose body has been read."""
    is_read = False

    async def again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def require_size(body: bytes, limits: Limits) -> None:
    """Raise TooLarge when a body that named its deployment itself is longer than that one takes."""
    if limits.max_body_bytes is not None and len(body) > limits.max_body_bytes:
        raise _too_large(limits.max_body_bytes)


def require_plain(scope: Scope) -> None:
    """Raise UnsupportedEncoding when the body is compressed."""
    encoding = header(scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedEncoding


def require_json(kind: bytes | None) -> None:
    """Refuse a body whose content type says that it is something else than JSON.

    A browser sends other types across origins without asking first; JSON it must ask for.
    """
    if kind is None or kind == b"application/json":
        return
    media = kind.split(b";", 1)[0].strip().lower()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise NotJSON(
            f"Send JSON with 'Content-Type: application/json', not {media.decode('latin-1')[:80]!r}.",
            [{"loc": ["header", "content-type"], "msg": "Must be application/json", "type": "content_type"}],
        )


async def send_bytes(
    send: Send, status: int, body: bytes, content_type: Header = JSON, headers: Iterable[Header] = ()
) -> None:
    """One whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [content_type, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, value: Any, headers: Iterable[Header] = ()) -> None:
    """One whole answer of JSON."""
    if status in _BODILESS:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})
        return
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    await send_bytes(send, status, body, JSON, headers)


def error_body(error: BaseException, *, show_tracebacks: bool) -> tuple[int, dict[str, Any], list[Header]]:
    """Status, body and headers for *error*: ``{"detail", "kind"}``, plus ``errors`` when a body did not fit.

    A user's own HTTPException passes through with its status, detail and headers.
    """
    own = user_http_exception(error)
    if own is not None:
        kind = next((kind for kind, status in STATUS.items() if status == own.status_code), "failed")
        detail: Any = own.detail  # FastAPI's takes any value
        if not isinstance(detail, str):
            detail = to_jsonable_python(detail, inf_nan_mode="null", fallback=str)
        return own.status_code, {"detail": detail, "kind": kind}, http_headers(own, error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(error.allowed)
        return 405, {"detail": f"Method not allowed. {error}", "kind": "invalid"}, [(b"allow", allowed.encode())]
    if not isinstance(error, HayhooksError):
        return 500, {"detail": "Internal server error. The server's log says why.", "kind": "failed"}, []
    body: dict[str, Any] = {"detail": str(error), "kind": error.kind}
    if isinstance(error, InvalidRequest) and error.errors:
        body["errors"] = error.errors
    trace = traceback_of(error) if show_tracebacks else None
    if trace is not None:
        body["traceback"] = trace
    return STATUS[error.kind], body, retry_headers(error)


def refuse(options: HTTPOptions) -> Callable[[BaseException, Scope, Send], Awaitable[None]]:
    """What answers with an error in the shape of REST."""

    async def answer(error: BaseException, _scope: Scope, send: Send) -> None:
        status, body, headers = error_body(error, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    return answer


def retry_headers(error: HayhooksError) -> list[Header]:
    """Headers that tell a caller when to come back, how to identify itself, and which run it was."""
    headers: list[Header] = [(b"www-authenticate", b"Bearer")] if error.kind == "unauthorized" else []
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    if getattr(error, "closes_connection", False):
        headers.append((b"connection", b"close"))
    if error.request_id is not None:
        headers.append((REQUEST_ID, error.request_id.encode()))
    return headers


def user_http_exception(error: BaseException) -> HTTPException | None:
    """The HTTPException that the user's code raised, on purpose, to answer with."""
    cause = error.__cause__ if isinstance(error, RunFailed) else error
    return cause if isinstance(cause, HTTPException) else None


def http_headers(own: HTTPException, error: BaseException) -> list[Header]:
    """The headers of the user's HTTPException behind *error*, and which run it was."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (own.headers or {}).items()]
    request_id = getattr(error, "request_id", None)
    if request_id is not None and REQUEST_ID not in dict(headers):
        headers.append((REQUEST_ID, request_id.encode()))
    return headers


def traceback_of(error: BaseException) -> str | None:
    """The traceback of the user's code behind *error*, when there is one."""
    cause = error.__cause__
    return "".join(traceback.format_exception(cause)) if cause is not None else None


def errors_answered(
    app: ASGIApp, answer: Callable[[BaseException, Send], Awaitable[None]], log: Callable[[str, BaseException], None]
) -> ASGIApp:
    """*app* with every exception turned into an answer by *answer*, as long as none has begun."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                if message.get("status", 200) >= 400:
                    name_request(message, scope)
            await send(message)

        try:
            await app(scope, receive, watched)
        except ClientGone:
            return
        except asyncio.CancelledError as error:
            # uvicorn says why it cancels what outlives its patience; any other canceller wants to hear of it.
            if has_begun or "shutdown" not in str(error):
                raise
            await answer(ServerStopping(), watched)
        except Exception as error:
            if not isinstance(error, (HayhooksError, HTTPException, MethodNotAllowed)):
                log(f"{scope['method']} {printable(scope['path'])} failed", error)
            if has_begun:
                raise
            await answer(error, watched)

    return guarded


def name_request(message: Message, scope: Scope) -> None:
    """Let an error that is no run's carry the id that the caller gave its request."""
    headers = message.get("headers", ())
    if all(name != REQUEST_ID for name, _ in headers):
        request_id = trace_of(scope).request_id
        if request_id is not None:
            message["headers"] = [*headers, (REQUEST_ID, request_id.encode())]


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")
