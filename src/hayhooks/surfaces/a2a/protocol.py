"""Everything that needs the A2A library, put together: it takes a second to import, and is so when first needed."""

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

# Before the library is imported: it would make spans of its own for each call, beside the run's.
os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")

from a2a.server.context import ServerCallContext
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.server.tasks import DatabasePushNotificationConfigStore
from sse_starlette.event import ensure_bytes
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from hayhooks.core.deployment import Deployment
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import Header, HTTPOptions, MethodNotAllowed
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._streams import StreamSender
from hayhooks.surfaces.a2a.claims import Claims
from hayhooks.surfaces.a2a.database import Database, Kept
from hayhooks.surfaces.a2a.executor import Executor
from hayhooks.surfaces.a2a.handler import Handler
from hayhooks.surfaces.a2a.live import LiveTasks
from hayhooks.surfaces.a2a.push import PushSender, Targets
from hayhooks.surfaces.a2a.tasks import Tasks
from hayhooks.surfaces.a2a.version_0_3 import Dispatcher, rest_routes
from hayhooks.surfaces.a2a.visit import KEY, Contexts, Visit, owner_of, visit_of

_SSE: Header = (b"content-type", b"text/event-stream; charset=utf-8")
_HEARTBEAT = b": still working\n\n"

# What it has to tell goes to callers as errors, or to the log as ours; its own lines would repeat what callers send.
logging.getLogger("a2a").setLevel(logging.CRITICAL)


class Protocol:
    """Answers the requests of all agents, over JSON-RPC and HTTP+JSON. Event loop only."""

    def __init__(
        self,
        runtime: Runtime,
        options: HTTPOptions,
        kept: Kept,
        targets: Targets,
        extended_card: Callable[[Visit], dict[str, Any] | None],
        *,
        speaks_0_3: bool,
    ) -> None:
        self._options = options
        self._database = Database(kept)
        self._claims = Claims(kept)
        self._tasks = Tasks(self._database, self._claims)
        live = LiveTasks(self._tasks)
        self._executor = Executor(runtime, live, self._claims, show_tracebacks=options.show_tracebacks)
        # The table is there in any case: what a task leaves goes with it.
        self._configs = DatabasePushNotificationConfigStore(
            self._database.engine, owner_resolver=lambda context: visit_of(context).owner
        )
        self._push = PushSender(self._configs, targets) if targets else None

        def card(context: ServerCallContext) -> dict[str, Any] | None:
            return extended_card(visit_of(context))

        self._handler = Handler(
            self._executor,
            live,
            card,
            self._configs if targets else None,
            self._push,
            targets.is_allowed if targets else None,
        )
        contexts = Contexts()
        self._rpc = Dispatcher(self._handler, contexts, speaks_0_3=speaks_0_3)
        routes = create_rest_routes(self._handler, contexts)
        self._routes = [route for route in routes if isinstance(route, Route)]
        if speaks_0_3:
            self._routes += rest_routes(self._handler, contexts)

    async def open(self) -> None:
        """Open the database. When it cannot be, this raises, and all is closed again."""
        try:
            await self._database.open([self._tasks.initialize, self._configs.initialize])
            await self._claims.open()
        except BaseException:
            await self._close_stores()
            raise

    async def close(self, finish_s: float) -> None:
        """Let what runs finish for *finish_s* seconds, end the rest, close the database."""
        await self._executor.stop(finish_s)
        await self._handler.aclose()
        await self._close_stores()

    async def rpc(
        self, agent: Deployment, caller: Principal, url: str, scope: Scope, receive: Receive, send: Send,
        *, is_streamed: bool
    ) -> None:  # fmt: skip
        """Answer a JSON-RPC request. Raises what the run of it could not begin for."""
        visit = Visit(agent, caller, scope, url, owner_of(agent.name, caller), is_streamed=is_streamed)
        await self._answer(visit, self._rpc.handle_requests, {}, receive, send)

    async def rest(
        self, agent: Deployment, caller: Principal, url: str, path: str, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        """Answer a request of the HTTP+JSON binding for *path*; False when it has no such path. Raises as ``rpc``."""
        inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
        allowed: list[str] = []
        for route in self._routes:
            match, more = route.matches(inner)
            if match is Match.FULL:
                is_streamed = path.endswith((":stream", ":subscribe"))
                visit = Visit(agent, caller, scope, url, owner_of(agent.name, caller), is_streamed=is_streamed)
                await self._answer(visit, route.endpoint, more["path_params"], receive, send)
                return True
            if match is Match.PARTIAL:
                allowed += route.methods or ()
        if allowed:
            raise MethodNotAllowed(*sorted(set(allowed) - {"HEAD"}))
        return False

    async def _close_stores(self) -> None:
        if self._push is not None:
            await self._push.close()
        await self._claims.close()
        await self._database.close()

    async def _answer(
        self, visit: Visit, endpoint: Any, path_params: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        scope = {**visit.scope, KEY: visit, "path_params": path_params}
        # A place among the streams before anything begins: when there is none, nothing does.
        sender = StreamSender(send, (_SSE,), self._options, _HEARTBEAT) if visit.is_streamed else None
        try:
            response: Response = await endpoint(Request(scope, receive))
            if visit.refusal is not None and not isinstance(response, EventSourceResponse):
                raise visit.refusal
            if sender is not None and isinstance(response, EventSourceResponse):
                await _stream(response.body_iterator, visit, sender, receive)
            else:
                await response(scope, receive, send)
        finally:
            if sender is not None:
                sender.close()


async def _stream(events: Any, visit: Visit, sender: StreamSender, receive: Receive) -> None:
    """Send *events* until they end or the caller leaves; the task goes on in any case."""
    async with cancel_on_disconnect(receive) as watching, aclosing(_encoded(events)) as encoded:
        watching.start()
        async for event in encoded:
            if visit.refusal is not None and not sender.has_begun:  # 0.3 has it as its only event
                raise visit.refusal
            await sender.write(event)
        await sender.end()


async def _encoded(events: Any) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            yield ensure_bytes(event, "\n")
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
