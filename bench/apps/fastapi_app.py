"""Plain FastAPI: the app that a competent user of FastAPI would write around the same wrappers, without hayhooks.

Sync hooks are ``def`` endpoints, which FastAPI runs in its threads; the number of threads is raised as its
documentation shows, since 40 would make 500 streams wait for each other.
"""

import argparse
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, HTTPException, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.apps.wrappers import has, load

THREADS = 600


class RunRequest(BaseModel):
    """The body of a run."""

    text: str


class RunResponse(BaseModel):
    """The answer of a run."""

    result: str


class UploadResponse(BaseModel):
    """The answer of an upload."""

    result: int


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str


class ChatRequest(BaseModel):
    """The body of a chat completion."""

    model: str
    messages: list[Message]
    stream: bool = False


class Status(BaseModel):
    """What is served."""

    status: str
    pipelines: list[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Allow as many threads as callers are expected."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def create_app(wrappers: dict[str, Any]) -> FastAPI:
    """The app: a route for each wrapper that runs, one for all chats."""
    app = FastAPI(lifespan=lifespan)

    @app.get("/status")
    async def status() -> Status:
        return Status(status="Up!", pipelines=list(wrappers))

    for name, wrapper in wrappers.items():
        if name == "upload":
            _add_upload(app, name, wrapper)
        elif has(wrapper, "run_api_async"):
            _add_async_run(app, name, wrapper)
        elif has(wrapper, "run_api"):
            _add_sync_run(app, name, wrapper)

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest) -> StreamingResponse:
        wrapper = wrappers.get(request.model)
        if wrapper is None:
            raise HTTPException(404, f"no model {request.model!r}")
        messages = [message.model_dump() for message in request.messages]
        if has(wrapper, "run_chat_completion_async"):
            chunks = await wrapper.run_chat_completion_async(request.model, messages, request.model_dump())
            return StreamingResponse(_async_events(request.model, chunks), media_type="text/event-stream")
        chunks = wrapper.run_chat_completion(request.model, messages, request.model_dump())
        return StreamingResponse(_events(request.model, chunks), media_type="text/event-stream")

    return app


def _add_sync_run(app: FastAPI, name: str, wrapper: Any) -> None:
    @app.post(f"/{name}/run", name=name)
    def run(request: RunRequest) -> RunResponse:
        return RunResponse(result=wrapper.run_api(request.text))


def _add_async_run(app: FastAPI, name: str, wrapper: Any) -> None:
    @app.post(f"/{name}/run", name=name)
    async def run(request: RunRequest) -> RunResponse:
        return RunResponse(result=await wrapper.run_api_async(request.text))


def _add_upload(app: FastAPI, name: str, wrapper: Any) -> None:
    @app.post(f"/{name}/run", name=name)
    def run(files: list[UploadFile]) -> UploadResponse:
        return UploadResponse(result=wrapper.run_api(files))


def _chunk(head: dict[str, Any], delta: dict[str, str], finish_reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"


def _head(model: str) -> dict[str, Any]:
    completion = f"chatcmpl-{uuid4().hex}"
    return {"id": completion, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}


def _events(model: str, chunks: Iterator[str]) -> Iterator[str]:
    head = _head(model)
    for chunk in chunks:
        yield _chunk(head, {"content": chunk}, None)
    yield _chunk(head, {}, "stop")
    yield "data: [DONE]\n\n"


async def _async_events(model: str, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    head = _head(model)
    async for chunk in chunks:
        yield _chunk(head, {"content": chunk}, None)
    yield _chunk(head, {}, "stop")
    yield "data: [DONE]\n\n"


def main() -> None:
    """Serve the wrappers of a directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    uvicorn.run(create_app(load(options.dir)), port=options.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
