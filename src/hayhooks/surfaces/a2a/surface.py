"""Where agents are: their cards, their listing, and the requests to each of them."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger
from msgspec.json import encode
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.errors import HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    JSON,
    Header,
    HTTPOptions,
    caller_of,
    error_body,
    errors_answered,
    header,
    read_body,
    replayed,
    require,
    require_json,
    route_path,
    send_bytes,
    send_json,
)
from hayhooks.surfaces.a2a.agents import agents, cards, find_agent, find_card, needs_key
from hayhooks.surfaces.a2a.card import Offer, card_of
from hayhooks.surfaces.a2a.envelope import Envelope, envelope_of
from hayhooks.surfaces.a2a.errors import rest_error, rpc_error
from hayhooks.surfaces.a2a.loading import Loading
from hayhooks.surfaces.a2a.options import A2AOptions

if TYPE_CHECKING:
    from hayhooks.surfaces.a2a.protocol import Protocol
    from hayhooks.surfaces.a2a.visit import Visit

PREFIX = "a2a"
CARD_PATHS = (".well-known/agent-card.json", ".well-known/agent.json")  # the second is for clients of before 0.3
_CARD_AGE_S = 60  # for which a client need not ask again
_AUTHORITY = re.compile(r"[A-Za-z0-9._~\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class Agents:
    """Answers for all agents, which are ``/{name}`` below a path of the server's."""

    def __init__(
        self,
        runtime: Runtime,
        options: HTTPOptions,
        a2a: A2AOptions,
        check_kept: Callable[[Scope], None],
        below: str,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._a2a = a2a
        self._check_kept = check_kept
        self._below = below
        self._offer = Offer(bool(a2a.push_hosts), a2a.speaks_0_3, a2a.openid_url)
        self.loading = Loading(self._make)

    async def listing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The agents that the caller may call, and where their cards are."""
        require(scope, "GET", "HEAD")
        found = [
            {"name": name, "url": self._url(scope, name), "card": f"{self._url(scope, name)}/{CARD_PATHS[0]}"}
            for name in agents(self._runtime, caller_of(scope))
        ]
        await send_json(send, 200, {"agents": found}, self._vary())

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """That the server works, and the names of the agents."""
        require(scope, "GET", "HEAD")
        found = agents(self._runtime, caller_of(scope))
        await send_json(send, 200, {"status": "ok", "agents": found}, self._vary())

    async def only_card(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The card of the one agent that there is; of several, each has its own."""
        require(scope, "GET", "HEAD")
        found = cards(self._runtime, caller_of(scope))
        if len(found) == 1 and route_path(scope)[1:] in CARD_PATHS:
            await self._card(found[0], scope, send)
            return
        body = {"detail": "There is not one agent here: each has a card of its own.", "kind": "not_found"}
        await send_json(send, 404, body)

    async def agent(self, name: str, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for ``/{name}`` and *path*, which begins with a slash or is empty."""
        if path[1:] in CARD_PATHS:
            require(scope, "GET", "HEAD")
            await self._card(name, scope, send)
            return
        agent = find_agent(self._runtime, name, caller_of(scope))
        body = b""
        if scope["method"] == "POST":
            require_json(header(scope, b"content-type"))
            body = await read_body(scope, receive, self._options.body_limit(agent.limits))
        receive = replayed(body, receive)
        if path in ("", "/"):
            require(scope, "POST")
            envelope = envelope_of(body)
            scope["hayhooks.a2a.id"] = envelope.id
            self._check(envelope, scope)
            if not envelope.has_params:
                raise _NoParams
            protocol = await self.loading.get()
            await protocol.rpc(
                agent, caller_of(scope), self._url(scope, name), scope, receive, send, is_streamed=envelope.is_streamed
            )
            return
        if not path.removeprefix("/v1").startswith("/message:"):
            self._check_kept(scope)
        protocol = await self.loading.get()
        if not await protocol.rest(agent, caller_of(scope), self._url(scope, name), path, scope, receive, send):
            raise _NoSuchPath(path)

    def fail(self, error: BaseException, scope: Scope) -> tuple[int, dict[str, Any], list[Header]]:
        """Status, body and headers of *error*, in the words of the binding that was used."""
        path = route_path(scope).removeprefix(self._below).strip("/")
        _, _, rest = path.partition("/")
        shows = self._options.show_tracebacks
        if not path or rest in CARD_PATHS or path in CARD_PATHS or path == "status":
            return error_body(error, show_tracebacks=shows)
        if not rest and scope["method"] == "POST":
            return rpc_error(error, scope.get("hayhooks.a2a.id"), show_tracebacks=shows)
        return rest_error(error, show_tracebacks=shows)

    def _check(self, envelope: Envelope, scope: Scope) -> None:
        """Messages are runs, for everybody who may run; what is asked for of tasks was left here by callers."""
        if not envelope.is_message:
            self._check_kept(scope)

    async def _card(self, name: str, scope: Scope, send: Send) -> None:
        deployment = find_card(self._runtime, name, caller_of(scope))
        self.loading.begin()  # whoever reads the card is about to call
        closed = needs_key(self._runtime, name)
        body = encode(card_of(deployment, self._url(scope, name), self._offer, needs_key=closed))
        etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        whose = b"private" if closed else b"public"
        headers = [(b"etag", etag), (b"cache-control", b"%s, max-age=%d" % (whose, _CARD_AGE_S)), *self._vary()]
        known = header(scope, b"if-none-match")
        if known is not None and any(tag.strip().removeprefix(b"W/") in (etag, b"*") for tag in known.split(b",")):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_bytes(send, 200, body, JSON, headers)

    def _extended(self, visit: "Visit") -> dict[str, Any] | None:
        if not needs_key(self._runtime, visit.agent):
            return None
        return card_of(visit.deployment, visit.url, self._offer, needs_key=True, is_extended=True)

    def _vary(self) -> list[Header]:
        return [(b"vary", b"authorization, x-api-key")] if self._runtime.hides else []

    def _url(self, scope: Scope, name: str) -> str:
        """Where the agent is: as the owner says, or by the address that was asked for."""
        base = self._a2a.external_url.rstrip("/")
        if not base:
            host = (header(scope, b"host") or b"").decode("latin-1")
            if not _AUTHORITY.fullmatch(host):  # it goes into a document that others read
                address, port = scope.get("server") or ("localhost", None)
                host = f"{address}:{port}" if port else str(address)
            base = f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path') or ''}"
        return f"{base}{self._below}/{name}"

    def _make(self) -> "Protocol":
        from hayhooks.surfaces.a2a.database import Kept
        from hayhooks.surfaces.a2a.protocol import Protocol
        from hayhooks.surfaces.a2a.push import Targets

        a2a = self._a2a
        kept = Kept(a2a.database, a2a.prepare, a2a.is_gone, a2a.max_age_s, a2a.max_count, a2a.max_bytes)
        return Protocol(
            self._runtime,
            self._options,
            kept,
            Targets(a2a.push_hosts),
            self._extended,
            speaks_0_3=a2a.speaks_0_3,
        )


@dataclass(frozen=True, slots=True)
class Handlers:
    """What answers for agents, and on a port of their own beside them."""

    below: ASGIApp
    status: ASGIApp
    only_card: ASGIApp
    refuse: Callable[[BaseException, Scope, Send], Any]


@asynccontextmanager
async def serve(
    runtime: Runtime,
    options: HTTPOptions,
    a2a: A2AOptions,
    check_kept: Callable[[Scope], None],
    *,
    below: str = f"/{PREFIX}",
    begins: bool = False,
) -> AsyncIterator[Handlers]:
    """The handlers of this surface, whose agents are at ``{below}/{name}``.

    *check_kept* raises for those who may not ask for what callers left here. With *begins* the library is imported
    right away, instead of with the first card that is read. Leaving ends the runs of agents; what they run must still
    be there.
    """
    found = Agents(runtime, options, a2a, check_kept, below)

    async def answer_below(scope: Scope, receive: Receive, send: Send) -> None:
        name, slash, rest = route_path(scope).removeprefix(below)[1:].partition("/")
        if not name:
            await found.listing(scope, receive, send)
        else:
            await found.agent(name, slash + rest, scope, receive, send)

    async def refuse(error: BaseException, scope: Scope, send: Send) -> None:
        status, body, headers = found.fail(error, scope)
        await send_json(send, status, body, headers)

    def answered(app: ASGIApp) -> ASGIApp:
        async def with_errors(scope: Scope, receive: Receive, send: Send) -> None:
            async def fail(error: BaseException, send: Send) -> None:
                await refuse(error, scope, send)

            await errors_answered(app, fail, _log)(scope, receive, send)

        return with_errors

    if begins:
        found.loading.begin()
    try:
        yield Handlers(answered(answer_below), answered(found.status), answered(found.only_card), refuse)
    finally:
        await found.loading.close(a2a.finish_s)


class _NoSuchPath(HayhooksError):
    kind = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Agents have nothing at {path[:120]!r}.")


class _NoParams(HayhooksError):
    kind = "invalid"

    def __init__(self) -> None:
        super().__init__("'params' must be an object.")


def _log(what: str, error: BaseException) -> None:
    logger.opt(exception=error).error("{}", what)
