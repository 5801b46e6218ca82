"""What answers ``/mcp``, and for older clients ``/sse`` and ``/messages/``."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from loguru import logger
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.errors import DeploymentNotFound
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions, errors_answered, route_path
from hayhooks.surfaces.mcp.asker import Check
from hayhooks.surfaces.mcp.changes import Changes
from hayhooks.surfaces.mcp.http import StreamableHTTP
from hayhooks.surfaces.mcp.protocol import Protocol
from hayhooks.surfaces.mcp.sessions import Sessions
from hayhooks.surfaces.mcp.sse import EventStreams
from hayhooks.surfaces.mcp.wire import PATH, Refuse

# Who may come is decided before, by rules that hold for all protocols.
_DECIDED_BEFORE = TransportSecuritySettings(enable_dns_rebinding_protection=False)


@asynccontextmanager
async def serve(
    runtime: Runtime,
    options: HTTPOptions,
    sessions: Sessions,
    check_change: Check,
    refuse: Refuse,
    *,
    serves_sse: bool = False,
) -> AsyncIterator[ASGIApp]:
    """The paths of MCP. *check_change* raises for those who may not manage the server.

    With *serves_sse* the transport of 2024-11-05 is served, too, whose sessions live in this process.
    """
    changes = Changes(runtime)
    protocol = Protocol(runtime, options, changes, check_change)
    manager = StreamableHTTPSessionManager(
        protocol, stateless=True, security_settings=_DECIDED_BEFORE, max_request_body_size=options.max_body_bytes
    )
    http = StreamableHTTP(runtime, options, protocol, manager, sessions, changes)
    sse = EventStreams(runtime, options, protocol, _DECIDED_BEFORE) if serves_sse else None

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if path in (PATH, PATH + "/"):
            await http(scope, receive, send)
        elif sse is not None and path == "/sse":
            await sse.connect(scope, receive, send)
        elif sse is not None and path in ("/messages", "/messages/"):
            await sse.post(scope, receive, send)
        else:
            raise _Nowhere(path)

    async def fail(error: BaseException, send: Send) -> None:
        await refuse(error, {"type": "http", "headers": []}, send)  # who needs a token was told before it came here

    async with AsyncExitStack() as stack:
        stack.enter_context(changes.watching())
        stack.callback(runtime.watch_door(protocol.listening.close))
        await stack.enter_async_context(manager.run())
        yield errors_answered(answer, fail, _log)


class _Nowhere(DeploymentNotFound):
    def __init__(self, path: str) -> None:
        Exception.__init__(self, f"Nothing answers at {path[:120]!r}: MCP is at {PATH}.")


def _log(what: str, error: BaseException) -> None:
    logger.opt(exception=error).error("{}", what)
