"""Runs of agents: a message becomes a run of the deployment's chat hook, and its events those of a task."""

import asyncio
from typing import Any

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.cluster import VersionedTaskStore
from a2a.server.events import EventQueue
from a2a.types.a2a_pb2 import TaskState, TaskStatusUpdateEvent
from a2a.utils.errors import InternalError
from loguru import logger

from hayhooks.core.context import Session
from hayhooks.core.deployment import Call
from hayhooks.core.errors import HayhooksError, ServerStopping
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import STATUS, error_body, trace_of
from hayhooks.surfaces.a2a.agents import ENTRY
from hayhooks.surfaces.a2a.claims import Claims
from hayhooks.surfaces.a2a.conversation import messages_of
from hayhooks.surfaces.a2a.fold import Fold
from hayhooks.surfaces.a2a.parts import data_of, plain
from hayhooks.surfaces.a2a.saying import Saying
from hayhooks.surfaces.a2a.tasks import INTERRUPTED, status_of
from hayhooks.surfaces.a2a.turn import Turn

VIA = "a2a"
_LOOK_S = 0.5  # between looks for what other processes have cancelled
_WAITING = {
    "input_required": TaskState.TASK_STATE_INPUT_REQUIRED,
    "auth_required": TaskState.TASK_STATE_AUTH_REQUIRED,
}


class Executor(AgentExecutor):
    """The runs of this process, which any process that uses the same database may cancel. Event loop only."""

    def __init__(self, runtime: Runtime, tasks: VersionedTaskStore, claims: Claims, *, show_tracebacks: bool) -> None:
        self._runtime = runtime
        self._tasks = tasks
        self._claims = claims
        self._show_tracebacks = show_tracebacks
        self._running: dict[str, Turn] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer one message.

        Raises:
            A2AError: The run could not begin; the visit says what its caller is told.
        """
        task_id = context.task_id or ""
        turn = Turn(context, event_queue)
        if context.current_task is not None:
            await self._claims.claim(task_id)
        self._running[task_id] = turn
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            await self._answer(turn)
        except asyncio.CancelledError:
            # Whoever cancelled says so in the task; anything else that cancels us wants to hear of it.
            if turn.cause is None:
                raise
            if turn.cause is _CANCELED:
                await turn.status(TaskState.TASK_STATE_CANCELED)
            else:
                await turn.fail(turn.cause, self._failure)
        finally:
            turn.close()
            if self._running.get(task_id) is turn:
                del self._running[task_id]

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop the run, which says so as its last word: nothing follows a final state."""
        turn = self._running.get(context.task_id or "")
        if turn is not None:
            turn.cancel(_CANCELED)
            await turn.ended.wait()
            return
        status = status_of(TaskState.TASK_STATE_CANCELED, None, context.task_id or "", context.context_id or "")
        await event_queue.enqueue_event(
            TaskStatusUpdateEvent(task_id=context.task_id, context_id=context.context_id, status=status)
        )

    def is_running(self, task_id: str) -> bool:
        """Whether that task is run here."""
        return task_id in self._running

    async def stop(self, wait_s: float) -> None:
        """Let what runs finish for *wait_s* seconds, then end it; its tasks have failed."""
        if self._watcher is not None:
            self._watcher.cancel()
        turns = list(self._running.values())
        waiting = [asyncio.ensure_future(turn.ended.wait()) for turn in turns]
        if waiting and wait_s:
            await asyncio.wait(waiting, timeout=wait_s)
        for turn in turns:
            turn.cancel(ServerStopping())
        if waiting:
            await asyncio.wait(waiting)

    async def _answer(self, turn: Turn) -> None:
        visit, context = turn.visit, turn.context
        message = context.message
        assert message is not None
        messages = await messages_of(context, self._tasks, is_new=visit.is_new_context)
        session = Session(context.context_id, None, context.metadata)
        body: dict[str, Any] = {
            "model": visit.agent,
            "messages": messages,
            "stream": visit.is_streamed,
            "metadata": {**context.metadata, **plain(message.metadata)},
            "a2a": {
                "task_id": context.task_id,
                "context_id": context.context_id,
                "message_id": message.message_id,
                "reference_task_ids": list(message.reference_task_ids),
            },
        }
        data = data_of(message)
        if data:
            body["data"] = data
        call = Call(
            arguments={"model": visit.agent, "messages": messages, "body": body},
            headers=visit.scope["headers"],
            session=session,
            caller=visit.caller,
            trace=trace_of(visit.scope),
            wants_stream=True,
        )
        run = self._runtime.run(visit.agent, ENTRY, call, via=VIA)
        has_begun = False
        turn.submit_soon()
        try:
            async with run:
                has_begun = True
                run.is_streamed = visit.is_streamed
                await turn.begin()
                await self._tell(run, turn)
        except HayhooksError as error:
            if not has_begun and not turn.is_shown:
                visit.refusal = error
                raise InternalError(message=str(error)) from error
            await turn.fail(error, self._failure)
        except Exception as error:  # a boundary: of ours, and nobody else would end the task
            logger.opt(exception=error).error("Task {} of {} failed", context.task_id, visit.agent)
            await turn.fail(error, self._failure)

    async def _tell(self, run: Run, turn: Turn) -> None:
        fold = Fold(runs_own_tools=run.live.deployment.runs_own_tools)
        saying = Saying(
            turn.queue, turn.task_id, turn.context_id, lambda: len(self._running), is_streamed=turn.visit.is_streamed
        )
        is_complete = False
        try:
            async for events in run.batches():
                saying.add(fold.add(events))
            saying.add(fold.end())
            is_complete = fold.question is None
        finally:
            # Also of a run that fails: what it has said so far was said.
            await asyncio.shield(saying.end(is_complete=is_complete))
        usage = {"usage": fold.usage} if fold.usage else {}
        if fold.question is not None:
            await turn.status(_WAITING[fold.waits_for or "input_required"], fold.question, usage)
        else:
            await turn.status(TaskState.TASK_STATE_COMPLETED, None, usage)

    def _failure(self, error: BaseException) -> tuple[TaskState, str, dict[str, Any]]:
        if isinstance(error, ServerStopping):
            return TaskState.TASK_STATE_FAILED, INTERRUPTED, {"kind": error.kind}
        status, body, _ = error_body(error, show_tracebacks=self._show_tracebacks)
        detail = body["detail"] if isinstance(body["detail"], str) else str(body["detail"])
        facts = {key: body[key] for key in ("kind", "errors", "traceback") if key in body}
        # A caller's own mistake, as the deployment's code finds it: the agent does not take the task.
        is_callers = 400 <= status < 500 and status != STATUS["busy"]
        state = TaskState.TASK_STATE_REJECTED if is_callers else TaskState.TASK_STATE_FAILED
        return state, detail, {"error": facts}

    async def _watch(self) -> None:
        """Stop runs whose tasks another process has cancelled."""
        while self._running:
            await asyncio.sleep(_LOOK_S)
            try:
                for task_id in await self._claims.canceled(list(self._running)) if self._running else ():
                    turn = self._running.get(task_id)
                    if turn is not None:
                        turn.cancel(_CANCELED)
            except Exception as error:  # a boundary: the next look may succeed
                logger.opt(exception=error).error("What other workers have cancelled cannot be read")
        self._watcher = None


_CANCELED = asyncio.CancelledError("by its caller")
