"""The library's request handler with what it leaves to servers: which parts an agent takes, what errors may tell."""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from a2a.server.agent_execution.active_task import TERMINAL_TASK_STATES
from a2a.server.cluster import StoredTask, TaskEventStream, TaskVersion, VersionedEvent, VersionedTaskStore
from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.tasks.push_notification_config_store import PushNotificationConfigStore
from a2a.server.tasks.push_notification_sender import PushNotificationSender
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    GetExtendedAgentCardRequest,
    Message,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
)
from a2a.utils.errors import (
    A2AError,
    ContentTypeNotSupportedError,
    InternalError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import ParseDict
from loguru import logger

from hayhooks.core.errors import HayhooksError
from hayhooks.surfaces.a2a.card import input_modes, takes
from hayhooks.surfaces.a2a.executor import Executor
from hayhooks.surfaces.a2a.following import follow
from hayhooks.surfaces.a2a.parts import media_type
from hayhooks.surfaces.a2a.tasks import AT_WORK
from hayhooks.surfaces.a2a.visit import visit_of

_LONGEST_ID = 200  # of what a caller names: contexts and messages
_PARKED_S = 1.0  # for which a task that waits for input stays in memory; then any process goes on with it
_OPERATIONS = (
    "on_get_task", "on_list_tasks", "on_cancel_task", "on_create_task_push_notification_config",
    "on_get_task_push_notification_config", "on_list_task_push_notification_configs",
    "on_delete_task_push_notification_config",
)  # fmt: skip


class Handler(DefaultRequestHandlerV2):
    """Answers every operation of every agent; the visit in the call's context says which."""

    def __init__(
        self,
        executor: Executor,
        tasks: VersionedTaskStore,
        extended_card: Callable[[ServerCallContext], dict[str, Any] | None],
        push_configs: PushNotificationConfigStore | None,
        push_sender: PushNotificationSender | None,
        is_allowed: Callable[[str], Awaitable[bool]] | None,
    ) -> None:
        capabilities = AgentCapabilities(
            streaming=True, push_notifications=push_configs is not None, extended_agent_card=True
        )
        super().__init__(
            executor,
            tasks,
            # What all agents have in common; none of them has this card.
            AgentCard(name="agents", description="agents", version="1", capabilities=capabilities),
            push_config_store=push_configs,
            push_sender=push_sender,
            push_url_validator=is_allowed,
            event_stream=_Elsewhere(),
            interrupted_task_timeout=_PARKED_S,
        )
        self._executor = executor
        self._extended_card = extended_card
        for name in _OPERATIONS:
            setattr(self, name, _told(getattr(self, name)))

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        """Run the agent, and answer when it is done or needs something."""
        self._check(params, context)
        await self._find_task(params.message, context)
        has_push = params.configuration.HasField("task_push_notification_config")
        visit_of(context).tells_id_early = params.configuration.return_immediately or has_push
        return await _told(super().on_message_send)(params, context)  # type: ignore[no-any-return]

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Run the agent, and stream what it says."""
        self._check(params, context)
        await self._find_task(params.message, context)
        async for event in _told_stream(super().on_message_send_stream(params, context), context):
            yield event

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Stream what a run says that is under way, in whichever process."""
        stream = super().on_subscribe_to_task(params, context)
        if params.id and not self._executor.is_running(params.id):
            stored = await _told(self._of_task)(params.id, context)
            if stored is not None and stored.task.status.state not in TERMINAL_TASK_STATES:
                await stream.aclose()
                stream = follow(stored.task, lambda: self._of_task(params.id, context))
        async for event in _told_stream(stream, context):
            yield event

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """The card for callers who have shown who they are."""
        card = self._extended_card(context)
        if card is None:
            raise UnsupportedOperationError("The agent does not support authenticated extended cards.")
        found: AgentCard = ParseDict(card, AgentCard(), ignore_unknown_fields=True)
        return found

    async def _find_task(self, message: Message, context: ServerCallContext) -> None:
        """Find the task that *message* is for, if it names one. Raises when that takes no message now."""
        visit = visit_of(context)
        visit.is_new = not message.task_id
        visit.is_new_context = not (message.task_id or message.context_id)
        stored = await _told(self._of_task)(message.task_id, context) if message.task_id else None
        if stored is None:
            return
        if stored.task.status.state in AT_WORK:  # whichever process runs it, the answer is the same
            raise UnsupportedOperationError(
                "The task is being worked on. It takes a message when it has asked for input; or send one without its "
                "taskId, in the same context."
            )
        if not message.context_id:
            message.context_id = stored.task.context_id  # the library would make a new one

    async def _of_task(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        return await self._versioned_store.get(task_id, context)

    def _check(self, params: SendMessageRequest, context: ServerCallContext) -> None:
        """Refuse what no agent, or this one does not take."""
        message = params.message
        visit_of(context).is_read = True
        for name, value in (("contextId", message.context_id), ("messageId", message.message_id)):
            if len(value) > _LONGEST_ID:
                raise InvalidParamsError(f"{name} is longer than {_LONGEST_ID} characters.")
        if params.configuration.HasField("task_push_notification_config") and self._push_config_store is None:
            raise PushNotificationNotSupportedError
        modes = input_modes(visit_of(context).deployment)
        for part in message.parts:
            if part.WhichOneof("content") is None:
                raise InvalidParamsError("A part has no content: give 'text', 'data', 'raw' or 'url'.")
            media = media_type(part)
            if media is not None and not takes(modes, media):
                raise ContentTypeNotSupportedError(
                    f"Incompatible content type: {media[:80]!r} is not supported. The agent takes {', '.join(modes)}."
                )


class _Elsewhere(TaskEventStream):
    """Tells the library that other processes work on the same tasks; following those is done by looking at them."""

    async def publish(self, task_id: str, event: VersionedEvent) -> None:
        """Nobody listens: what is written is looked at."""

    async def subscribe(self, task_id: str, *, after: TaskVersion) -> AsyncGenerator[VersionedEvent, None]:
        """Nothing comes this way."""
        return
        yield  # what makes it a generator

    async def destroy(self, task_id: str) -> None:
        """There is nothing to free."""


def _told(operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """*operation*, whose errors tell a caller nothing that is not the caller's."""

    @functools.wraps(operation)
    async def told(params: Any, context: ServerCallContext) -> Any:
        try:
            return await operation(params, context)
        except Exception as error:
            raise _sayable(error, context) from error

    return told


async def _told_stream(stream: AsyncGenerator[Event, None], context: ServerCallContext) -> AsyncGenerator[Event, None]:
    try:
        async for event in stream:
            yield event
    except Exception as error:
        raise _sayable(error, context) from error
    finally:
        await stream.aclose()


def _sayable(error: Exception, context: ServerCallContext) -> A2AError:
    if isinstance(error, HayhooksError):
        visit_of(context).refusal = error
        return InternalError(str(error))
    if isinstance(error, A2AError):
        return error
    logger.opt(exception=error).error("A2A request to {} failed", visit_of(context).agent)
    return InternalError("Internal server error. The server's log says why.")
