"""MCP: at ``/mcp`` on the main port, or on a port of its own."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from starlette.types import ASGIApp, Scope

from hayhooks.core.principal import ANONYMOUS
from hayhooks.core.runtime import Runtime
from hayhooks.server.dispatch import Door
from hayhooks.server.doors import Doors, Parts
from hayhooks.server.extras import MCP
from hayhooks.server.lazy import Lazy
from hayhooks.server.shared_doors import health_door, status_doors
from hayhooks.surfaces import health
from hayhooks.surfaces.mcp import wire

_SECRET = "mcp-sessions.key"  # noqa: S105 - a file's name


def beside_others(parts: Parts, stack: AsyncExitStack) -> Mapping[str, Door]:
    """On the main port, where the packages are installed. They are imported when the first client comes."""
    if not MCP.is_installed:
        return {}
    app = Lazy(lambda: _serving(parts, serves_sse=False))
    stack.push_async_callback(app.close)
    return _doors(parts, app, (wire.PREFIX,))


async def alone(parts: Parts, stack: AsyncExitStack) -> Doors:
    """On a port of its own, with the transport of old clients. Raises ExtraNotInstalled."""
    MCP.require()
    app = await stack.enter_async_context(_serving(parts, serves_sse=True)())
    return Doors(
        {
            **_doors(parts, app, (wire.PREFIX, "sse", "messages")),
            **await status_doors(parts, stack),
            health.PREFIX: await health_door(parts, stack),
        }
    )


def _doors(parts: Parts, app: ASGIApp, prefixes: tuple[str, ...]) -> dict[str, Door]:
    issuer = parts.settings.jwt_issuer
    refuse = wire.refuse(parts.options, issuer)
    check_tools, serves_nobody = parts.guard.check_tools, _ServesNobody(parts.runtime)

    def check(scope: Scope) -> None:
        check_tools(scope, serves_nobody=serves_nobody())

    return {
        **dict.fromkeys(prefixes, Door(app, refuse, check)),
        wire.METADATA_PREFIX: Door(wire.metadata(issuer), refuse),
    }


def _serving(parts: Parts, *, serves_sse: bool) -> Callable[[], AbstractAsyncContextManager[ASGIApp]]:
    """What begins to serve. Imports the SDK, which takes a second, and blocks for as long."""
    from hayhooks.server.session_news import shared_sessions
    from hayhooks.surfaces.mcp import surface
    from hayhooks.surfaces.mcp.sessions import Sessions

    secret = _session_key(parts.directory)
    refuse = wire.refuse(parts.options, parts.settings.jwt_issuer)

    @asynccontextmanager
    async def serving() -> AsyncIterator[ASGIApp]:
        async with AsyncExitStack() as stack:
            sessions = Sessions(secret)
            if parts.is_worker:
                sessions = await stack.enter_async_context(shared_sessions(secret, parts.directory))
            yield await stack.enter_async_context(
                surface.serve(
                    parts.runtime, parts.options, sessions, parts.guard.check_change, refuse, serves_sse=serves_sse
                )
            )

    return serving


class _ServesNobody:
    """Whether nothing is deployed that callers without a key may run; looked up once for each change."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known = (-1, False)

    def __call__(self) -> bool:
        runtime = self._runtime
        if not runtime.hides:
            return False
        if self._known[0] != runtime.revision:
            self._known = (runtime.revision, not runtime.open_to(ANONYMOUS))
        return self._known[1]


def _session_key(directory: Path) -> bytes:
    """What session ids are signed with: the same for all processes of this server, and after a restart."""
    path = directory / _SECRET
    with suppress(FileNotFoundError):
        return path.read_bytes()
    draft = directory / f"{_SECRET}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing:
        writing.write(secrets.token_bytes(32))
    with suppress(FileExistsError):  # another process was faster
        path.hardlink_to(draft)
    draft.unlink()
    return path.read_bytes()
