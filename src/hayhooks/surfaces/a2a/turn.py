"""One message to an agent and what is done about it, told as the states of a task."""

import asyncio
from collections.abc import Callable
from typing import Any

from a2a.server.agent_execution import RequestContext
from a2a.server.events import EventQueue
from a2a.types.a2a_pb2 import Task, TaskState, TaskStatusUpdateEvent
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from hayhooks.surfaces.a2a.tasks import status_of
from hayhooks.surfaces.a2a.visit import Visit, visit_of

_SUBMITTED_S = 0.05  # after which a task that waits for a slot is shown as submitted


class Turn:
    """One message and what is done about it, in the task that was current when it was made."""

    def __init__(self, context: RequestContext, queue: EventQueue) -> None:
        self.context = context
        self.queue = queue
        self.task_id = context.task_id or ""
        self.context_id = context.context_id or ""
        self.visit: Visit = visit_of(context.call_context)
        self.ended = asyncio.Event()
        self.is_shown = context.current_task is not None  # whoever asked knows of the task
        self.cause: BaseException | None = None  # of its cancellation
        self._runner = asyncio.current_task()
        self._submitting: asyncio.Task[None] | None = None
        self._showing = asyncio.Lock()

    def submit_soon(self) -> None:
        """Show the task as submitted, should it not begin at once."""
        self._submitting = asyncio.create_task(self._submit())

    async def begin(self) -> None:
        """Show the task as being worked at."""
        if not await self._show(TaskState.TASK_STATE_WORKING):
            await self.status(TaskState.TASK_STATE_WORKING)

    async def status(self, state: TaskState, said: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        """Say in which state the task is."""
        event = TaskStatusUpdateEvent(
            task_id=self.task_id,
            context_id=self.context_id,
            status=status_of(state, said, self.task_id, self.context_id),
        )
        if metadata:
            event.metadata.CopyFrom(ParseDict(metadata, Struct()))
        await self.queue.enqueue_event(event)

    async def fail(
        self, error: BaseException, told: Callable[[BaseException], tuple[TaskState, str, dict[str, Any]]]
    ) -> None:
        """Say that it has failed, and why."""
        await self._show(TaskState.TASK_STATE_SUBMITTED)
        await self.status(*told(error))

    def cancel(self, cause: BaseException) -> None:
        """Stop the run."""
        if self.cause is None and not self.ended.is_set() and self._runner is not None:
            self.cause = cause
            self._runner.cancel()

    def close(self) -> None:
        """It is over."""
        if self._submitting is not None:
            self._submitting.cancel()
        self.ended.set()

    async def _submit(self) -> None:
        await asyncio.sleep(_SUBMITTED_S)
        await self._show(TaskState.TASK_STATE_SUBMITTED)

    async def _show(self, state: TaskState) -> bool:
        """Show the task for the first time; whether it is."""
        async with self._showing:
            if self.is_shown:
                return False
            self.is_shown = True
            message = self.context.message
            task = Task(
                id=self.task_id,
                context_id=self.context_id,
                status=status_of(state, None, self.task_id, self.context_id),
                history=[message] if message is not None else [],
            )
            await self.queue.enqueue_event(task)
            return True
