"""REST surface: ``POST /{deployment}/run`` calls ``run_api``, ``POST /{deployment}`` runs a YAML pipeline as it is."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hayhooks.core.context import NO_SESSION, NO_TRACE
from hayhooks.core.deployment import Call
from hayhooks.core.errors import EntryNotFound, HayhooksError, InvalidRequest, RunFailed
from hayhooks.core.events import Chunk, Data, Event, Raw, Result, Texts, Usage, UserEvent
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._direct import OUTCOME, Answer, Begin, DirectRun, PlainRequest
from hayhooks.surfaces._forms import read_form
from hayhooks.surfaces._http import (
    JSON,
    REQUEST_ID,
    Header,
    HTTPOptions,
    caller_of,
    error_body,
    header,
    read_body,
    request_id_header,
    require,
    require_json,
    send_bytes,
    trace_of,
)
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._rest_errors import rest_errors_answered
from hayhooks.surfaces._session import CHAT_HEADER, USER_HEADER, session_of
from hayhooks.surfaces._streams import StreamSender

VIA = "rest"
TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
SSE: Header = (b"content-type", b"text/event-stream; charset=utf-8")
HEARTBEAT = b": still working\n\n"

_FORMS = (b"multipart/form-data", b"application/x-www-form-urlencoded")


class Handlers(NamedTuple):
    """The verbs of this surface; the empty one answers ``/{deployment}`` itself. And what answers ``run`` at once."""

    verbs: Mapping[str, ASGIApp]
    begin_run: Begin


@asynccontextmanager
async def serve(runtime: Runtime, options: HTTPOptions) -> AsyncIterator[Handlers]:
    """What answers under ``/{deployment}``."""

    async def run_api(scope: Scope, receive: Receive, send: Send) -> None:
        name: str = scope["deployment"]
        caller = caller_of(scope)
        session = session_of(scope)
        chosen = runtime.choose(name, caller, session)
        require(scope, "POST")
        deployment = chosen.deployment
        entry = deployment.entries.get("run_api")
        if entry is None:
            raise EntryNotFound(name, "run_api")
        kind = header(scope, b"content-type")
        if entry.file_fields and kind is not None and kind.lower().startswith(_FORMS):
            async with read_form(scope, receive, options.upload_limit(deployment.limits), entry.file_fields) as (
                fields,
                uploads,
            ):
                call = Call(
                    form=fields,
                    uploads=uploads,
                    headers=scope["headers"],
                    session=session,
                    caller=caller,
                    trace=trace_of(scope),
                )
                run = runtime.run(name, "run_api", call, via=VIA, chosen=chosen)
                await _answer(run, scope, receive, send, options)
            return
        require_json(kind)
        body = await read_body(scope, receive, options.body_limit(deployment.limits))
        # The body is read before the run begins: a slow upload keeps no old version alive.
        call = Call(
            body=body,
            headers=scope["headers"],
            session=session,
            caller=caller,
            trace=trace_of(scope),
        )
        run = runtime.run(name, "run_api", call, via=VIA, chosen=chosen)
        await _answer(run, scope, receive, send, options)

    async def go_on(scope: Scope, receive: Receive, send: Send) -> None:
        outcome = scope.pop(OUTCOME)  # a connection keeps its last scope
        if isinstance(outcome, Run):
            await _answer(outcome, scope, receive, send, options)
            return
        try:
            raise outcome
        finally:
            del outcome  # it holds this frame

    go_on_answered = rest_errors_answered(go_on, options)

    def begin_run(request: PlainRequest, answer: Answer) -> bool:
        scope, fields, body = request
        name: str = scope["deployment"]
        caller = caller_of(scope)
        live = runtime.only(name, caller)
        if (
            live is None
            or "run_api" not in live.deployment.entries
            or len(body) > options.body_limit(live.deployment.limits)
            or fields.get(b"content-type", JSON[1]) != JSON[1]
        ):
            return False
        session = session_of(scope) if CHAT_HEADER in fields or USER_HEADER in fields else NO_SESSION
        trace = trace_of(scope) if REQUEST_ID in fields or b"traceparent" in fields else NO_TRACE
        call = Call(body=body, headers=scope["headers"], session=session, caller=caller, trace=trace)
        run = runtime.run(name, "run_api", call, via=VIA, chosen=live)
        direct = DirectRun(run, answer, _render, go_on_answered)
        try:
            if not run.begin(direct.stop):
                return False
        except HayhooksError as error:
            direct.fail(error)
        else:
            direct.call()
        return True

    async def legacy(scope: Scope, receive: Receive, send: Send) -> None:
        name: str = scope["deployment"]
        limit = options.body_limit(runtime.find(name, caller_of(scope)).limits)
        require(scope, "POST")
        require_json(header(scope, b"content-type"))
        data = _json_object(await read_body(scope, receive, limit))
        call = Call(arguments={"data": data}, session=session_of(scope), caller=caller_of(scope), trace=trace_of(scope))
        async with cancel_on_disconnect(receive), runtime.run(name, "run_pipeline", call, via=VIA) as run:
            reply = await run.reply()
            assert isinstance(reply, Result)
            await send_bytes(send, 200, reply.json, JSON, (request_id_header(run),))

    verbs = {"run": rest_errors_answered(run_api, options), "": rest_errors_answered(legacy, options)}
    yield Handlers(verbs, begin_run)


async def _answer(run: Run, scope: Scope, receive: Receive, send: Send, options: HTTPOptions) -> None:
    stream: StreamSender | None = None
    is_sse = False
    try:
        # Watching begins before the run does: who leaves while it waits for a slot must not take one.
        async with cancel_on_disconnect(receive) as watching, run:
            reply = await run.reply()
            request_id = request_id_header(run)
            if isinstance(reply, Result):
                await send_bytes(send, 200, _render(reply), JSON, (request_id,))
            elif isinstance(reply, Raw):
                await _respond(run, reply.response, watching, scope, receive, send)
            else:
                watching.start()
                run.is_streamed = True
                is_sse = reply.media == "sse"
                stream = _sender(send, request_id, options, is_sse=is_sse)
                write = _sse if is_sse else _text
                async for events in run.stream(reply):
                    await stream.write(write(events))
                await stream.end()
    except HayhooksError as error:
        # Caught outside of the run: it is told why it ends, and its time-out is raised only at its end.
        if stream is None or not is_sse or not stream.has_begun or stream.has_ended:
            raise  # plain text that has begun has no place for an error: it is cut
        _, body, _ = error_body(error, show_tracebacks=options.show_tracebacks)
        await stream.end(b"event: error\ndata: " + json.dumps(body, default=str).encode() + b"\n\n")
    finally:
        if stream is not None:
            stream.close()


def _render(result: Result) -> bytes:
    return b'{"result":' + result.json + b"}"


def _sender(send: Send, request_id: Header, options: HTTPOptions, *, is_sse: bool) -> StreamSender:
    return StreamSender(send, (SSE if is_sse else TEXT, request_id), options, HEARTBEAT if is_sse else None)


async def _respond(
    run: Run, response: ASGIApp, watching: cancel_on_disconnect, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let a response of the user's answer; what it raises while it sends is a failure of the run."""
    start: Message | None = None

    async def watched(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message  # waits for the first bytes, so that an early failure still gets a status
            return
        if start is not None:
            begin, start = start, None
            await send(begin)
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            watching.stop()  # its background task does not need the caller

    try:
        # From 2.4 on a response leaves it to us to notice that the caller has left.
        await response({**scope, "asgi": {**scope["asgi"], "spec_version": "2.4"}}, receive, watched)
    except HayhooksError:
        raise
    except BaseException as error:  # SystemExit too: a response may not end the server
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise RunFailed(run.context.deployment) from error


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


def _json_object(body: bytes) -> dict[str, object]:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(value, dict) for value in data.values()):
        raise InvalidRequest("The body must be {component: {input: value}}.")
    return data
