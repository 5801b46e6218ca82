"""The end of a server's connections: calls under way finish, those that take too long get a proper end."""

import asyncio
from typing import Any

from uvicorn.server import ServerState

from hayhooks.core.runtime import Runtime
from hayhooks.telemetry import log

# A caller that has just connected or been answered may be sending a request: it is served, as the last one there.
LINGER_S = 1.0
_END_S = 2.0  # for runs that were ended to say so to their callers
_LEAVE_S = 1.0  # for what does not even react to that, and then for callers to read the last bytes
ENDING_S = _END_S + 2 * _LEAVE_S
_LOOK_S = 0.02


async def drain(state: ServerState, runtime: Runtime | None, timeout_s: float) -> None:
    """Return when all connections are closed, at the latest ``timeout_s + ENDING_S`` seconds from now.

    No connection is accepted any more. Runs may begin for a moment, for what was on its way. Those that have not ended
    after *timeout_s* are ended; their protocols say so.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while state.connections or state.tasks:
        is_busy = bool(state.tasks) or _count_direct(state) > 0
        now_s = loop.time()
        if runtime is not None and now_s >= began_s + min(LINGER_S, timeout_s):
            runtime.close_door()
        for connection in list(state.connections):
            if _may_go(connection, now_s, began_s):
                connection.shutdown()  # at once, or when it has been answered
        if now_s >= began_s + timeout_s and (is_busy or now_s >= began_s + LINGER_S):
            break
        await asyncio.sleep(_LOOK_S)
    if runtime is not None:
        runtime.close_door()
    under_way = len(state.tasks) + _count_direct(state)
    if under_way:
        log.warning("{} requests did not end in {:g} s and are ended", under_way, timeout_s)
        if runtime is not None:
            runtime.clear()
            for _ in range(int(_END_S / _LOOK_S)):
                if not (state.tasks or _count_direct(state)):  # one may become the other
                    break
                await asyncio.sleep(_LOOK_S)
        if state.tasks:
            left = list(state.tasks)
            for task in left:
                task.cancel("shutdown")  # the word by which an answer that has not begun is still given
            await asyncio.wait(left, timeout=_LEAVE_S)
    for connection in list(state.connections):
        connection.shutdown()
    for _ in range(int(_LEAVE_S / _LOOK_S)):
        if not state.connections:
            return
        await asyncio.sleep(_LOOK_S)


def _count_direct(state: ServerState) -> int:
    """Runs under way without a task."""
    return sum(getattr(connection, "has_no_task", False) for connection in state.connections)


def _may_go(connection: Any, now_s: float, began_s: float) -> bool:
    """Whether nothing more is to be expected there, or its caller can still be told that nothing more comes."""
    cycle = getattr(connection, "cycle", connection)
    if cycle is connection:  # it is not HTTP
        return True
    if cycle is not None and not getattr(cycle, "response_complete", False):
        # An answer that has begun has not said that it is the last one; the next may be asked for at its end.
        return not getattr(cycle, "response_started", False)
    since_s = getattr(connection, "answered_at", None)
    return bool(now_s >= (began_s if since_s is None else since_s) + LINGER_S)
