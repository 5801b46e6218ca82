"""Where a request goes: our fixed prefixes, a deployment's verbs, or the user's own routes. And who sends it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hayhooks.core.errors import HayhooksError, ServerStarting
from hayhooks.core.principal import ANONYMOUS, Principal
from hayhooks.core.registry import Live
from hayhooks.server.guard import LONGEST_ORIGIN
from hayhooks.surfaces._direct import Answer, Begin, PlainRequest
from hayhooks.surfaces._http import CALLER, name_request, route_path

Refuse = Callable[[BaseException, Scope, Send], Awaitable[None]]

_CREDENTIALS = (b"authorization", b"x-api-key")


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One way in: who may pass, what answers them, and how its protocol says no."""

    app: ASGIApp
    refuse: Refuse
    check: Callable[[Scope], None] | None = None  # raises for those who may not pass; None: what answers decides
    is_closed: bool = False  # CORS never opens it
    is_early: bool = False  # it answers before what is deployed is built
    suits: Callable[[Live | None], bool] | None = None  # which deployments a verb is for; None: all, and unknown names
    begin: Begin | None = None  # answers plain requests at once


def takes_legacy_calls(live: Live | None) -> bool:
    """Whether ``/{name}`` itself calls that deployment."""
    return live is not None and live.deployment.takes_legacy_calls


class Callers(Protocol):
    """Finds out who calls."""

    def known(self, headers: Sequence[tuple[bytes, bytes]]) -> Principal | None:
        """The caller, or None when that takes a while to find out. Raises Unauthorized."""

    async def find(self, headers: Sequence[tuple[bytes, bytes]]) -> Principal:
        """The caller. Raises Unauthorized."""


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
        nowhere: Door,
        cors: dict[str, Any],
    ) -> None:
        self._inner = inner
        self._routes = routes
        self._live = live
        self._nowhere = nowhere
        self._users = Door(inner, nowhere.refuse)
        self.callers: Callers | None = None  # None: nobody is known
        self.is_starting = False  # what is deployed is not built yet: only early doors are open
        self.prefixes: Mapping[str, Door] = {}
        self.verbs: Mapping[str, Door] = {}
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
        door = self.prefixes.get(first)
        if door is None and first:
            # Whether there is such a deployment is for what answers to say, in its protocol's words.
            door = self.verbs.get(verb)
            if door is None and verb.endswith("/"):
                door = self.verbs.get(verb[:-1]) if len(verb) > 1 else None
            if door is not None and door.suits is not None and not door.suits(self._live().get(first)):
                door = None
            scope["deployment"] = first
        routes = self._routes()
        if routes and self._is_users(routes, first, scope, door):
            door = self._users
        if door is None:
            door = self._users if routes else self._nowhere
        has_origin = has_credentials = False
        for name, value in scope["headers"]:
            if name == b"origin":
                # No origin is longer; a pattern of the owner's may take for ever to find that it does not match.
                has_origin = len(value) <= LONGEST_ORIGIN
            elif name in _CREDENTIALS:
                has_credentials = True
        if has_origin and not door.is_closed:
            scope["hayhooks.door"] = (door, has_credentials)
            await self._cors(scope, receive, send)
            return
        await self._enter(door, has_credentials, scope, receive, send)

    def begin(self, request: PlainRequest, answer: Answer) -> bool:
        """Begin to answer *request*, of no page, where what answers it can; False: call this."""
        scope = request.scope
        first, _, verb = route_path(scope)[1:].partition("/")
        door = self.verbs.get(verb)
        if door is None or door.begin is None or not first or first in self.prefixes or self.is_starting:
            return False
        scope["deployment"] = first
        routes = self._routes()
        if routes and self._is_users(routes, first, scope, door):
            return False
        if any(name in request.fields for name in _CREDENTIALS):
            try:
                caller = self.callers.known(scope["headers"]) if self.callers is not None else None
            except HayhooksError:
                return False
            if caller is None:
                return False
            scope[CALLER] = caller
        return door.begin(request, answer)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        door, has_credentials = scope.pop("hayhooks.door")
        await self._enter(door, has_credentials, scope, receive, send)

    async def _enter(self, door: Door, has_credentials: bool, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_starting and not door.is_early and door is not self._users:
            await _refuse(door, ServerStarting(), scope, send)
            return
        try:
            if has_credentials and self.callers is not None:
                headers = scope["headers"]
                try:
                    scope[CALLER] = self.callers.known(headers) or await self.callers.find(headers)
                except HayhooksError:
                    if door is not self._users:
                        raise
                    scope[CALLER] = ANONYMOUS  # who may call their routes is the user's to say
            if door.check is not None:
                door.check(scope)
        except HayhooksError as error:
            await _refuse(door, error, scope, send)
            return
        await door.app(scope, receive, send)

    def _is_users(self, routes: list[Any], first: str, scope: Scope, door: Door | None) -> bool:
        """Whether a route of the user's answers this request."""
        state = (len(routes), routes[-1])
        if self._known != state:
            self._known = state
            heads = [_head(route) for route in routes]
            self._is_open = None in heads  # some route may match any first segment
            self._segments = frozenset(head for head in heads if head is not None)
        if not self._is_open and first not in self._segments:
            return False
        if door is None:
            return True
        return any(route.matches(scope)[0] is Match.FULL for route in routes)


async def _refuse(door: Door, error: HayhooksError, scope: Scope, send: Send) -> None:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            name_request(message, scope)
        await send(message)

    await door.refuse(error, scope, named)


def _head(route: Any) -> str | None:
    """The fixed first segment of a route's path, or None when there is none."""
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    head = path[1:].partition("/")[0]
    return None if not head or "{" in head else head
