"""OpenAI Responses: made by a deployment, kept, looked up, continued, cancelled."""

import asyncio
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from hayhooks.core.deployment import Call, Deployment
from hayhooks.core.errors import EntryNotFound, HayhooksError
from hayhooks.core.events import Raw
from hayhooks.core.responses import KeptResponse
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    header,
    read_body,
    request_id_header,
    require,
    require_json,
    require_size,
    route_path,
    send_bytes,
    send_json,
    trace_of,
)
from hayhooks.surfaces._json import json_bytes, json_object
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._session import session_of
from hayhooks.surfaces._streams import StreamSender
from hayhooks.surfaces._tokens import estimated_tokens
from hayhooks.surfaces.openai.chat import ENTRY as CHAT
from hayhooks.surfaces.openai.chat import HEARTBEAT, SSE, VIA
from hayhooks.surfaces.openai.errors import Refused, error_answer
from hayhooks.surfaces.openai.paging import list_object, number, page_of, page_of_items, query
from hayhooks.surfaces.openai.responses_background import Background
from hayhooks.surfaces.openai.responses_body import check_response_body, model_of
from hayhooks.surfaces.openai.responses_events import events_after, replayed
from hayhooks.surfaces.openai.responses_fold import Fold
from hayhooks.surfaces.openai.responses_items import chat_body, chat_messages, listed
from hayhooks.surfaces.openai.responses_namespaces import namespaced
from hayhooks.surfaces.openai.responses_object import new_response
from hayhooks.surfaces.openai.responses_state import INTERRUPTED, Memory, Turn

ENTRY = "run_response"
_NOT_HERE = ("compact",)  # a word of the API in the place of an id, which has no meaning for a pipeline


class Responses:
    """Answers everything below ``/responses``."""

    def __init__(self, runtime: Runtime, options: HTTPOptions, memory: Memory, background: Background) -> None:
        self._runtime = runtime
        self._options = options
        self._memory = memory
        self._background = background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            _, _, rest = route_path(scope).partition("/responses")
            parts = [unquote(part) for part in rest.strip("/").split("/")] if rest else []
            match parts:
                case []:
                    require(scope, "POST")
                    await self._create(scope, receive, send)
                case ["input_tokens"]:
                    require(scope, "POST")
                    await self._count(scope, receive, send)
                case [response_id] if response_id not in _NOT_HERE:
                    require(scope, "GET", "HEAD", "DELETE")
                    await (
                        self._delete(response_id, scope, send)
                        if scope["method"] == "DELETE"
                        else self._get(response_id, scope, receive, send)
                    )
                case [response_id, "cancel"]:
                    require(scope, "POST")
                    await self._cancel(response_id, scope, send)
                case [response_id, "input_items"]:
                    require(scope, "GET", "HEAD")
                    await self._input_items(response_id, scope, send)
                case _:
                    raise Refused(404, f"Unknown path {scope['path'][:200]!r}.", "unknown_url")
        except (HayhooksError, MethodNotAllowed) as error:
            status, answer, headers = error_answer(error, show_tracebacks=self._options.show_tracebacks)
            await send_json(send, status, answer, headers)

    # -- creating ---------------------------------------------------------------------------------------------

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, turn = await self._begun(scope, receive)
        model = body["model"]
        # Only now is it known which session it goes on with, and so which version answers.
        chosen = self._runtime.choose(model, caller_of(scope), turn.session)
        deployment = chosen.deployment
        entry = self._target(deployment)
        call = _call(body, turn, entry, scope)
        run = self._runtime.run(model, entry, call, via=VIA, chosen=chosen)
        response = new_response(turn.id, body, turn.conversation_id)
        is_streamed = body["stream"] or body["background"]
        fold = Fold(
            response,
            runs_own_tools=deployment.runs_own_tools,
            is_streamed=is_streamed,
            namespaced=namespaced(body),
        )
        if body["background"]:
            response = await self._memory.keep(turn, response, is_new=True)
            if not response["store"]:
                raise OSError("A background response could not be kept.")
            log = self._background.start(turn, run, fold)
            if body["stream"]:
                await self._follow(log.after(-1), receive, send)
            else:
                await send_bytes(send, 200, json_bytes(response))
        elif body["stream"]:
            await self._stream(run, turn, fold, receive, send)
        else:
            await self._whole(run, turn, fold, scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The estimated number of tokens of a request, with all that it continues."""
        body, turn = await self._begun(scope, receive)
        self._target(self._runtime.find(body["model"], caller_of(scope)))
        messages = chat_messages([*turn.history, *turn.items], body.get("instructions"))
        tokens = estimated_tokens(messages, body.get("tools") or [])
        await send_json(send, 200, {"object": "response.input_tokens", "input_tokens": tokens})

    async def _begun(self, scope: Scope, receive: Receive) -> tuple[dict[str, Any], Turn]:
        """A request's body, and what came before."""
        require_json(header(scope, b"content-type"))
        data = await read_body(scope, receive, self._options.max_body_bytes)
        body = json_object(data)
        # A name that is not there is said first.
        require_size(data, self._runtime.find(model_of(body), caller_of(scope)).limits)
        del data
        check_response_body(body)
        return body, await self._memory.turn(body, session_of(scope, body), caller_of(scope))

    def _target(self, deployment: Deployment) -> str:
        """The hook that answers."""
        entry = next((entry for entry in (ENTRY, CHAT) if entry in deployment.entries), None)
        if entry is None:
            raise EntryNotFound(deployment.name, "Responses hook")
        return entry

    async def _whole(self, run: Run, turn: Turn, fold: Fold, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancel_on_disconnect(receive) as watching, run:
            request_id = request_id_header(run)
            async for events in run.batches():
                if events and isinstance(events[0], Raw):
                    await events[0].response(scope, receive, send)
                    return
                fold.add(events)
        if watching.has_fired:
            return
        fold.end()
        response = await self._memory.keep(turn, fold.response, is_new=True)
        await send_bytes(send, 200, json_bytes(response), headers=(request_id,))

    async def _stream(self, run: Run, turn: Turn, fold: Fold, receive: Receive, send: Send) -> None:
        sender: StreamSender | None = None
        is_kept = False
        unexpected: Exception | None = None
        try:
            async with cancel_on_disconnect(receive) as watching, run:
                run.is_streamed = True
                sender = StreamSender(send, (SSE, request_id_header(run)), self._options, HEARTBEAT)
                watching.start()
                async for events in run.batches():
                    frames = fold.add(events)
                    if not is_kept:  # from now on the caller knows its id
                        is_kept = True
                        self._memory.keep_soon(turn, fold.response, is_new=True)
                    await sender.write(frames)
            last = fold.cancel() if watching.has_fired else fold.end()
        except asyncio.CancelledError:
            if is_kept:
                fold.fail(INTERRUPTED)
                self._memory.keep_soon(turn, fold.response, is_new=False)
            raise
        except Exception as error:
            if sender is None or not sender.has_begun or sender.has_ended:
                raise
            _, answer, _ = error_answer(error, show_tracebacks=self._options.show_tracebacks)
            last = fold.fail(answer["error"])
            unexpected = None if isinstance(error, HayhooksError) else error
        finally:
            if sender is not None:
                sender.close()
        if watching.has_fired and not is_kept:
            return
        await self._memory.keep(turn, fold.response, is_new=not is_kept)
        if sender is not None and not watching.has_fired:
            await sender.end(last)
        if unexpected is not None:
            raise unexpected

    async def _follow(self, log: Any, receive: Receive, send: Send) -> None:
        """Send events as they come; a caller who leaves stops nothing but this."""
        sender = StreamSender(send, (SSE,), self._options, HEARTBEAT)
        try:
            async with cancel_on_disconnect(receive) as watching:
                watching.start()
                async for events in log:
                    await sender.write(events)
                await sender.end()
        finally:
            sender.close()

    # -- what is kept -----------------------------------------------------------------------------------------

    async def _get(self, response_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        asked = query(scope)
        kept = await self._kept(response_id, scope)
        if asked.get("stream", "").lower() not in ("true", "1"):
            await send_bytes(send, 200, kept.response)
            return
        after = number(asked, "starting_after", 0) if "starting_after" in asked else -1
        log = self._background.log(response_id)
        if log is not None:
            await self._follow(log.after(after), receive, send)
            return
        if not kept.has_ended:
            where = "by another process of this server" if kept.is_background else "for the caller who began it"
            message = f"Response '{response_id}' is being streamed {where}. Ask again without 'stream'."
            raise Refused(400, message, "response_not_attachable", "stream")
        events = events_after(kept.events or replayed(msgspec.json.decode(kept.response)), 0, after)
        sender = StreamSender(send, (SSE,), self._options)
        await sender.end(events)

    async def _delete(self, response_id: str, scope: Scope, send: Send) -> None:
        kept = await self._kept(response_id, scope)
        await self._memory.ask(self._memory.store.of(caller_of(scope)).delete, response_id)
        if not kept.has_ended and self._background.log(response_id) is not None:
            await self._background.cancel(response_id)
        await send_json(send, 200, {"id": response_id, "object": "response", "deleted": True})

    async def _cancel(self, response_id: str, scope: Scope, send: Send) -> None:
        kept = await self._kept(response_id, scope)
        if not kept.is_background:
            message = "Only background responses can be cancelled; others stop when their caller leaves."
            raise Refused(400, message, "response_not_background", "response_id")
        if not kept.has_ended:
            await self._background.cancel(response_id)
            kept = await self._kept(response_id, scope)
        await send_bytes(send, 200, kept.response)

    async def _input_items(self, response_id: str, scope: Scope, send: Send) -> None:
        page = page_of(scope)
        kept = await self._kept(response_id, scope)
        items = [listed(item) for item in msgspec.json.decode(kept.input)]
        await send_json(send, 200, list_object(page_of_items(items, page), page.limit))

    async def _kept(self, response_id: str, scope: Scope) -> KeptResponse:
        kept = await self._memory.ask(self._memory.store.of(caller_of(scope)).get, response_id)
        if kept is None:
            raise Refused(404, f"Response with id '{response_id[:80]}' not found.", "response_not_found", "response_id")
        return kept


def _call(body: dict[str, Any], turn: Turn, entry: str, scope: Scope) -> Call:
    """The call of the hook: what was said before comes first."""
    items = [*turn.history, *turn.items]
    arguments: dict[str, Any] = {"model": body["model"]}
    if entry == ENTRY:
        arguments |= {"input_items": items, "body": body}
    else:
        messages = chat_messages(items, body.get("instructions"))
        arguments |= {"messages": messages, "body": chat_body(body, messages)}
    return Call(
        arguments=arguments,
        headers=scope["headers"],
        session=turn.session,
        caller=caller_of(scope),
        trace=trace_of(scope),
        wants_stream=body["stream"] or body["background"],
    )
