"""Where a server is in its life, and what it answers before it is ready."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.errors import ServerStarting
from hayhooks.surfaces._http import error_body, route_path, send_json

Phase = Literal["starting", "ready", "draining"]


class Life:
    """Whoever runs the server moves it on; the app and its health checks read it."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        # Builds what is deployed at start, while the server answers already; None when it does so before.
        self.start: asyncio.Task[None] | None = None


def refuse_starting(prefixes: Mapping[str, ASGIApp], shaped: Collection[str], verbs: Mapping[str, ASGIApp]) -> ASGIApp:
    """Answers everything with 503: below the prefixes *shaped*, and to *verbs*, in their protocol's own shape."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        first, _, verb = route_path(scope)[1:].partition("/")
        handler = prefixes[first] if first in shaped else None if first in prefixes else verbs.get(verb)
        if handler is not None and first:
            scope["hayhooks.refusal"] = ServerStarting()
            scope["deployment"] = first
            await handler(scope, receive, send)
            return
        status, body, headers = error_body(ServerStarting(), show_tracebacks=False)
        await send_json(send, status, body, headers)

    return refuse
