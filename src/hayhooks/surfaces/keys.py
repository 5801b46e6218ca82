"""Keys surface: make, list and revoke API keys. Who may do so is decided before it is reached."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NotRequired
from urllib.parse import unquote

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from hayhooks.core.aio import in_thread
from hayhooks.core.errors import InvalidRequest, KeyNotFound
from hayhooks.core.keys import APIKey, KeyStore, check_gift, new_key
from hayhooks.core.principal import Principal
from hayhooks.surfaces._http import (
    HTTPOptions,
    caller_of,
    header,
    read_body,
    require,
    require_json,
    route_path,
    send_json,
)
from hayhooks.surfaces._rest_errors import rest_errors_answered

PREFIX = "keys"

Told = Callable[[str, APIKey, Principal], None]  # what was done to which key, and by whom


# A limit that is misspelt is no limit: say so, rather than make the key without it.
@with_config(ConfigDict(extra="forbid"))
class CreateKey(TypedDict):
    """Body of ``POST /keys``."""

    name: str
    scopes: list[str]
    expires_in_s: NotRequired[float | None]
    expires_at: NotRequired[float | None]  # Unix time
    requests_per_minute: NotRequired[int | None]
    max_concurrent_runs: NotRequired[int | None]


_CREATE: TypeAdapter[CreateKey] = TypeAdapter(CreateKey)
_MAX_BODY_BYTES = 64 * 1024
_NO_STORE = (b"cache-control", b"no-store")


@asynccontextmanager
async def serve(keys: KeyStore, options: HTTPOptions, tell: Told) -> AsyncIterator[dict[str, ASGIApp]]:
    """The handler of the prefix. *tell* is told of each change."""

    async def list_keys(scope: Scope, receive: Receive, send: Send) -> None:
        require(scope, "GET", "HEAD", "POST")
        now_s = time.time()
        found = await in_thread(keys.all)
        await send_json(send, 200, [key.described(now_s) for key in found], (_NO_STORE,))

    async def create(scope: Scope, receive: Receive, send: Send) -> None:
        require_json(header(scope, b"content-type"))
        wanted = _validated(await read_body(scope, receive, min(options.max_body_bytes, _MAX_BODY_BYTES)))
        maker = caller_of(scope)
        now_s = time.time()
        key, text = new_key(
            wanted["name"],
            wanted["scopes"],
            created_by=maker.id,
            now_s=now_s,
            expires_s=_expiry(wanted, now_s),
            requests_per_minute=wanted.get("requests_per_minute"),
            max_concurrent_runs=wanted.get("max_concurrent_runs"),
        )
        check_gift(maker, key.scopes)
        await in_thread(keys.add, key)
        tell("made", key, maker)
        await send_json(send, 200, {**key.described(now_s), "key": text}, (_NO_STORE,))

    async def revoke(scope: Scope, receive: Receive, send: Send, key_id: str) -> None:
        require(scope, "DELETE")
        now_s = time.time()
        key = await in_thread(keys.revoke, key_id, int(now_s))
        tell("revoked", key, caller_of(scope))
        await send_json(send, 200, key.described(now_s), (_NO_STORE,))

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        _, slash, key_id = route_path(scope)[1:].partition("/")
        if key_id:
            await revoke(scope, receive, send, unquote(key_id))
        elif slash:
            raise KeyNotFound("")
        elif scope["method"] == "POST":
            await create(scope, receive, send)
        else:
            await list_keys(scope, receive, send)

    yield {PREFIX: rest_errors_answered(answered, options)}


def _expiry(wanted: CreateKey, now_s: float) -> float | None:
    lasts_s, at_s = wanted.get("expires_in_s"), wanted.get("expires_at")
    if lasts_s is None:
        return at_s
    if at_s is not None:
        raise InvalidRequest("Give expires_in_s or expires_at, not both.")
    return now_s + lasts_s


def _validated(body: bytes) -> CreateKey:
    try:
        return _CREATE.validate_json(body, strict=True)
    except ValidationError as error:
        errors = [
            {"loc": ["body", *found["loc"]], "msg": found["msg"], "type": found["type"]}
            for found in error.errors(include_url=False, include_context=False, include_input=False)[:20]
        ]
        where = ".".join(str(part) for part in errors[0]["loc"])
        raise InvalidRequest(f"{where}: {errors[0]['msg']}", errors) from None
