"""REST surface: ``POST /{deployment}/run`` calls ``run_api``, ``POST /{deployment}`` runs a YAML pipeline as it is."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.deployment import Call, Stream
from hayhooks.core.errors import EntryNotFound, HayhooksError, InvalidRequest
from hayhooks.core.events import Chunk, Data, Event, Raw, Result, Texts, Usage, UserEvent
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._forms import read_form
from hayhooks.surfaces._http import (
    JSON,
    Header,
    HTTPOptions,
    MethodNotAllowed,
    StreamSender,
    cancel_on_disconnect,
    error_body,
    header,
    read_body,
    require_json,
    send_bytes,
    send_json,
)

VIA = "rest"
TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
SSE: Header = (b"content-type", b"text/event-stream; charset=utf-8")
HEARTBEAT = b": still working\n\n"

_FORMS = (b"multipart/form-data", b"application/x-www-form-urlencoded")


@asynccontextmanager
async def serve(runtime: Runtime, options: HTTPOptions) -> AsyncIterator[dict[str, ASGIApp]]:
    """The verbs of this surface; the empty one answers ``/{deployment}`` itself."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        name: str = scope["deployment"]
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("POST")
            entry = runtime.live[name].deployment.entries.get("run_api")
            if entry is None:
                raise EntryNotFound(name, "run_api")
            kind = header(scope, b"content-type")
            if entry.file_fields and kind is not None and kind.lower().startswith(_FORMS):
                async with read_form(scope, receive, options.max_upload_bytes) as (fields, uploads):
                    call = Call(form=fields, uploads=uploads, headers=scope["headers"])
                    await _answer(runtime.run(name, "run_api", call, via=VIA), scope, receive, send, options)
                return
            require_json(kind)
            body = await read_body(scope, receive, options.max_body_bytes)
            # The body is read before the run begins: a slow upload keeps no old version alive.
            call = Call(body=body, headers=scope["headers"])
            await _answer(runtime.run(name, "run_api", call, via=VIA), scope, receive, send, options)
        except (HayhooksError, MethodNotAllowed) as error:
            await _send_error(error, send, options)

    async def legacy(scope: Scope, receive: Receive, send: Send) -> None:
        name: str = scope["deployment"]
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("POST")
            require_json(header(scope, b"content-type"))
            data = _json_object(await read_body(scope, receive, options.max_body_bytes))
            async with (
                runtime.run(name, "run_pipeline", Call(arguments={"data": data}), via=VIA) as run,
                cancel_on_disconnect(receive),
            ):
                reply = await run.reply()
                assert isinstance(reply, Result)
                await send_bytes(send, 200, reply.json)
        except (HayhooksError, MethodNotAllowed) as error:
            await _send_error(error, send, options)

    yield {"run": run, "": legacy}


async def _answer(run: Run, scope: Scope, receive: Receive, send: Send, options: HTTPOptions) -> None:
    async with run, cancel_on_disconnect(receive) as watching:
        reply = await run.reply()
        run_id: Header = (b"x-request-id", run.context.run_id.encode())
        if isinstance(reply, Result):
            await send_bytes(send, 200, b'{"result":' + reply.json + b"}", JSON, (run_id,))
        elif isinstance(reply, Raw):
            await reply.response(scope, receive, send)
        else:
            watching.start()
            await _stream(run, reply, send, options, run_id)


async def _stream(run: Run, stream: Stream, send: Send, options: HTTPOptions, run_id: Header) -> None:
    is_sse = stream.media == "sse"
    write = _sse if is_sse else _text
    sender = StreamSender(send, (SSE if is_sse else TEXT, run_id), HEARTBEAT if is_sse else None, options.heartbeat_s)
    try:
        async for events in run.stream(stream):
            await sender.write(write(events))
        await sender.end()
    except HayhooksError as error:
        if not sender.has_begun:
            raise
        if is_sse:
            _, body, _ = error_body(error, show_tracebacks=options.show_tracebacks)
            await sender.end(b"event: error\ndata: " + json.dumps(body, default=str).encode() + b"\n\n")
        # Plain text has no place for an error: ending without the last chunk tells the caller that it is cut.
    finally:
        sender.close()


def _text(events: Iterable[Event]) -> bytes:
    return b"".join(map(_payload, events))


def _sse(events: Iterable[Event]) -> bytes:
    """One ``data:`` event per item; a line break inside becomes a further ``data:`` line, as the standard says."""
    frames = []
    for event in events:
        if isinstance(event, (UserEvent, Usage)):
            continue
        payloads = (
            [text.encode("utf-8", "replace") for text in event.texts] if isinstance(event, Texts) else [_payload(event)]
        )
        for payload in payloads:
            if b"\n" in payload or b"\r" in payload:
                payload = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
            frames.append(b"data: " + payload + b"\n\n")
    return b"".join(frames)


def _payload(event: Event) -> bytes:
    if isinstance(event, Texts):
        return "".join(event.texts).encode("utf-8", "replace")
    if isinstance(event, Chunk):
        return event.text.encode("utf-8", "replace")
    # Events for the person who watches have no place between the words; clients rely on that.
    return event.json if isinstance(event, Data) else b""


async def _send_error(error: BaseException, send: Send, options: HTTPOptions) -> None:
    status, body, headers = error_body(error, show_tracebacks=options.show_tracebacks)
    await send_json(send, status, body, headers)


def _json_object(body: bytes) -> dict[str, object]:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(value, dict) for value in data.values()):
        raise InvalidRequest("The body must be {component: {input: value}}.")
    return data
