"""Following a task that another process runs: what has changed in it since the last look, as its events."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from a2a.server.cluster import StoredTask
from a2a.server.events import Event
from a2a.types.a2a_pb2 import Artifact, Part, Task, TaskArtifactUpdateEvent, TaskStatusUpdateEvent

from hayhooks.surfaces.a2a.tasks import AT_WORK, is_plain

_LOOK_S = 0.3


async def follow(task: Task, look: Callable[[], Awaitable[StoredTask | None]]) -> AsyncGenerator[Event, None]:
    """*task*, then its events until it ends or waits for something; *look* gives it as it is by now."""
    yield task
    while True:
        await asyncio.sleep(_LOOK_S)
        stored = await look()
        if stored is None:
            return
        events = list(changes(task, stored.task))
        for event in events:
            yield event
        task = stored.task
        if events and task.status.state not in AT_WORK:
            return


def changes(old: Task, new: Task) -> Iterator[Event]:
    """The events that make *new* of *old*."""
    known = {artifact.artifact_id: artifact for artifact in old.artifacts}
    for artifact in new.artifacts:
        before = known.get(artifact.artifact_id)
        if before is None:
            yield _update(new, artifact, list(artifact.parts), append=False)
        elif before != artifact:
            more = _more(list(before.parts), list(artifact.parts))
            if more is None:
                yield _update(new, artifact, list(artifact.parts), append=False)
            elif more:
                yield _update(new, artifact, more, append=True)
    if old.status != new.status:
        yield TaskStatusUpdateEvent(task_id=new.id, context_id=new.context_id, status=new.status, metadata=new.metadata)


def _more(old: list[Part], new: list[Part]) -> list[Part] | None:
    """What *new* has at its end that *old* has not; None when it is not a longer *old*."""
    if not old:
        return new
    if len(new) < len(old) or new[: len(old) - 1] != old[:-1]:
        return None
    if old[-1] == new[len(old) - 1]:
        return new[len(old) :]
    last, longer = old[-1], new[len(old) - 1]
    if not (is_plain(last) and is_plain(longer) and longer.text.startswith(last.text)):
        return None
    return [Part(text=longer.text[len(last.text) :]), *new[len(old) :]]


def _update(task: Task, artifact: Artifact, parts: list[Part], *, append: bool) -> TaskArtifactUpdateEvent:
    piece = Artifact(artifact_id=artifact.artifact_id, name=artifact.name, parts=parts)
    return TaskArtifactUpdateEvent(task_id=task.id, context_id=task.context_id, artifact=piece, append=append)
