"""Connections that stay open, as on standard input and output: they are told of changes as these come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from mcp.server.session import ServerSession

from hayhooks.surfaces.mcp.changes import Changes

# The sessions of the connection that the current code belongs to: one, once its handshake is done.
_connected: ContextVar[list[ServerSession] | None] = ContextVar("hayhooks_mcp_connected", default=None)


async def on_initialized(context: Any, params: Any) -> None:
    """Remember a client that has shaken hands on a connection of this kind; a handler of the SDK's server."""
    sessions = _connected.get()
    if sessions is not None and not sessions:
        sessions.append(context.session)


@asynccontextmanager
async def told_of(changes: Changes) -> AsyncIterator[None]:
    """Tell the client that is connected inside the block."""
    sessions: list[ServerSession] = []
    token = _connected.set(sessions)
    telling = asyncio.ensure_future(_tell(changes, sessions))
    try:
        yield
    finally:
        telling.cancel()
        _connected.reset(token)


async def _tell(changes: Changes, sessions: list[ServerSession]) -> None:
    async for _ in changes.rings():
        for session in sessions:  # never raises: a client that has gone hears nothing
            await session.send_tool_list_changed()
            await session.send_resource_list_changed()
            await session.send_prompt_list_changed()
