"""Messages: one answered, plain or streamed, and the tokens of one estimated."""

import uuid

from starlette.types import Receive, Scope, Send

from hayhooks.core.context import NO_SESSION, Session
from hayhooks.core.deployment import Call
from hayhooks.core.errors import EntryNotFound, HayhooksError
from hayhooks.core.registry import Live
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    Header,
    HTTPOptions,
    caller_of,
    header,
    read_body,
    require,
    require_json,
    require_size,
    send_bytes,
    send_json,
    trace_of,
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
        sent = await self._body(scope, receive)
        request, data = read_request(sent, MessagesRequest)
        body = chat_body(request, data)
        session = session_of(scope, body)
        chosen = self._choose(request.model, scope, session)
        require_size(sent, chosen.deployment.limits)
        del sent
        call = Call(
            arguments={"model": request.model, "messages": body["messages"], "body": body},
            headers=scope["headers"],
            session=session,
            caller=caller_of(scope),
            trace=trace_of(scope),
        )
        heard = Heard(
            runs_own_tools=chosen.deployment.runs_own_tools,
            shows_thinking=request.thinking is not None and request.thinking.is_shown,
            stop_sequences=request.stop_sequences or (),
        )
        run = self._runtime.run(request.model, ENTRY, call, via=VIA, chosen=chosen)
        if request.stream:
            await self._stream(run, Streamed(request.model, heard), receive, send)
        else:
            await self._whole(run, Whole(request.model, heard), receive, send)

    async def count_tokens(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The estimated number of tokens of a request."""
        request, _ = read_request(await self._body(scope, receive), CountRequest)
        self._choose(request.model, scope)
        tokens = estimated_tokens(chat_messages(request), chat_tools(request))
        request_id = trace_of(scope).request_id or new_request_id()
        await send_json(send, 200, {"input_tokens": tokens}, request_headers(request_id))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        require(scope, "POST")
        require_json(header(scope, b"content-type"))
        return await read_body(scope, receive, self._options.max_body_bytes)

    def _choose(self, model: str, scope: Scope, session: Session = NO_SESSION) -> Live:
        chosen = self._runtime.choose(model, caller_of(scope), session)
        if ENTRY not in chosen.deployment.entries:
            raise EntryNotFound(model, "chat hook")
        return chosen

    async def _whole(self, run: Run, fold: Whole, receive: Receive, send: Send) -> None:
        request_id = ""
        try:
            async with cancel_on_disconnect(receive), run:
                request_id = run.context.request_id
                async for events in run.batches():
                    fold.add(events)
                await send_bytes(send, 200, fold.body(), headers=request_headers(request_id))
        except HayhooksError as error:
            await self._refuse(error, request_id, send)

    async def _stream(self, run: Run, fold: Streamed, receive: Receive, send: Send) -> None:
        request_id = ""
        sender: StreamSender | None = None
        try:
            async with cancel_on_disconnect(receive) as watching, run:
                request_id = run.context.request_id
                run.is_streamed = True
                headers = (SSE, *request_headers(request_id))
                sender = StreamSender(send, headers, self._options, PING)
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
            error, error.request_id or request_id or new_request_id(), show_tracebacks=self._options.show_tracebacks
        )
        await send_json(send, status, answer, headers)


def new_request_id() -> str:
    """An id for a request that is no run."""
    return f"req_{uuid.uuid4().hex}"
