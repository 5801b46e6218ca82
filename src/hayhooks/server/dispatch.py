"""Where a request goes: our fixed prefixes, a deployment's verbs, or the user's own routes."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.errors import DeploymentNotFound
from hayhooks.core.registry import Live
from hayhooks.server.guard import LONGEST_ORIGIN

# Verbs whose surface says in its own protocol's words that there is no such deployment.
_ANSWER_FOR_STRANGERS = ("chat",)

Answer = Callable[[Scope, Receive, Send], Any]


class Dispatch:
    """Two dictionary look-ups lead from a path to what answers it; deploying never touches a route list.

    *inner* is the user's FastAPI app with everything that their routes need; ours need none of it. Routes that the
    user added win over ours on the same path and method.
    """

    def __init__(
        self,
        inner: ASGIApp,
        routes: Callable[[], list[Any]],
        live: Callable[[], Mapping[str, Live]],
        cors: dict[str, Any],
    ) -> None:
        self._inner = inner
        self._routes = routes
        self._live = live
        self.prefixes: Mapping[str, ASGIApp] = {}
        self.closed: frozenset[str] = frozenset()  # prefixes that CORS never opens
        self.verbs: Mapping[str, ASGIApp] = {}
        self._cors = CORSMiddleware(self._forward, **cors)
        self._known: tuple[int, object] | None = None
        self._segments: frozenset[str] = frozenset()
        self._is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find what answers and let it."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        path: str = scope["path"]
        root: str = scope.get("root_path") or ""
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :]
        first, _, verb = path[1:].partition("/")
        handler = self.prefixes.get(first)
        is_closed = handler is not None and first in self.closed
        if handler is None and (first in self._live() or verb in _ANSWER_FOR_STRANGERS):
            handler = self.verbs.get(verb)
            if handler is not None and verb == "" and not self._live()[first].deployment.takes_legacy_calls:
                handler = None
            scope["deployment"] = first
        routes = self._routes()
        if routes and self._is_users(routes, first, scope, handler):
            handler, is_closed = self._inner, False
        if handler is None:
            handler = self._inner if routes else _not_found
        for name, value in scope["headers"]:
            # No origin is longer; a pattern of the owner's may take for ever to find that it does not match.
            if name == b"origin" and not is_closed and len(value) <= LONGEST_ORIGIN:
                scope["hayhooks.handler"] = handler
                await self._cors(scope, receive, send)
                return
        await handler(scope, receive, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["hayhooks.handler"](scope, receive, send)

    def _is_users(self, routes: list[Any], first: str, scope: Scope, handler: ASGIApp | None) -> bool:
        """Whether a route of the user's answers this request."""
        state = (len(routes), routes[-1])
        if self._known != state:
            self._known = state
            heads = [_head(route) for route in routes]
            self._is_open = None in heads  # some route may match any first segment
            self._segments = frozenset(head for head in heads if head is not None)
        if not self._is_open and first not in self._segments:
            return False
        if handler is None:
            return True
        return any(route.matches(scope)[0] is Match.FULL for route in routes)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    from hayhooks.surfaces._http import error_body, send_json

    error = DeploymentNotFound(scope["path"][1:].partition("/")[0][:80])
    status, body, headers = error_body(error, show_tracebacks=False)
    if scope.get("deployment") is not None or not scope["path"][1:]:
        body["detail"] = f"Nothing answers at {scope['path'][:120]!r}."
    await send_json(send, status, body, headers)


def _head(route: Any) -> str | None:
    """The fixed first segment of a route's path, or None when there is none."""
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    head = path[1:].partition("/")[0]
    return None if not head or "{" in head else head
