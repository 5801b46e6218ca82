"""Tasks that this process is at work on, in memory: they change many times a second and are written now and then."""

import asyncio

from a2a.server.cluster import ConcurrentTaskModificationError, StoredTask, TaskVersion, VersionedTaskStore
from a2a.server.context import ServerCallContext
from a2a.server.events.event_queue import Event
from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task, TaskState
from loguru import logger

from hayhooks.surfaces.a2a.tasks import AT_WORK, Tasks, copied, join_texts
from hayhooks.surfaces.a2a.visit import visit_of

_WRITE_S = 0.5  # after which a change is written, so that other processes see it
_BYTES_PER_S = 2_000_000  # that are written again and again of a growing task, at most


class _Live:
    """One task: as it is, and as it is on disk."""

    def __init__(self, task: Task, version: TaskVersion, context: ServerCallContext) -> None:
        self.task = task
        self.version = version  # on disk; missing: not there yet
        self.context = context
        self.owner = visit_of(context).owner
        self.lock = asyncio.Lock()  # one write after the other, each with the version of the one before
        self.is_due = False  # a write is on its way that has not begun
        self.has_ended = False
        self.is_lost = False  # another process has ended it


class LiveTasks(VersionedTaskStore):
    """The store as the library sees it. Event loop only.

    A task is on disk before its id is told to anybody, when it waits for input and when it ends; what it says in
    between is written soon. A run that was refused leaves nothing.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._live: dict[str, _Live] = {}
        self._writers: set[asyncio.Task[None]] = set()

    async def save(
        self,
        task: Task,
        *,
        event: Event | None = None,
        prev: Task | None = None,
        prev_version: TaskVersion,
        context: ServerCallContext,
    ) -> TaskVersion:
        """Keep *task*. Raises ConcurrentTaskModificationError when another process has ended it."""
        visit = visit_of(context)
        live = self._live.get(task.id)
        if live is None and prev_version.is_missing and visit.refusal is not None:
            return prev_version
        for artifact in task.artifacts:
            join_texts(artifact)
        if live is None:
            live = _Live(copied(task), prev_version, context)
        elif live.is_lost:
            del self._live[task.id]
            raise ConcurrentTaskModificationError(task.id)
        else:
            live.task = copied(task)
        visit.is_new = False
        if task.status.state not in AT_WORK:
            return await self._end(live, context)
        self._live[task.id] = live
        if live.version.is_missing and visit.tells_id_early:
            async with live.lock:
                await self._write(live)
        elif not live.is_due:
            live.is_due = True
            writer = asyncio.create_task(self._write_soon(live))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return live.version

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        """The task, for whom it may be read by."""
        visit = visit_of(context)
        live = self._live.get(task_id)
        if live is not None and live.owner == visit.owner and not live.is_lost:
            return StoredTask(copied(live.task), live.version)
        if visit.is_new:  # the library has just made its id
            return None
        return await self._tasks.get(task_id, context)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The tasks of the visit's owner; those of this process as they are by now."""
        page = await self._tasks.list(params, context)
        for task in page.tasks:
            live = self._live.get(task.id)
            if live is not None and not live.is_lost:
                task.CopyFrom(live.task)
        return page

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Forget it."""
        await self._tasks.delete(task_id, context)

    async def _end(self, live: _Live, context: ServerCallContext) -> TaskVersion:
        live.has_ended = True
        self._live.pop(live.task.id, None)
        async with live.lock:
            if live.is_lost:
                raise ConcurrentTaskModificationError(live.task.id)
            if live.version.is_missing and live.task.status.state == TaskState.TASK_STATE_CANCELED:
                begun = copied(live.task)  # the library's store cancels what is there only
                begun.status.state = TaskState.TASK_STATE_WORKING
                live.version = await self._tasks.save(begun, prev_version=live.version, context=context)
            return await self._tasks.save(live.task, prev_version=live.version, context=context)

    async def _write_soon(self, live: _Live) -> None:
        await asyncio.sleep(max(_WRITE_S, live.task.ByteSize() / _BYTES_PER_S))
        async with live.lock:
            live.is_due = False
            if live.has_ended:
                return
            try:
                await self._write(live)
            except ConcurrentTaskModificationError:
                live.is_lost = True
            except Exception as error:  # a boundary: its end is written in any case
                logger.opt(exception=error).error("Task {} could not be written", live.task.id)

    async def _write(self, live: _Live) -> None:
        live.version = await self._tasks.save(copied(live.task), prev_version=live.version, context=live.context)
