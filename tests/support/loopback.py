"""An ASGI app served on a free loopback port, from a thread of its own."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp


class LoopbackServer:
    """Serves *app* between ``__enter__`` and ``__exit__``; can be entered once.

    The port is bound and listening when ``__enter__`` returns, so a client may connect at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        # A client that keeps a stream open must not hold the test: after a second it is cut off.
        self._server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", ws="none", log_config=None, log_level=60, timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=type(self).__name__)
        self._started = threading.Event()
        self._socket: socket.socket | None = None
        self.loop: asyncio.AbstractEventLoop | None = None  # runs while the server is entered
        self.port = 0

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._started.set()
        assert self._socket is not None
        await self._server.serve(sockets=[self._socket])  # closes the socket when it ends
