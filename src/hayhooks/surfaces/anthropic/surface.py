"""Anthropic surface: messages, token counts and models, with and without ``/v1``."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.errors import HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    errors_answered,
    header,
    require,
    route_path,
    send_json,
    trace_of,
)
from hayhooks.surfaces.anthropic.errors import error_answer, request_headers
from hayhooks.surfaces.anthropic.messages import Messages, new_request_id
from hayhooks.surfaces.anthropic.models import get_model, list_models

PREFIXES = ("messages",)
SHARED = ("v1", "models")  # prefixes under which others answer, too
VERSION_HEADER = b"anthropic-version"


def is_ours(scope: Scope) -> bool:
    """Whether a request below one of the shared prefixes is for this surface.

    Models are listed by both APIs; the clients of this one say in a header which version of it they speak.
    """
    asked: str = scope["path"]
    if "/messages" not in asked and "/models" not in asked:  # the others' requests pay for no more than this
        return False
    path = route_path(scope).removeprefix("/v1")
    if path == "/messages" or path.startswith("/messages/"):
        return True
    return (path == "/models" or path.startswith("/models/")) and header(scope, VERSION_HEADER) is not None


@asynccontextmanager
async def serve(runtime: Runtime, options: HTTPOptions) -> AsyncIterator[ASGIApp]:
    """What answers below the prefixes of this surface and, where ``is_ours`` says so, below the shared ones."""
    messages = Messages(runtime, options)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope).removeprefix("/v1")
        try:
            if path == "/messages":
                await messages.create(scope, receive, send)
            elif path == "/messages/count_tokens":
                await messages.count_tokens(scope, receive, send)
            elif path == "/models":
                require(scope, "GET", "HEAD")
                await _send(send, list_models(runtime, caller_of(scope), scope["query_string"]), scope)
            elif path.startswith("/models/"):
                require(scope, "GET", "HEAD")
                await _send(send, get_model(runtime, caller_of(scope), unquote(path.removeprefix("/models/"))), scope)
            else:
                raise UnknownPath(scope["path"])
        except (HayhooksError, MethodNotAllowed) as error:
            await answer(error, trace_of(scope).request_id or new_request_id(), send)

    async def fail(error: BaseException, send: Send) -> None:
        await answer(error, getattr(error, "request_id", None) or new_request_id(), send)

    async def answer(error: BaseException, request_id: str, send: Send) -> None:
        status, body, headers = error_answer(error, request_id, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    yield errors_answered(api, fail, _log)


def refuse(options: HTTPOptions) -> Callable[[BaseException, Scope, Send], Awaitable[None]]:
    """What answers with an error in this API's shape."""

    async def answer(error: BaseException, scope: Scope, send: Send) -> None:
        request_id = trace_of(scope).request_id or new_request_id()
        status, body, headers = error_answer(error, request_id, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    return answer


class UnknownPath(HayhooksError):
    """Nothing answers at this path."""

    kind = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Unknown path {path[:200]!r}.")


async def _send(send: Send, body: dict[str, object], scope: Scope) -> None:
    await send_json(send, 200, body, request_headers(trace_of(scope).request_id or new_request_id()))


def _log(what: str, error: BaseException) -> None:
    logger.opt(exception=error).error("{}", what)
