"""Tasks in the library's SQL store: each caller's own, bounded, and none that stays at work for ever."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

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
    TaskStatusUpdateEvent,
)
from sqlalchemy import text

from hayhooks.surfaces.a2a.database import Database
from hayhooks.surfaces.a2a.visit import owner_of, visit_of

AT_WORK = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
INTERRUPTED = "The server stopped before the task was complete."
_PRUNE_EVERY = 50  # tasks
_EVENTS_S = 60  # for which what a task said piece by piece is kept after its end: others may still be reading
_OF_TASKS = ("task_events", "task_versions", "push_notification_configs", "held")
_NEW_ROWS = 1000  # of those, which may be of tasks that are just being made


class Tasks(VersionedDatabaseTaskStore):
    """The tasks of all agents. Event loop only."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine, owner_resolver=lambda context: visit_of(context).owner)
        self._database = database
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
        """Keep *task*; one that was refused before it began leaves nothing."""
        if prev_version.is_missing and visit_of(context).refusal is not None:
            return prev_version
        for artifact in task.artifacts:
            join_texts(artifact)
        if prev_version.is_missing:
            await self.claim(task.id)
        async with self._writing:
            version = await super().save(task, event=event, prev=prev, prev_version=prev_version, context=context)
        if prev_version.is_missing:
            self._made += 1
            if self._made % _PRUNE_EVERY == 1:
                await self.prune()
        return version

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        """The task, when it is the caller's; an admin's are all those of the agent."""
        found = await super().get(task_id, context)
        visit = visit_of(context)
        if found is None and visit.caller.is_admin:
            rows = await self._database.select("SELECT owner FROM tasks WHERE id = :id", id=task_id)
            if rows and rows[0][0].startswith(f"{visit.agent}|"):
                visit.owner = rows[0][0]
                found = await super().get(task_id, context)
        if found is not None and found.task.status.state in AT_WORK and await self._database.is_orphan(task_id):
            return await self._fail(found, context)
        return found

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The caller's own tasks at this agent."""
        visit = visit_of(context)
        visit.owner = owner_of(visit.agent, visit.caller)
        page = await super().list(params, context)
        for task in page.tasks:
            if task.status.state in AT_WORK and await self._database.is_orphan(task.id):
                found = await self.get(task.id, context)
                if found is not None:
                    task.CopyFrom(found.task)
        return page

    async def canceled(self, task_ids: Sequence[str]) -> Sequence[str]:
        """Those of *task_ids* that have been cancelled, by whichever process."""
        names = {f"id{place}": task_id for place, task_id in enumerate(task_ids)}
        marks = ", ".join(f":{name}" for name in names)
        rows = await self._database.select(
            f"SELECT id FROM tasks WHERE id IN ({marks}) "  # noqa: S608 - our marks
            "AND json_extract(status, '$.state') = 'TASK_STATE_CANCELED'",
            **names,
        )
        return [row[0] for row in rows]

    async def note_size(self, task_id: str) -> None:
        """Take note of how much a task that has ended takes."""
        size = "SELECT length(coalesce(artifacts, '')) + length(coalesce(history, '')) FROM tasks WHERE id = :id"
        async with self._writing, self._database.writing() as connection:
            statement = f"UPDATE held SET size = coalesce(({size}), 0) WHERE task_id = :id"  # noqa: S608 - our words
            await connection.execute(text(statement), {"id": task_id})

    async def claim(self, task_id: str) -> None:
        """Say that this process runs that task."""
        async with self._writing:
            await self._database.claim(task_id)

    async def prune(self) -> None:
        """Drop what is too old or too much, the oldest first."""
        kept = self._database.kept
        now = datetime.now(UTC).replace(tzinfo=None)
        ended = "json_extract(status, '$.state') NOT IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')"
        over = "SELECT id FROM tasks ORDER BY last_updated DESC, id DESC LIMIT -1 OFFSET :n"
        beyond = (
            "SELECT id FROM (SELECT tasks.id, held.size, SUM(coalesce(held.size, 0)) OVER "
            "(ORDER BY last_updated DESC, tasks.id DESC) AS total FROM tasks LEFT JOIN held ON held.task_id = tasks.id)"
            " WHERE total > :bytes AND total > size"
        )
        async with self._writing, self._database.writing() as connection:
            for where, values in (
                ("last_updated < :oldest", {"oldest": str(now - timedelta(seconds=kept.max_age_s))}),
                (
                    f"{ended} AND id IN ({over})",
                    {"n": kept.max_count},
                ),
                (f"{ended} AND id IN ({beyond})", {"bytes": kept.max_bytes}),
            ):
                await connection.execute(text(f"DELETE FROM tasks WHERE {where}"), values)  # noqa: S608 - our words
            for table in _OF_TASKS:
                statement = (
                    f"DELETE FROM {table} WHERE task_id NOT IN (SELECT id FROM tasks) "  # noqa: S608 - our names
                    f"AND rowid <= (SELECT max(rowid) - {_NEW_ROWS} FROM {table})"
                )
                await connection.execute(text(statement))
            old = f"SELECT id FROM tasks WHERE {ended} AND last_updated < :before"  # noqa: S608 - our words
            await connection.execute(
                text(f"DELETE FROM task_events WHERE task_id IN ({old})"),  # noqa: S608
                {"before": str(now - timedelta(seconds=_EVENTS_S))},
            )

    async def _fail(self, found: StoredTask, context: ServerCallContext) -> StoredTask | None:
        """End a task whose process is gone."""
        task = Task()
        task.CopyFrom(found.task)
        task.status.CopyFrom(status_of(TaskState.TASK_STATE_FAILED, INTERRUPTED, task.id, task.context_id))
        event = TaskStatusUpdateEvent(task_id=task.id, context_id=task.context_id, status=task.status)
        await self.save(task, event=event, prev=found.task, prev_version=found.version, context=context)
        return await super().get(task.id, context)


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
        if parts and _is_plain(part) and _is_plain(parts[-1]):
            parts[-1].text += part.text
        else:
            parts.append(Part())
            parts[-1].CopyFrom(part)
    if len(parts) < len(artifact.parts):
        del artifact.parts[:]
        artifact.parts.extend(parts)


def _is_plain(part: Part) -> bool:
    return part.WhichOneof("content") == "text" and not (part.media_type or part.filename or part.metadata.fields)
