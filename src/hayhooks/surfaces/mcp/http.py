"""Streamable HTTP: where each request of a client goes, by the revision that it speaks.

Revisions up to 2025-11-25 have sessions and a stream of their own for what the server tells; they are served here,
without a memory of the session, so that any process may answer. From 2026-07-28 on each request stands for itself,
and the SDK's own transport serves it.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from loguru import logger
from mcp.server.connection import Connection
from mcp.server.runner import serve_one
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp_types import DEFAULT_NEGOTIATED_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from hayhooks.core.errors import HayhooksError, InvalidRequest
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    JSON,
    Header,
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    header,
    read_body,
    replayed,
    require_json,
    send_bytes,
)
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._streams import StreamSender
from hayhooks.surfaces.mcp.asker import SESSION
from hayhooks.surfaces.mcp.changes import LISTS, Changes
from hayhooks.surfaces.mcp.exchange import HEARTBEAT, SSE, Exchange, event_of, notification
from hayhooks.surfaces.mcp.protocol import Protocol
from hayhooks.surfaces.mcp.sessions import Sessions
from hayhooks.surfaces.mcp.wire import (
    CANCELLED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    REFUSED,
    SESSION_HEADER,
    VERSION_HEADER,
    error_body,
)

_EXPOSED: Header = (b"access-control-expose-headers", b"mcp-session-id, mcp-protocol-version, www-authenticate")
_OLD_VERSIONS = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)


class StreamableHTTP:
    """Answers ``/mcp``. Who may come has been decided."""

    def __init__(
        self,
        runtime: Runtime,
        options: HTTPOptions,
        protocol: Protocol,
        manager: StreamableHTTPSessionManager,
        sessions: Sessions,
        changes: Changes,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._protocol = protocol
        self._manager = manager
        self._sessions = sessions
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        version = header(scope, VERSION_HEADER)
        if version is not None and version not in _OLD_VERSIONS:
            await self._modern(scope, receive, send)
            return
        method = scope["method"]
        if method == "POST":
            await self._post(version, scope, receive, send)
        elif method == "GET":
            await self._listen(scope, receive, send)
        elif method == "DELETE":
            session = self._session(scope)
            if session is None:
                raise InvalidRequest("Say in Mcp-Session-Id which session to end.")
            self._sessions.end(session)
            await send_bytes(send, 200, b"")
        else:
            raise MethodNotAllowed("GET", "POST", "DELETE")

    async def _modern(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer; it reads the body again, which has been found to be within its limit."""
        if scope["method"] != "POST":
            await self._manager.handle_request(scope, receive, send)
            return
        require_json(header(scope, b"content-type"))
        body = await read_body(scope, receive, self._options.max_body_bytes)
        # Space around a value is none of it (RFC 9110, section 5.5), and these are compared to the letter.
        scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        load = self._options.load
        load.enter_stream()
        try:
            await self._manager.handle_request(scope, replayed(body, receive), send)
        finally:
            load.leave_stream()

    async def _post(self, version: bytes | None, scope: Scope, receive: Receive, send: Send) -> None:
        if not _accepts(scope, b"application/json", b"text/event-stream"):
            message = "Not Acceptable: Client must accept both application/json and text/event-stream"
            await send_bytes(send, 406, error_body(REFUSED, message))
            return
        require_json(header(scope, b"content-type"))
        body = await read_body(scope, receive, self._options.max_body_bytes)
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            await send_bytes(send, 400, error_body(PARSE_ERROR, "Parse error"))
            return
        fault = _fault(message)
        if fault is not None:
            await send_bytes(send, 400, error_body(INVALID_REQUEST, fault))
            return
        session = self._session(scope) if message.get("method") != "initialize" else None
        if session is not None:
            scope[SESSION] = session
        if "method" not in message or "id" not in message:
            self._note(session, message)
            await send_bytes(send, 202, b"", JSON, _cors(scope))
            return
        await self._exchange(version, session, message, scope, receive, send)

    def _note(self, session: str | None, message: Mapping[str, Any]) -> None:
        """Take note of what asks for no answer."""
        if message.get("method") == "notifications/cancelled" and session is not None:
            request_id = (message.get("params") or {}).get("requestId")
            if isinstance(request_id, (str, int)) and not isinstance(request_id, bool):
                self._sessions.cancel(session, request_id)

    async def _exchange(
        self,
        version: bytes | None,
        session: str | None,
        message: Mapping[str, Any],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        method, params, request_id = message["method"], message.get("params"), message["id"]
        headers = [*_cors(scope)]
        if method == "initialize":
            headers.append((SESSION_HEADER, self._sessions.new(caller_of(scope)).encode()))
        elif session is not None:
            headers.append((SESSION_HEADER, session.encode()))
        # What is negotiated may be anything that there is; later the header says what it was.
        assumed = LATEST_HANDSHAKE_VERSION if method == "initialize" else DEFAULT_NEGOTIATED_VERSION
        spoken = version.decode() if version is not None else assumed
        connection = Connection.from_envelope(spoken, None, None)
        exchange = Exchange(scope, send, self._options, headers, request_id, progress_token_from_params(params))
        done = self._sessions.begin(session, request_id)
        answer: bytes | None = None
        try:
            # The older revisions say that who disconnects does not cancel, as it may come back for the answer. Here
            # it could not: answers are not kept, and a run whose answer nobody gets is stopped, as everywhere.
            async with cancel_on_disconnect(receive):
                try:
                    result = await serve_one(
                        self._protocol, exchange, method, params, connection=connection, lifespan_state={}
                    )
                    answer = msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "result": result})
                except asyncio.CancelledError:
                    if not done():
                        raise
                    answer = error_body(CANCELLED, "The request was cancelled.", request_id)
                except Exception as error:
                    answer = _error_of(error, request_id)
                await exchange.answer(answer)
        finally:
            done()
            exchange.close()

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The stream on which the server tells of its own accord."""
        if not _accepts(scope, b"text/event-stream"):
            await send_bytes(send, 406, error_body(REFUSED, "Not Acceptable: Client must accept text/event-stream"))
            return
        session = self._session(scope)
        headers = [SSE, *_cors(scope)]
        if session is not None:
            headers.append((SESSION_HEADER, session.encode()))
        stream = StreamSender(send, headers, self._options, HEARTBEAT)
        done = self._sessions.open_stream(session)
        task = asyncio.current_task()
        assert task is not None
        closing = _Closing(task)
        unwatch = self._runtime.watch_door(closing)
        try:
            async with cancel_on_disconnect(receive) as watching:
                watching.start()
                await stream.write(b": listening\n\n")
                async for _ in self._changes.rings():
                    await stream.write(b"".join(event_of(notification(method)) for method in LISTS))
        except asyncio.CancelledError:
            if not done() and not closing.was_ours():
                raise
            await stream.end()
        finally:
            unwatch()
            done()
            stream.close()

    def _session(self, scope: Scope) -> str | None:
        """The session that a request names. Raises SessionNotFound: the client has to begin another."""
        given = header(scope, SESSION_HEADER)
        if given is None:
            return None
        session = given.decode("latin-1")
        if not self._sessions.is_valid(session, caller_of(scope)):
            raise SessionNotFound
        return session


class SessionNotFound(HayhooksError):
    """No such session was begun here by this caller, or it has ended."""

    kind = "not_found"

    def __init__(self) -> None:
        super().__init__("Session not found: it has ended, or is another caller's. Initialize a new one.")


class _Closing:
    """Ends a stream when the server stops."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task
        self._has_fired = False

    def __call__(self) -> None:
        self._has_fired = True
        self._task.cancel()

    def was_ours(self) -> bool:
        """Whether the task was cancelled by this, and nobody else."""
        return self._has_fired and self._task.uncancel() == 0


def _fault(message: Any) -> str | None:
    """What keeps *message* from being one of JSON-RPC."""
    if not isinstance(message, dict):
        return "The body must be one JSON-RPC message; batches are not served."
    if message.get("jsonrpc") != "2.0":
        return "'jsonrpc' must be '2.0'."
    if "method" not in message:
        return None if "id" in message and ("result" in message or "error" in message) else "'method' is missing."
    if not isinstance(message["method"], str):
        return "'method' must be a string."
    if not isinstance(message.get("params") or {}, dict):
        return "'params' must be an object."
    if "id" in message and (not isinstance(message["id"], (str, int)) or isinstance(message["id"], bool)):
        return "'id' must be a string or an integer."
    return None


def _error_of(error: Exception, request_id: Any) -> bytes:
    if isinstance(error, MCPError):
        return error_body(error.error.code, error.error.message, request_id, error.error.data)
    if isinstance(error, ValidationError):
        return error_body(INVALID_PARAMS, "Invalid request parameters", request_id)
    if isinstance(error, HayhooksError):
        return error_body(REFUSED, str(error), request_id, {"kind": error.kind})
    logger.opt(exception=error).error("A request of MCP failed")
    return error_body(INTERNAL_ERROR, "Internal server error. The server's log says why.", request_id)


def _accepts(scope: Scope, *media: bytes) -> bool:
    """Whether the caller takes all of these media types."""
    accepted = [
        part.partition(b";")[0].strip().lower()
        for name, value in scope["headers"]
        if name == b"accept"
        for part in value.split(b",")
    ]
    if b"*/*" in accepted:
        return True
    return all(kind in accepted or kind.partition(b"/")[0] + b"/*" in accepted for kind in media)


def _cors(scope: Scope) -> tuple[Header, ...]:
    """What a page may read of the answer, where CORS lets it read any."""
    return (_EXPOSED,) if header(scope, b"origin") is not None else ()
