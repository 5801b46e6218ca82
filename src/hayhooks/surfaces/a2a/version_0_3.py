"""Clients of A2A 0.3: the library reads them, and here is what it reads otherwise than 0.3 says.

Wrong parameters are told from requests that are none, errors of streams have a status, and messages are of somebody.
The configuration of a task's push notifications needs no name, and can be deleted over HTTP+JSON, too.
Source: A2A specification 0.3.0, sections 3.5.6, 7.6 and 8.
"""

import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from a2a.compat.v0_3 import types
from a2a.compat.v0_3.jsonrpc_adapter import JSONRPC03Adapter
from a2a.compat.v0_3.request_handler import RequestHandler03
from a2a.compat.v0_3.rest_adapter import REST03Adapter
from a2a.compat.v0_3.rest_handler import REST03Handler
from a2a.server.context import ServerCallContext
from a2a.server.jsonrpc_models import InvalidParamsError as InvalidParams
from a2a.server.jsonrpc_models import InvalidRequestError as InvalidRequest
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.utils.constants import PROTOCOL_VERSION_0_3
from a2a.utils.error_handlers import rest_stream_error_handler
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from a2a.utils.version_validator import validate_version
from pydantic import ValidationError
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hayhooks.surfaces.a2a.visit import visit_of

_LONGEST_HISTORY = 2**31 - 1
_MISTAKES = 5  # that are told of one request
_ROLES = ("ROLE_USER", "ROLE_AGENT", 1, 2)  # protocol buffers in JSON may say the number


class Dispatcher(JsonRpcDispatcher):
    """JSON-RPC of 1.0, and of 0.3 where *speaks_0_3*."""

    def __init__(self, handler: RequestHandler, contexts: ServerCallContextBuilder, *, speaks_0_3: bool) -> None:
        super().__init__(handler, contexts, enable_v0_3_compat=speaks_0_3)
        if speaks_0_3:
            self._v03_adapter = _JSONRPC(handler, contexts)


def rest_routes(handler: RequestHandler, contexts: ServerCallContextBuilder) -> list[Route]:
    """The routes of HTTP+JSON as 0.3 has them."""
    routes = _REST(handler, contexts).routes()
    return [Route(path, endpoint, methods=[method]) for (path, method), endpoint in routes.items()]


class _Operations(RequestHandler03):
    async def on_get_task(self, request: types.GetTaskRequest, context: ServerCallContext) -> types.Task:
        _check_history(request.params.history_length)
        return await super().on_get_task(request, context)

    async def on_message_send(
        self, request: types.SendMessageRequest, context: ServerCallContext
    ) -> types.Task | types.Message:
        _check_configuration(request)
        return await super().on_message_send(request, context)

    def on_message_send_stream(
        self, request: types.SendMessageRequest, context: ServerCallContext
    ) -> AsyncIterable[types.SendStreamingMessageSuccessResponse]:
        _check_configuration(request)
        return super().on_message_send_stream(request, context)

    async def on_get_task_push_notification_config(
        self, request: types.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> types.TaskPushNotificationConfig:
        params = request.params
        if isinstance(params, types.GetTaskPushNotificationConfigParams) and params.push_notification_config_id:
            return await super().on_get_task_push_notification_config(request, context)
        # 1.0 wants to know which; 0.3 may ask for the task's.
        all_of_it = types.ListTaskPushNotificationConfigRequest(
            id=request.id, params=types.ListTaskPushNotificationConfigParams(id=params.id)
        )
        found = await self.on_list_task_push_notification_configs(all_of_it, context)
        if not found:
            raise TaskNotFoundError("The task has no push notification configuration.")
        return found[0]


class _JSONRPC(JSONRPC03Adapter):
    def __init__(self, handler: RequestHandler, contexts: ServerCallContextBuilder) -> None:
        super().__init__(handler, contexts)
        self.handler = _Operations(handler)

    def _generate_error_response(self, request_id: str | int | None, error: Any) -> JSONResponse:
        # The library reads a request at once, and calls every mistake in it one of the request; it says which while it
        # handles what reading has raised.
        fault = sys.exception()
        if isinstance(error, InvalidRequest) and isinstance(fault, ValidationError):
            mistakes = fault.errors(include_url=False, include_context=False, include_input=False)
            if all(mistake["loc"][:1] == ("params",) for mistake in mistakes):
                told = [{"field": ".".join(map(str, m["loc"][1:])), "message": m["msg"]} for m in mistakes[:_MISTAKES]]
                error = InvalidParams(data={"errors": told})
        return super()._generate_error_response(request_id, error)

    async def _process_non_streaming_request(
        self, request_id: str | int | None, request_obj: Any, context: ServerCallContext
    ) -> JSONResponse:
        answer = await super()._process_non_streaming_request(request_id, request_obj, context)
        if request_obj.method != "tasks/pushNotificationConfig/delete":
            return answer
        return JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": None})  # the library leaves null out


class _REST(REST03Adapter):
    def __init__(self, handler: RequestHandler, contexts: ServerCallContextBuilder) -> None:
        super().__init__(handler, contexts)
        self.handler = self._operations = _RESTOperations(handler)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Any]]:
        async def delete(request: Request) -> Any:
            return await self._handle_request(self._operations.delete_push_notification, request)

        return {**super().routes(), ("/v1/tasks/{id}/pushNotificationConfigs/{push_id}", "DELETE"): delete}

    @rest_stream_error_handler
    async def _handle_streaming_request(
        self, method: Callable[[Request, ServerCallContext], AsyncIterable[Any]], request: Request
    ) -> EventSourceResponse:
        events = aiter(method(request, self._context_builder.build(request)))
        first = await anext(events)  # what it raises is an answer still

        async def encoded() -> AsyncIterator[str]:
            yield msgspec.json.encode(first).decode()
            async for event in events:
                yield msgspec.json.encode(event).decode()

        return EventSourceResponse(encoded())


class _Said(msgspec.Struct):
    role: str | int | None = None


class _Sent(msgspec.Struct):
    message: _Said | None = None


class _RESTOperations(REST03Handler):
    def __init__(self, handler: RequestHandler) -> None:
        super().__init__(handler)
        self.handler03 = _Operations(handler)

    async def on_get_task(self, request: Request, context: ServerCallContext) -> dict[str, Any]:
        length = request.query_params.get("historyLength")
        if length and not length.removeprefix("-").isdecimal():
            raise InvalidParamsError("historyLength is not a number.")
        return await super().on_get_task(request, context)

    async def on_message_send(self, request: Request, context: ServerCallContext) -> dict[str, Any]:
        await _check_role(request)
        with _reading(context):
            return await super().on_message_send(request, context)

    async def on_message_send_stream(
        self, request: Request, context: ServerCallContext
    ) -> AsyncIterator[dict[str, Any]]:
        await _check_role(request)
        with _reading(context):
            async for event in super().on_message_send_stream(request, context):
                yield event

    @validate_version(PROTOCOL_VERSION_0_3)
    async def delete_push_notification(self, request: Request, context: ServerCallContext) -> dict[str, Any]:
        params = types.DeleteTaskPushNotificationConfigParams(
            id=request.path_params["id"], push_notification_config_id=request.path_params["push_id"]
        )
        deletion = types.DeleteTaskPushNotificationConfigRequest(id="", params=params)
        await self.handler03.on_delete_task_push_notification_config(deletion, context)
        return {}


async def _check_role(request: Request) -> None:
    """Refuse a message of nobody, which the library takes for the agent's. What cannot be read is refused by it."""
    with suppress(msgspec.DecodeError):
        sent = msgspec.json.decode(await request.body(), type=_Sent)
        if sent.message is not None and sent.message.role not in _ROLES:
            raise InvalidParamsError("message.role is neither ROLE_USER nor ROLE_AGENT.")


@contextmanager
def _reading(context: ServerCallContext) -> Iterator[None]:
    """What fails before the message has been read is the caller's mistake; the library has no name for it."""
    try:
        yield
    except ValueError as error:
        if visit_of(context).is_read:
            raise
        raise InvalidParamsError(
            "The message cannot be read: a part of it has no content, or the wrong one."
        ) from error


def _check_configuration(request: types.SendMessageRequest) -> None:
    if request.params.configuration:
        _check_history(request.params.configuration.history_length)


def _check_history(length: int | None) -> None:
    if length is not None and not 0 <= length <= _LONGEST_HISTORY:
        raise InvalidParamsError(f"historyLength is not between 0 and {_LONGEST_HISTORY}.")
