"""Sessions of clients whose requests any worker may take: what one is told that another does, it passes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hayhooks.core.aio import in_thread
from hayhooks.store.session_notes import SessionNotes
from hayhooks.surfaces.mcp.sessions import Sessions
from hayhooks.telemetry import log_error

_LOOK_S = 0.05


@asynccontextmanager
async def shared_sessions(secret: bytes, directory: Path) -> AsyncIterator[Sessions]:
    """The sessions as this worker knows them, which hears of the others'.

    It looks when a request of a session comes, and often while something is under way that others may ask to stop.
    """
    notes = await in_thread(SessionNotes, directory)
    posting: set[asyncio.Task[None]] = set()

    def tell(session: str, request: str | int | None) -> None:
        task = asyncio.ensure_future(_post(notes, session, request))
        posting.add(task)
        task.add_done_callback(posting.discard)

    def look() -> None:
        for session, request in notes.news():
            if request is None:
                sessions.end_here(session)
            else:
                sessions.cancel_here(session, request)

    sessions = Sessions(secret, tell, look)
    following = asyncio.ensure_future(_follow(sessions, look))
    try:
        yield sessions
    finally:
        following.cancel()
        if posting:
            await asyncio.wait(posting)
        notes.close()


async def _follow(sessions: Sessions, look: Callable[[], None]) -> None:
    while True:
        await sessions.busy.wait()
        look()
        await asyncio.sleep(_LOOK_S)


async def _post(notes: SessionNotes, session: str, request: str | int | None) -> None:
    try:
        await in_thread(notes.post, session, request)
    except OSError as error:
        log_error("The other workers do not hear what a client has asked to stop", error)
