"""The floor: what a hand-written raw ASGI app on uvicorn (uvloop, httptools) needs for the same hooks.

It knows its routes, trusts its callers and does nothing else: no validation, no limits, no cancellation, no
telemetry. A server with features cannot be faster; how close it comes is what its features cost.
"""

import argparse
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import uvicorn
from python_multipart import MultipartParser

from bench.apps.bridge import Threads, batches
from bench.apps.wrappers import has, load

type_json = (b"content-type", b"application/json")
type_sse = (b"content-type", b"text/event-stream; charset=utf-8")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Handler = Callable[[Receive, Send, dict[bytes, bytes]], Awaitable[None]]

SPOOL_BYTES = 1 << 20


class Floor:
    """The ASGI app: a dictionary from paths to handlers."""

    def __init__(self, wrappers: dict[str, Any]) -> None:
        self._threads = Threads(limit=1000)
        self._wrappers = wrappers
        self._status = msgspec.json.encode({"status": "Up!", "pipelines": list(wrappers)})
        self._routes: dict[str, Handler] = {"/status": self._show_status, "/v1/chat/completions": self._chat}
        for name, wrapper in wrappers.items():
            if name == "upload":
                self._routes[f"/{name}/run"] = self._upload
            elif has(wrapper, "run_api_async"):
                self._routes[f"/{name}/run"] = _async_run(wrapper.run_api_async)
            elif has(wrapper, "run_api"):
                self._routes[f"/{name}/run"] = self._sync_run(wrapper.run_api)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._routes[scope["path"]](receive, send, dict(scope["headers"]))

    async def _show_status(self, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        await _answer(send, self._status)

    def _sync_run(self, hook: Callable[..., Any]) -> Handler:
        async def run(receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
            arguments = msgspec.json.decode(await _body(receive))
            result = await self._threads.call(hook, arguments)
            await _answer(send, msgspec.json.encode({"result": result}))

        return run

    async def _chat(self, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        body = msgspec.json.decode(await _body(receive))
        name, messages = body["model"], body["messages"]
        wrapper = self._wrappers[name]
        head = {"id": f"chatcmpl-{uuid4().hex}", "object": "chat.completion.chunk", "created": int(time.time())}
        # All that differs between two chunks is the text: the rest is written once.
        start = "data: " + json.dumps({**head, "model": name})[:-1]
        before = f'{start}, "choices": [{{"index": 0, "delta": {{"content": '.encode()
        after = b'}, "finish_reason": null}]}\n\n'
        last = f'{start}, "choices": [{{"index": 0, "delta": {{}}, "finish_reason": "stop"}}]}}\n\ndata: [DONE]\n\n'
        await send({"type": "http.response.start", "status": 200, "headers": [type_sse]})
        async for texts in await self._texts(wrapper, name, messages, body):
            events = b"".join([before + msgspec.json.encode(text) + after for text in texts])
            await send({"type": "http.response.body", "body": events, "more_body": True})
        await send({"type": "http.response.body", "body": last.encode()})

    async def _texts(self, wrapper: Any, name: str, messages: Any, body: Any) -> AsyncIterator[Iterable[str]]:
        if has(wrapper, "run_chat_completion_async"):
            return batches(await wrapper.run_chat_completion_async(name, messages, body))
        chunks: Iterator[str] = wrapper.run_chat_completion(name, messages, body)
        return self._threads.stream(chunks)

    async def _upload(self, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        uploads: list[SimpleNamespace] = []
        content_type = Message()
        content_type["content-type"] = headers[b"content-type"].decode("latin-1")
        boundary = content_type.get_boundary()
        assert boundary is not None
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: uploads.append(SimpleNamespace(file=SpooledTemporaryFile(SPOOL_BYTES))),  # noqa: SIM115
                "on_part_data": lambda data, start, end: uploads[-1].file.write(data[start:end]),
                "on_part_end": lambda: uploads[-1].file.seek(0),
            },
        )
        while True:
            message = await receive()
            if message["body"]:
                parser.write(message["body"])
            if not message["more_body"]:
                break
        result = await self._threads.call(self._wrappers["upload"].run_api, {"files": uploads})
        for upload in uploads:
            upload.file.close()
        await _answer(send, msgspec.json.encode({"result": result}))


def _async_run(hook: Callable[..., Awaitable[Any]]) -> Handler:
    async def run(receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        arguments = msgspec.json.decode(await _body(receive))
        await _answer(send, msgspec.json.encode({"result": await hook(**arguments)}))

    return run


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


async def _answer(send: Send, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [type_json, length]})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve the wrappers of a directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    app: Any = Floor(load(options.dir))
    uvicorn.run(
        app, port=options.port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
