"""Messages: one answered, plain or streamed, and the tokens of one estimated."""

import uuid

from starlette.types import Receive, Scope, Send

from hayhooks.core.deployment import Call, Deployment
from hayhooks.core.errors import EntryNotFound, HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    Header,
    HTTPOptions,
    caller_of,
    header,
    read_body,
    require,
    require_json,
    send_bytes,
    send_json,
)
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._session import session_of
from hayhooks.surfaces._streams import StreamSender
from hayhooks.surfaces._tokens import estimated_tokens
from hayhooks.surfaces.anthropic.convert import chat_body, chat_messages, chat_tools
from hayhooks.surfaces.anthropic.errors import error_answer, request_headers
from hayhooks.surfaces.anthropic.fold import PING, Heard, Streamed, Whole
from hayhooks.surfaces.anthropic.models import ENTRY
from hayhooks.surfaces.anthropic.requests import CountRequest, MessagesRequest, read_request

VIA = "anthropic"
SSE: Header = (b"content-type", b"text/event-stream; charset=utf-8")


class Messages:
    """Answers the requests below ``/v1/messages``."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A Message, whole or streamed."""
        request, data = read_request(await self._body(scope, receive), MessagesRequest)
        deployment = self._find(request.model, scope)
        body = chat_body(request, data)
        call = Call(
            arguments={"model": request.model, "messages": body["messages"], "body": body},
            headers=scope["headers"],
            session=session_of(scope, body),
            caller=caller_of(scope),
        )
        heard = Heard(
            runs_own_tools=deployment.runs_own_tools,
            shows_thinking=request.thinking is not None and request.thinking.is_shown,
            stop_sequences=request.stop_sequences or (),
        )
        if request.stream:
            await self._stream(request.model, call, Streamed(request.model, heard), receive, send)
        else:
            await self._whole(request.model, call, Whole(request.model, heard), receive, send)

    async def count_tokens(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The estimated number of tokens of a request."""
        request, _ = read_request(await self._body(scope, receive), CountRequest)
        self._find(request.model, scope)
        tokens = estimated_tokens(chat_messages(request), chat_tools(request.tools or ()))
        await send_json(send, 200, {"input_tokens": tokens}, request_headers(new_request_id()))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        require(scope, "POST")
        require_json(header(scope, b"content-type"))
        return await read_body(scope, receive, self._options.max_body_bytes)

    def _find(self, model: str, scope: Scope) -> Deployment:
        deployment = self._runtime.find(model, caller_of(scope))
        if ENTRY not in deployment.entries:
            raise EntryNotFound(model, "chat hook")
        return deployment

    async def _whole(self, name: str, call: Call, fold: Whole, receive: Receive, send: Send) -> None:
        request_id = ""
        try:
            async with cancel_on_disconnect(receive), self._runtime.run(name, ENTRY, call, via=VIA) as run:
                request_id = run.context.run_id
                async for events in run.batches():
                    fold.add(events)
                await send_bytes(send, 200, fold.body(), headers=request_headers(request_id))
        except HayhooksError as error:
            await self._refuse(error, request_id, send)

    async def _stream(self, name: str, call: Call, fold: Streamed, receive: Receive, send: Send) -> None:
        request_id = ""
        sender: StreamSender | None = None
        try:
            async with cancel_on_disconnect(receive) as watching, self._runtime.run(name, ENTRY, call, via=VIA) as run:
                request_id = run.context.run_id
                headers = (SSE, *request_headers(request_id))
                sender = StreamSender(send, headers, PING, self._options.heartbeat_s)
                watching.start()
                async for events in run.batches():
                    await sender.write(fold.frames(events))
                await sender.end(fold.end())
        except Exception as error:
            if sender is None or not sender.has_begun:
                if not isinstance(error, HayhooksError):
                    raise
                await self._refuse(error, request_id, send)
                return
            if sender.has_ended:
                raise
            _, answer, _ = error_answer(error, request_id, show_tracebacks=self._options.show_tracebacks)
            await sender.end(fold.failure(answer))
            if not isinstance(error, HayhooksError):
                raise
        finally:
            if sender is not None:
                sender.close()

    async def _refuse(self, error: HayhooksError, request_id: str, send: Send) -> None:
        """Answer with *error*, under the id of the run when there was one: the log has it."""
        status, answer, headers = error_answer(
            error, request_id or new_request_id(), show_tracebacks=self._options.show_tracebacks
        )
        await send_json(send, status, answer, headers)


def new_request_id() -> str:
    """An id for a request that is no run."""
    return f"req_{uuid.uuid4().hex}"
