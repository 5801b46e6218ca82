"""OpenAI chat completions, by model name or as ``POST /{deployment}/chat``."""

from typing import Any

from starlette.types import Receive, Scope, Send

from hayhooks.core.deployment import Call
from hayhooks.core.errors import DeploymentNotFound, EntryNotFound, HayhooksError, InvalidRequest
from hayhooks.core.events import Raw
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    Header,
    HTTPOptions,
    MethodNotAllowed,
    header,
    read_body,
    require,
    require_json,
    send_bytes,
    send_json,
)
from hayhooks.surfaces._json import json_object
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._session import session_of
from hayhooks.surfaces._streams import StreamSender
from hayhooks.surfaces.openai.errors import error_answer
from hayhooks.surfaces.openai.fold import Chunked, Whole

ENTRY = "run_chat_completion"
VIA = "openai"
SSE: Header = (b"content-type", b"text/event-stream; charset=utf-8")
HEARTBEAT = b": still working\n\n"


class Chat:
    """Answers one chat completion request."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def by_model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The body names the model."""
        await self._answer(None, scope, receive, send)

    async def by_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The path names the model."""
        await self._answer(scope["deployment"], scope, receive, send)

    async def _answer(self, model: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        options = self._options
        try:
            require(scope, "POST")
            require_json(header(scope, b"content-type"))
            body = read_chat_body(await read_body(scope, receive, options.max_body_bytes), model)
            model = body["model"]
            live = self._runtime.live.get(model)
            if live is None:
                raise DeploymentNotFound(model)
            if ENTRY not in live.deployment.entries:
                raise EntryNotFound(model, "chat hook")
            own_tools = live.deployment.runs_own_tools
            call = Call(
                arguments={"model": model, "messages": body["messages"], "body": body},
                headers=scope["headers"],
                session=session_of(scope, body),
            )
            if body["stream"]:
                usage = bool((body.get("stream_options") or {}).get("include_usage"))
                await self._stream(call, Chunked(model, runs_own_tools=own_tools, include_usage=usage), receive, send)
            else:
                await self._whole(call, Whole(model, runs_own_tools=own_tools), scope, receive, send)
        except (HayhooksError, MethodNotAllowed) as error:
            status, answer, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
            await send_json(send, status, answer, headers)

    async def _whole(self, call: Call, fold: Whole, scope: Scope, receive: Receive, send: Send) -> None:
        name = call.arguments["model"] if call.arguments else ""
        async with cancel_on_disconnect(receive), self._runtime.run(name, ENTRY, call, via=VIA) as run:
            async for events in run.batches():
                if events and isinstance(events[0], Raw):
                    await events[0].response(scope, receive, send)
                    return
                fold.add(events)
            headers = ((b"x-request-id", run.context.run_id.encode()),)
            await send_bytes(send, 200, fold.body(), headers=headers)

    async def _stream(self, call: Call, fold: Chunked, receive: Receive, send: Send) -> None:
        name = call.arguments["model"] if call.arguments else ""
        sender: StreamSender | None = None
        try:
            async with cancel_on_disconnect(receive) as watching, self._runtime.run(name, ENTRY, call, via=VIA) as run:
                run_id: Header = (b"x-request-id", run.context.run_id.encode())
                sender = StreamSender(send, (SSE, run_id), HEARTBEAT, self._options.heartbeat_s)
                watching.start()
                async for events in run.batches():
                    await sender.write(fold.frames(events))
                await sender.end(fold.end())
        except Exception as error:
            if sender is None or not sender.has_begun or sender.has_ended:
                raise
            _, answer, _ = error_answer(error, show_tracebacks=self._options.show_tracebacks)
            await sender.end(fold.failure(answer))
            if not isinstance(error, HayhooksError):
                raise
        finally:
            if sender is not None:
                sender.close()


def read_chat_body(body: bytes, model: str | None) -> dict[str, Any]:
    """The request as plain data, checked as far as we read it ourselves; further fields are kept for the hook.

    Raises:
        InvalidRequest: Naming the field.
    """
    data = json_object(body)
    if model is not None:
        data["model"] = model
    if not isinstance(data.get("model"), str) or not data["model"]:
        raise _invalid("model", "'model' must be the name of a model.")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "'messages' must be a list of at least one message.")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _invalid(f"messages.{place}", f"'messages[{place}]' must be an object with a 'role'.")
    if data.get("stream") is None:
        data["stream"] = False
    if not isinstance(data["stream"], bool):
        raise _invalid("stream", "'stream' must be true or false.")
    options = data.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _invalid("stream_options", "'stream_options' must be an object.")
    return data


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, [{"loc": ["body", *field.split(".")], "msg": message, "type": "invalid"}])
