"""OpenAI surface: chat completions, responses, embeddings, files and models, with and without ``/v1``."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, HayhooksError, RunFailed
from hayhooks.core.files import FileStore
from hayhooks.core.names import printable
from hayhooks.core.principal import Principal
from hayhooks.core.responses import ResponseStore
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    errors_answered,
    require,
    route_path,
    send_json,
)
from hayhooks.surfaces.openai.chat import Chat
from hayhooks.surfaces.openai.conversations import Conversations
from hayhooks.surfaces.openai.embeddings import Embeddings
from hayhooks.surfaces.openai.errors import error_answer, error_object, refuse
from hayhooks.surfaces.openai.files import Files
from hayhooks.surfaces.openai.responses import Responses
from hayhooks.surfaces.openai.responses_background import Background
from hayhooks.surfaces.openai.responses_state import Memory, fail_orphans

__all__ = ["PREFIXES", "Kept", "models", "refuse", "serve"]

PREFIXES = ("v1", "models", "chat", "responses", "conversations", "embeddings", "files")
# A deployment with any of these is a model.
_MODEL_ENTRIES = ("run_chat_completion", "run_response", "run_embedding")


@dataclass(frozen=True, slots=True)
class Kept:
    """Where responses are kept, and what becomes of those that are being made when a process ends."""

    store: ResponseStore
    is_gone: Callable[[int], bool]  # whether the process of that id has ended
    finish_s: float  # that background responses may take to end when the server stops


@asynccontextmanager
async def serve(
    runtime: Runtime, options: HTTPOptions, kept: Kept, files: FileStore, check_kept: Callable[[Scope, bool], None]
) -> AsyncIterator[dict[str, ASGIApp]]:
    """The prefixes of this surface and, under ``chat``, what answers ``/{deployment}/chat``.

    Uploads are kept in *files*. *check_kept* raises for those who may not ask for what callers left
    here, or may not leave it, as the flag says. Leaving ends
    the background responses; what they run must still be there.
    """
    chat = Chat(runtime, options)
    embeddings = Embeddings(runtime, options)
    uploads = Files(runtime, files, options)
    memory = Memory(kept.store, _log)

    def failure(error: BaseException) -> dict[str, Any]:
        answer: dict[str, Any] = error_answer(error, show_tracebacks=options.show_tracebacks)[1]["error"]
        return answer

    background = Background(memory, failure, _log)
    responses = Responses(runtime, options, memory, background)
    conversations = Conversations(memory, options)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope).removeprefix("/v1")
        if path in ("/chat/completions/", "/embeddings/"):
            path = path[:-1]
        if _is_kept(path):
            check_kept(scope, path == "/files" and scope["method"] == "POST")
        if path == "/chat/completions":
            await chat.by_model(scope, receive, send)
            return
        if path == "/responses" or path.startswith("/responses/"):
            await responses(scope, receive, send)
            return
        if path == "/conversations" or path.startswith("/conversations/"):
            await conversations(scope, receive, send)
            return
        try:
            if path == "/models":
                require(scope, "GET", "HEAD")
                await send_json(send, 200, {"object": "list", "data": models(runtime, caller_of(scope))})
            elif path.startswith("/models/"):
                require(scope, "GET", "HEAD")
                await send_json(send, 200, _model(runtime, caller_of(scope), unquote(path.removeprefix("/models/"))))
            elif path == "/embeddings":
                await embeddings.create(scope, receive, send)
            elif path == "/files" or path.startswith("/files/"):
                await uploads.answer(path.removeprefix("/files"), scope, receive, send)
            else:
                message = f"Unknown path {scope['path'][:200]!r}."
                await send_json(send, 404, error_object(message, "invalid_request_error", "unknown_url"))
        except (HayhooksError, MethodNotAllowed) as error:
            if isinstance(error, HayhooksError) and error.kind == "failed" and not isinstance(error, RunFailed):
                _log(f"{scope['method']} {printable(scope['path'])} failed", error)  # the store's; runs log themselves
            status, body, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
            await send_json(send, status, body, headers)

    async def fail(error: BaseException, send: Send) -> None:
        status, body, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    try:
        await memory.ask(fail_orphans, kept.store, kept.is_gone)
    except OSError as error:  # a damaged file must not keep the rest of the server from answering
        _log("What was said before cannot be read", error)
    try:
        yield {"api": errors_answered(api, fail, _log), "chat": errors_answered(chat.by_path, fail, _log)}
    finally:
        await background.stop(kept.finish_s)
        memory.close()


def _is_kept(path: str) -> bool:
    """Whether a request is about what callers left here, or leaves something, and is not for a run."""
    if path == "/responses/input_tokens":
        return False
    return path in ("/files", "/conversations") or path.startswith(("/files/", "/responses/", "/conversations/"))


def models(runtime: Runtime, caller: Principal) -> list[dict[str, Any]]:
    """The deployments that answer *caller* as models, by name."""
    return [_object(found) for _, found in sorted(runtime.open_to(caller).items()) if _is_model(found)]


def _model(runtime: Runtime, caller: Principal, name: str) -> dict[str, Any]:
    found = runtime.find(name, caller)
    if not _is_model(found):
        raise DeploymentNotFound(name)
    return _object(found)


def _is_model(deployment: Deployment) -> bool:
    return any(entry in deployment.entries for entry in _MODEL_ENTRIES)


def _object(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": deployment.name,
        "object": "model",
        "created": deployment.created_s,
        "owned_by": "hayhooks",
        "name": deployment.name,
    }


def _log(what: str, error: BaseException) -> None:
    logger.opt(exception=error).error("{}", what)
