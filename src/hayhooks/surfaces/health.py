"""Health surface: whether the process lives, and whether it should get calls. For probes; nobody needs a key."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.aio import in_thread
from hayhooks.core.errors import DeploymentNotFound
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import MethodNotAllowed, error_body, route_path, send_json

PREFIX = "health"
STORE_LIMIT_S = 2.0  # that a read of the state database may take
_FRESH_S = 1.0  # that one read stands for: probes from many sides are one load

_UNCACHED = ((b"cache-control", b"no-store"),)


@asynccontextmanager
async def serve(
    runtime: Runtime,
    phase: Callable[[], Literal["starting", "ready", "draining"]],
    check_store: Callable[[], None],
    required: Sequence[str] = (),
) -> AsyncIterator[ASGIApp]:
    """What answers below ``/health``.

    *check_store* blocks, and raises OSError when the state cannot be read. *required* are patterns of names that must
    be live for the server to be ready. Names and reasons are told to those who may manage.
    """
    store = _StoreCheck(check_store)

    async def health(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if path not in ("/health/live", "/health/ready"):
            status, body, headers = error_body(DeploymentNotFound(PREFIX), show_tracebacks=False)
            body["detail"] = f"Nothing answers at {path[:120]!r}: ask /health/live or /health/ready."
            await send_json(send, status, body, headers)
        elif scope["method"] not in ("GET", "HEAD"):
            status, body, headers = error_body(MethodNotAllowed("GET", "HEAD"), show_tracebacks=False)
            await send_json(send, status, body, headers)
        elif path == "/health/live":
            await send_json(send, 200, {"status": "live"}, _UNCACHED)
        else:
            reasons = await _reasons(tells_names=scope.get("may_manage", True))
            body = _answer(phase(), reasons, runtime.failures, tells_names=scope.get("may_manage", True))
            await send_json(send, 503 if reasons else 200, body, _UNCACHED)

    async def _reasons(*, tells_names: bool) -> list[str]:
        if phase() == "draining":
            return ["The server is stopping."]
        if phase() == "starting":
            return ["Deployments are still being built."]
        missing = not_live(required, runtime.live, runtime.failures)
        fault = await store.fault()
        told = missing if tells_names else ["A required deployment is not live."] if missing else []
        return [*told, *([fault] if fault else [])]

    yield health


def not_live(required: Sequence[str], live: Mapping[str, Any], failures: Mapping[str, str]) -> list[str]:
    """What of the *required* patterns is not fulfilled: each must match something live, and nothing that failed."""
    reasons = []
    for pattern in required:
        failed = [name for name in sorted(failures) if name not in live and fnmatchcase(name, pattern)]
        reasons += [f"Required deployment {name!r} failed to load: {failures[name]}" for name in failed]
        if not failed and not any(fnmatchcase(name, pattern) for name in live):
            reasons.append(f"No deployment matches the required {pattern!r}.")
    return list(dict.fromkeys(reasons))


def _answer(phase: str, reasons: Sequence[str], failures: Mapping[str, str], *, tells_names: bool) -> dict[str, Any]:
    status = "ready" if not reasons else "not ready" if phase == "ready" else phase
    answer: dict[str, Any] = {"status": status, "reasons": list(reasons)}
    if tells_names:
        answer["failed"] = dict(sorted(failures.items()))
    return answer


class _StoreCheck:
    """Asks for the state at most once a second, in one thread at a time. Event loop only."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._asking: asyncio.Task[None] | None = None
        self._asked_s = float("-inf")
        self._fault: str | None = None

    async def fault(self) -> str | None:
        """What is wrong with the state database; None when it answers."""
        now_s = asyncio.get_running_loop().time()
        if self._asking is None and now_s - self._asked_s >= _FRESH_S:
            self._asked_s = now_s
            self._asking = asyncio.ensure_future(self._ask())
        if self._asking is not None:
            # Not cancelled when it is late: a disk that hangs must not collect threads.
            await asyncio.wait([self._asking], timeout=max(0.0, self._asked_s + STORE_LIMIT_S - now_s))
            if self._asking is not None:
                return "The state database does not answer."
        return self._fault

    async def _ask(self) -> None:
        try:
            await in_thread(self._check)
            self._fault = None
        except Exception as error:  # a boundary: whatever it is, the server is not ready
            if self._fault is None:
                logger.error("The state database cannot be read: {}", error)
            self._fault = "The state database cannot be read."
        finally:
            self._asking = None
