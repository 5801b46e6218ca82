"""A surface that costs nothing until somebody asks for it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context

from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.aio import in_thread
from hayhooks.core.errors import ServerStopping

Serving = Callable[[], AbstractAsyncContextManager[ASGIApp]]


class Lazy:
    """An ASGI app that is imported and started with the first request for it. Event loop only.

    *load* blocks, for the second that the import of an SDK takes, and gives what to enter to serve. It is entered and
    left in one task, as task groups inside of it demand. A start that failed is tried again with the next request.
    """

    def __init__(self, load: Callable[[], Serving]) -> None:
        self._load = load
        self._app: ASGIApp | None = None
        self._host: asyncio.Task[None] | None = None
        self._started: asyncio.Future[ASGIApp] | None = None
        self._is_over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, once it has started."""
        app = self._app or await self._start()
        await app(scope, receive, send)

    async def close(self) -> None:
        """End what has been started."""
        self._is_over.set()
        if self._host is not None:
            await asyncio.wait([self._host])

    async def _start(self) -> ASGIApp:
        if self._is_over.is_set():
            raise ServerStopping
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            # Not in the context of whoever comes first.
            self._host = asyncio.create_task(self._serve(self._started), context=Context())
        return await asyncio.shield(self._started)

    async def _serve(self, started: "asyncio.Future[ASGIApp]") -> None:
        try:
            serving = await in_thread(self._load)
            async with serving() as app:
                self._app = app
                started.set_result(app)
                await self._is_over.wait()
        except Exception as error:
            if started.done():
                raise
            self._started = None
            started.set_exception(error)
            started.exception()  # heard by those who wait; there may be none any more
