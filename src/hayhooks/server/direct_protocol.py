"""A connection on which plain requests are answered directly; all others are the app's."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hayhooks.server.direct import DirectCycle, plain_fields
from hayhooks.server.heads import MAX_TARGET_BYTES
from hayhooks.surfaces._direct import Begin, PlainRequest

_SLASH = ord("/")
_MOST_AWAITED = 4 * 1024  # bytes of a body that has not come with its head, while the app has not been called


class DirectProtocol(HttpToolsProtocol):
    """Keeps a request that looks plain until it is whole, and then asks *begin* to answer it."""

    def __init__(
        self,
        begin: Begin | None,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._begin = begin
        self._answers_directly = (
            begin is not None and not self.access_log and not self.root_path and self.limit_concurrency is None
        )
        self._answering: RequestResponseCycle | None = None  # the one under way; uvicorn's own may wait behind it
        self._plain: dict[bytes, bytes] | None = None  # fields of a request that is not the app's yet, and may not be
        self._whole = b""  # what has come of its body
        self._descriptor: int | None = None  # -1: none

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, also for who answers."""
        super().connection_lost(exc)
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.disconnected = True
            answering.message_event.set()
        if isinstance(answering, DirectCycle):
            answering.connection = None
            if answering.on_leave is not None:
                answering.on_leave()

    def shutdown(self) -> None:
        """Close, at once or after the answer; not when one has just been sent that does not say that it is the last."""
        if self._plain is not None:
            self._hand_over()
        if not self._send_nothing_ahead():
            super().shutdown()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._plain is not None:
            self._whole += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._plain is not None:
            if self._is_begun(self._plain):
                self._plain = None
                return
            self._hand_over()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out."""
        self._answering = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @property
    def is_answering_directly(self) -> bool:
        """Whether a run is under way here that the app knows nothing of."""
        return isinstance(self._answering, DirectCycle) and self._answering.on_leave is not None

    @property
    def has_no_task(self) -> bool:
        """Whether it is one that no task waits for."""
        cycle = self._answering
        return isinstance(cycle, DirectCycle) and cycle.on_leave is not None and not cycle.is_in_task

    @property
    def is_cut(self) -> bool:
        """Whether a part of an answer was sent ahead, and the rest has not followed."""
        return isinstance(self._answering, DirectCycle) and self._answering.is_cut

    @property
    def descriptor(self) -> int | None:
        """Where bytes may be written as they are; None where there is more to it."""
        if self._descriptor is None:
            is_plain = sys.platform != "win32" and self.transport.get_extra_info("sslcontext") is None
            found = self.transport.get_extra_info("socket") if is_plain else None
            self._descriptor = -1 if found is None else found.fileno()
        return None if self._descriptor < 0 else self._descriptor

    def call(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        """Let *app* answer."""
        self._start_asgi_task(cycle, app)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine* in a task, for which the server waits as it does for the app."""
        task = self.loop.create_task(coroutine)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _keeps(self) -> bool:
        """Whether the request whose head has just come may need no app. Then it is kept."""
        cycle = self.cycle
        if (
            self._answers_directly
            and len(self.url) <= MAX_TARGET_BYTES
            and _is_plain_run(self.url)
            and (cycle is None or cycle.response_complete)
            and self.app is self.config.loaded_app
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
        ):
            self._plain = plain_fields(self.headers)
        return self._plain is not None

    def _look_at_kept(self, fields: dict[bytes, bytes]) -> None:
        """It has not come as a whole: who must not send a long body is told so before it has."""
        if int(fields[b"content-length"]) > _MOST_AWAITED:
            self._hand_over()

    def _is_begun(self, fields: dict[bytes, bytes]) -> bool:
        """Whether the request, which is whole, needs no app: it is being answered, or has been."""
        assert self._begin is not None
        url = self.url
        path, _, query = url.partition(b"?")
        scope: Any = self.scope
        scope["method"] = "POST"
        scope["path"] = path.decode()
        scope["raw_path"] = path
        scope["query_string"] = query
        before = self.cycle
        cycle = self.cycle = self._answering = DirectCycle(
            scope, self.transport, self.flow, self.logger, self.access_logger, False, self.server_state.default_headers,
            asyncio.Event(), False, True, self.on_response_complete,
        )  # fmt: skip
        cycle.more_body = False
        cycle.connection = self
        try:
            has_begun = self._begin(PlainRequest(scope, fields, self._whole), cycle)
        except Exception:  # the app raises it once more, and has an answer
            self.logger.exception("A request could not be answered directly")
            has_begun = False
        if has_begun:
            self._whole = b""
            return True
        cycle.connection = None
        self.cycle, self._answering = before, None
        return False

    def _hand_over(self) -> None:
        """Do what would have been done at once, had the request not looked plain."""
        self._plain = None
        self._call_app()
        body, self._whole = self._whole, b""
        if body:
            super().on_body(body)

    def _call_app(self) -> None:
        super().on_headers_complete()
        if len(self.pipeline) == 1 and self.is_answering_directly:
            self.flow.resume_reading()  # else nobody would hear that the caller has left

    def _send_nothing_ahead(self) -> bool:
        """From now on. Whether something was, of which the event loop has not heard."""
        return isinstance(self._answering, DirectCycle) and self._answering.close_ahead()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


def _is_plain_run(target: bytes) -> bool:
    """Whether a target looks like that of a run, and each byte of it stands for itself.

    Nothing else is answered directly, and to find that out at the door would cost each chat 20 us.
    """
    return b"/run" in target and target[0] == _SLASH and b"%" not in target and b"#" not in target and target.isascii()
