"""Connections that stay open, as on standard input and output: they are told of changes as these come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from mcp.server.session import ServerSession

from hayhooks.surfaces.mcp.changes import Changes

_SESSIONS = "sessions"  # of a connection, in what the SDK calls its lifespan: one, once the handshake is done


def telling(changes: Changes) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan for the SDK's server, which it enters for each such connection: inside, the client is told."""

    @asynccontextmanager
    async def connected(_: Any) -> AsyncIterator[dict[str, Any]]:
        sessions: list[ServerSession] = []
        task = asyncio.ensure_future(_tell(changes, sessions))
        try:
            yield {_SESSIONS: sessions}
        finally:
            task.cancel()

    return connected


async def on_initialized(context: Any, params: Any) -> None:
    """Remember a client that has shaken hands on a connection of this kind; a handler of the SDK's server."""
    context.lifespan_context[_SESSIONS].append(context.session)


async def _tell(changes: Changes, sessions: list[ServerSession]) -> None:
    async for _ in changes.rings():
        for session in sessions[:1]:  # never raises: a client that has gone hears nothing
            await session.send_tool_list_changed()
            await session.send_resource_list_changed()
            await session.send_prompt_list_changed()
