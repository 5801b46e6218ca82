"""Tasks in the library's SQL store: each caller's own, bounded, and none that stays at work for ever."""

import asyncio
from datetime import UTC, datetime

from a2a.server.cluster import StoredTask, TaskVersion, VersionedDatabaseTaskStore
from a2a.server.context import ServerCallContext
from a2a.server.events.event_queue import Event
from a2a.types.a2a_pb2 import (
    Artifact,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
)

from hayhooks.surfaces.a2a.claims import Claims
from hayhooks.surfaces.a2a.database import Database
from hayhooks.surfaces.a2a.visit import visit_of

AT_WORK = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
INTERRUPTED = "The server stopped before the task was complete."
_PRUNE_EVERY = 50  # tasks


class Tasks(VersionedDatabaseTaskStore):
    """The tasks of all agents, as they are on disk. Event loop only."""

    def __init__(self, database: Database, claims: Claims) -> None:
        super().__init__(database.engine, owner_resolver=lambda context: visit_of(context).owner)
        self._claims = claims
        self._writing = asyncio.Lock()  # one writer at a time waits in turn; SQLite's own waiting is by sleeping
        self._made = 0

    async def save(
        self,
        task: Task,
        *,
        event: Event | None = None,
        prev: Task | None = None,
        prev_version: TaskVersion,
        context: ServerCallContext,
    ) -> TaskVersion:
        """Keep *task*. Its event is not kept: who follows a task of another process sees what has changed in it."""
        if prev_version.is_missing:
            await self._claims.claim(task.id)
        async with self._writing:
            version = await super().save(task, event=None, prev=prev, prev_version=prev_version, context=context)
        if prev_version.is_missing:
            self._made += 1
            if self._made % _PRUNE_EVERY == 1:
                await self._claims.prune()
        if task.status.state not in AT_WORK:
            await self._claims.note_size(task.id, task.ByteSize())
        return version

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        """The task, when it is the caller's; an admin's are all those of the agent."""
        found = await super().get(task_id, context)
        visit = visit_of(context)
        if found is None and visit.caller.is_admin:
            owner = await self._claims.owner(task_id)
            if owner is not None and owner.startswith(f"{visit.agent}|"):
                visit.owner = owner
                found = await super().get(task_id, context)
        if found is not None and found.task.status.state in AT_WORK and await self._claims.is_orphan(task_id):
            return await self._fail(found, context)
        return found

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The tasks of the visit's owner."""
        page = await super().list(params, context)
        for task in page.tasks:
            if task.status.state in AT_WORK and await self._claims.is_orphan(task.id):
                found = await self.get(task.id, context)
                if found is not None:
                    task.CopyFrom(found.task)
        return page

    async def _fail(self, found: StoredTask, context: ServerCallContext) -> StoredTask | None:
        """End a task whose process is gone."""
        task = copied(found.task)
        task.status.CopyFrom(status_of(TaskState.TASK_STATE_FAILED, INTERRUPTED, task.id, task.context_id))
        await self.save(task, prev=found.task, prev_version=found.version, context=context)
        return await super().get(task.id, context)


def copied(task: Task) -> Task:
    """A copy of *task*, which may be changed by others."""
    copy = Task()
    copy.CopyFrom(task)
    return copy


def status_of(state: TaskState, said: str | None, task_id: str, context_id: str) -> TaskStatus:
    """A status of now, with what the agent says to it."""
    status = TaskStatus(state=state)
    status.timestamp.FromDatetime(datetime.now(UTC))
    if said is not None:
        message = Message(
            message_id=f"{task_id}-{status.timestamp.ToNanoseconds()}",
            role=Role.ROLE_AGENT,
            parts=[Part(text=said)],
            task_id=task_id,
            context_id=context_id,
        )
        status.message.CopyFrom(message)
    return status


def join_texts(artifact: Artifact) -> None:
    """Make one part of plain texts that follow each other, as they were streamed piece by piece."""
    if len(artifact.parts) < 2:
        return
    parts: list[Part] = []
    for part in artifact.parts:
        if parts and is_plain(part) and is_plain(parts[-1]):
            parts[-1].text += part.text
        else:
            parts.append(Part())
            parts[-1].CopyFrom(part)
    if len(parts) < len(artifact.parts):
        del artifact.parts[:]
        artifact.parts.extend(parts)


def is_plain(part: Part) -> bool:
    """Whether *part* is text and nothing else."""
    return part.WhichOneof("content") == "text" and not (part.media_type or part.filename or part.metadata.fields)
