"""What an agent says while it works, sent on as events of its task: a piece at once, then those that came meanwhile."""

import asyncio
import uuid
from collections.abc import Callable, Iterable

from a2a.server.events import EventQueue
from a2a.types.a2a_pb2 import Artifact, Part, TaskArtifactUpdateEvent, TaskState, TaskStatusUpdateEvent
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from hayhooks.surfaces.a2a.fold import Note
from hayhooks.surfaces.a2a.tasks import join_texts, status_of

ARTIFACT = "response"
_STREAMED_S = 0.05  # at least between two events, each of which costs the library more than a millisecond
_UNWATCHED_S = 0.25
_SHARE_S = 0.002  # for each run that is under way: however many there are, events leave time for other things
_BYTES_PER_S = 5_000_000  # that are copied again and again of a growing answer, at most


class Saying:
    """Sends parts and notes of one run in order. Whoever makes one must end or stop it.

    *runs* counts those that are under way.
    """

    def __init__(
        self, queue: EventQueue, task_id: str, context_id: str, runs: Callable[[], int], *, is_streamed: bool
    ) -> None:
        self._queue = queue
        self._task_id = task_id
        self._context_id = context_id
        self._artifact_id = f"{ARTIFACT}-{uuid.uuid4().hex[:8]}"
        self._runs = runs
        self._pause_s = _STREAMED_S if is_streamed else _UNWATCHED_S
        self._waiting: list[Part | Note] = []
        self._has_begun = False
        self._size = 0
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._writer = asyncio.create_task(self._write())

    def add(self, said: Iterable[Part | Note]) -> None:
        """Say this, soon."""
        self._waiting += said
        if self._waiting:
            self._news.set()

    async def end(self, *, is_complete: bool) -> None:
        """Say what is left. An answer that *is_complete* has an artifact, though it may be empty."""
        await self.stop()
        if is_complete and not self._has_begun and not any(isinstance(said, Part) for said in self._waiting):
            self._waiting.append(Part(text=""))
        await self._send(is_last=is_complete)

    async def stop(self) -> None:
        """Say nothing more of itself."""
        self._writer.cancel()
        await asyncio.wait([self._writer])

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            # Not to be cut in two by the end: what was taken would be lost.
            await asyncio.shield(asyncio.ensure_future(self._send(is_last=False)))
            await asyncio.sleep(max(self._pause_s, self._runs() * _SHARE_S, self._size / _BYTES_PER_S))

    async def _send(self, *, is_last: bool) -> None:
        async with self._sending:
            waiting, self._waiting = self._waiting, []
            parts: list[Part] = []
            for said in waiting:
                if isinstance(said, Note):
                    await self._send_parts(parts, is_last=False)
                    parts = []
                    await self._queue.enqueue_event(self._note(said))
                else:
                    parts.append(said)
            await self._send_parts(parts, is_last=is_last)

    async def _send_parts(self, parts: list[Part], *, is_last: bool) -> None:
        if not parts:
            return
        artifact = Artifact(artifact_id=self._artifact_id, name=ARTIFACT, parts=parts)
        join_texts(artifact)
        self._size += artifact.ByteSize()
        event = TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=artifact,
            append=self._has_begun,
            last_chunk=is_last,
        )
        self._has_begun = True
        await self._queue.enqueue_event(event)

    def _note(self, note: Note) -> TaskStatusUpdateEvent:
        status = status_of(TaskState.TASK_STATE_WORKING, note.text or None, self._task_id, self._context_id)
        event = TaskStatusUpdateEvent(task_id=self._task_id, context_id=self._context_id, status=status)
        metadata = ParseDict({"event": note.event}, Struct())
        if note.text:  # it goes into the history with the message, which must not be taken for an answer
            event.status.message.metadata.CopyFrom(metadata)
        else:
            event.metadata.CopyFrom(metadata)
        return event
