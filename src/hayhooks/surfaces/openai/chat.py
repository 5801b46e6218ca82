"""OpenAI chat completions, by model name or as ``POST /{deployment}/chat``."""

from typing import Any

from starlette.types import Receive, Scope, Send

from hayhooks.core.deployment import Call, Deployment
from hayhooks.core.errors import EntryNotFound, HayhooksError
from hayhooks.core.events import Event, Raw, Texts
from hayhooks.core.registry import Live
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    Header,
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    header,
    read_body,
    request_id_header,
    require,
    require_json,
    require_size,
    send_bytes,
    send_json,
    trace_of,
)
from hayhooks.surfaces._json import invalid, json_object
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._session import session_of
from hayhooks.surfaces._streams import STREAM_HEADERS, StreamSender
from hayhooks.surfaces.openai.errors import error_answer
from hayhooks.surfaces.openai.event_form import event_form
from hayhooks.surfaces.openai.fold import Chunked, Whole, has_text
from hayhooks.surfaces.openai.tasks import default_answer, task_of

ENTRY = "run_chat_completion"
TASK_ENTRY = "run_open_webui_task"
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
            limit = options.max_body_bytes  # of the server, where the body names the model
            if model is not None:
                limit = options.body_limit(self._runtime.find(model, caller_of(scope)).limits)
            data = await read_body(scope, receive, limit)
            body = read_chat_body(data, model)
            model = body["model"]
            session = session_of(scope, body)
            chosen = self._runtime.choose(model, caller_of(scope), session)
            deployment = chosen.deployment
            require_size(data, deployment.limits)
            del data
            if ENTRY not in deployment.entries:
                raise EntryNotFound(model, "chat hook")
            fold = self._fold(deployment, scope, body)
            task = task_of(body)
            if task is not None and deployment.attributes["open_webui_tasks"] != "chat":
                await self._task(task, chosen, fold, scope, body, receive, send)
                return
            call = Call(
                arguments={"model": model, "messages": body["messages"], "body": body},
                headers=scope["headers"],
                session=session,
                caller=caller_of(scope),
                trace=trace_of(scope),
                wants_stream=body["stream"],
            )
            run = self._runtime.run(model, ENTRY, call, via=VIA, chosen=chosen)
            if isinstance(fold, Chunked):
                await self._stream(run, fold, receive, send)
            else:
                await self._whole(run, fold, scope, receive, send)
        except (HayhooksError, MethodNotAllowed) as error:
            status, answer, headers = error_answer(error, show_tracebacks=options.show_tracebacks)
            await send_json(send, status, answer, headers)

    def _fold(self, deployment: Deployment, scope: Scope, body: dict[str, Any]) -> Chunked | Whole:
        if not body["stream"]:
            return Whole(deployment.name, runs_own_tools=deployment.runs_own_tools)
        return Chunked(
            deployment.name,
            runs_own_tools=deployment.runs_own_tools,
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            events=event_form(scope, self._options.events),
        )

    async def _task(
        self,
        task: str,
        chosen: Live,
        fold: Chunked | Whole,
        scope: Scope,
        body: dict[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer what Open WebUI asks for around a chat: by the wrapper's hook for it, or in a word of our own."""
        messages = body["messages"]
        events: list[Event] = []
        if TASK_ENTRY in chosen.deployment.entries:
            call = Call(
                arguments={"task": task, "messages": messages, "body": body},
                headers=scope["headers"],
                session=session_of(scope, body),
                caller=caller_of(scope),
                trace=trace_of(scope),
            )
            running = self._runtime.run(chosen.deployment.name, TASK_ENTRY, call, via=VIA, chosen=chosen)
            async with cancel_on_disconnect(receive), running as run:
                events = [event async for event in run]
        if not has_text(events):
            events = [Texts([default_answer(task, messages)])]
        if isinstance(fold, Chunked):
            frames = fold.frames(events) + fold.end()
            await send_bytes(send, 200, frames, SSE, STREAM_HEADERS)
        else:
            fold.add(events)
            await send_bytes(send, 200, fold.body())

    async def _whole(self, run: Run, fold: Whole, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancel_on_disconnect(receive), run:
            async for events in run.batches():
                if events and isinstance(events[0], Raw):
                    await events[0].response(scope, receive, send)
                    return
                fold.add(events)
            await send_bytes(send, 200, fold.body(), headers=(request_id_header(run),))

    async def _stream(self, run: Run, fold: Chunked, receive: Receive, send: Send) -> None:
        sender: StreamSender | None = None
        try:
            async with cancel_on_disconnect(receive) as watching, run:
                run.is_streamed = True
                sender = StreamSender(send, (SSE, request_id_header(run)), self._options, HEARTBEAT)
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
        raise invalid("model", "'model' must be the name of a model.")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "'messages' must be a list of at least one message.")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid(f"messages.{place}", f"'messages[{place}]' must be an object with a 'role'.")
    if data.get("stream") is None:
        data["stream"] = False
    if not isinstance(data["stream"], bool):
        raise invalid("stream", "'stream' must be true or false.")
    options = data.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise invalid("stream_options", "'stream_options' must be an object.")
    return data
