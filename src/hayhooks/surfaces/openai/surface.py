"""OpenAI surface: models, chat completions, embeddings and files, with and without ``/v1``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, HayhooksError, RunFailed
from hayhooks.core.files import FileStore
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions, MethodNotAllowed, errors_answered, require, route_path, send_json
from hayhooks.surfaces.openai.chat import Chat
from hayhooks.surfaces.openai.embeddings import Embeddings
from hayhooks.surfaces.openai.errors import error_answer, error_object
from hayhooks.surfaces.openai.files import Files

PREFIXES = ("v1", "models", "chat", "embeddings", "files")
# A deployment with any of these is a model.
_MODEL_ENTRIES = ("run_chat_completion", "run_response", "run_embedding")


@asynccontextmanager
async def serve(runtime: Runtime, options: HTTPOptions, *, files: FileStore) -> AsyncIterator[dict[str, ASGIApp]]:
    """The prefixes of this surface and, under ``chat``, what answers ``/{deployment}/chat``.

    Uploads are kept in *files*.
    """
    chat = Chat(runtime, options)
    embeddings = Embeddings(runtime, options)
    uploads = Files(runtime, files, options)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope).removeprefix("/v1")
        if path == "/chat/completions":
            await chat.by_model(scope, receive, send)
            return
        try:
            if path == "/models":
                require(scope, "GET", "HEAD")
                await send_json(send, 200, {"object": "list", "data": models(runtime)})
            elif path.startswith("/models/"):
                require(scope, "GET", "HEAD")
                await send_json(send, 200, _model(runtime, unquote(path.removeprefix("/models/"))))
            elif path == "/embeddings":
                await embeddings.create(scope, receive, send)
            elif path == "/files" or path.startswith("/files/"):
                await uploads.answer(path.removeprefix("/files"), scope, receive, send)
            else:
                message = f"Unknown path {scope['path'][:200]!r}."
                await send_json(send, 404, error_object(message, "invalid_request_error", "unknown_url"))
        except (HayhooksError, MethodNotAllowed) as error:
            if isinstance(error, HayhooksError) and error.kind == "failed" and not isinstance(error, RunFailed):
                _log(f"{scope['method']} {scope['path'][:200]} failed", error)  # the store's; runs log themselves
            status, body, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
            await send_json(send, status, body, headers)

    async def fail(error: BaseException, send: Send) -> None:
        status, body, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    yield {"api": errors_answered(api, fail, _log), "chat": errors_answered(chat.by_path, fail, _log)}


def models(runtime: Runtime) -> list[dict[str, Any]]:
    """The deployments that answer as models, by name."""
    return [_object(found) for _, found in sorted(runtime.deployments.items()) if _is_model(found)]


def _model(runtime: Runtime, name: str) -> dict[str, Any]:
    found = runtime.get(name)
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
