"""Connections that may be neither endless nor idle in the middle of something: bounded heads, slow peers sent away."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from hayhooks.core.load import Load
from hayhooks.server.backlog import Backlog
from hayhooks.server.direct_protocol import DirectProtocol
from hayhooks.server.heads import Objection, objection, too_large
from hayhooks.server.joining import Joining
from hayhooks.server.shedding import refusal, target_of
from hayhooks.surfaces._direct import Begin

# Slower than this, over a whole time-out, is no honest line. Source: Kestrel's MinRequestBodyDataRate.
MIN_BYTES_PER_S = 240
_ROUND_S = 1.0
_MOST_PUT_OFF = 4  # pieces of one connection
_LINGER_S = 30.0  # for which what still comes of a body that is answered already is read and dropped


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be."""

    max_connections: int | None = None
    max_header_bytes: int = 64 * 1024
    slow_reader_timeout_s: float = 60.0
    slow_writer_timeout_s: float = 30.0


class Connections:
    """Makes the connections of one server and looks at all of them once a second; to be given to uvicorn as *http*.

    One timer serves all: what a request costs more is a few assignments. What *begin* can answer at once is not handed
    to the app.
    """

    def __init__(self, limits: ConnectionLimits, load: Load, begin: Begin | None = None) -> None:
        self.limits = limits
        self.load = load
        self.begin = begin
        self.backlog = Backlog()
        load.backlog_s = self.backlog.delay_s
        self.now = 0.0  # seconds of the loop's clock when the last round began
        self.open: set[Connection] = set()
        self.is_draining = False  # the server stops: each connection carries one more answer, which says so
        self._timer: asyncio.TimerHandle | None = None

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "Connection":
        """A connection, as uvicorn asks for one."""
        return Connection(self, config, server_state, app_state, _loop)

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as may be."""
        return self.limits.max_connections is not None and len(self.open) > self.limits.max_connections

    def add(self, connection: "Connection") -> None:
        """Look after *connection* until ``discard``."""
        self.open.add(connection)
        self.load.connections = len(self.open)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            self._timer = loop.call_later(_ROUND_S, self._round)

    def discard(self, connection: "Connection") -> None:
        """It is closed."""
        self.open.discard(connection)
        self.load.connections = len(self.open)

    def _round(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        for connection in list(self.open):
            connection.look(self.now)
        self._timer = loop.call_later(_ROUND_S, self._round) if self.open else None


class Connection(DirectProtocol):
    """One connection. Heads are bounded in size and time, bodies and answers in how slowly they may go."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(connections.begin, config, server_state, app_state, _loop)
        self._all = connections
        self._limits = connections.limits
        self._load = connections.load
        self._in_head = True  # from the beginning: a caller who connects and says nothing is slow as well
        self._in_message = False
        self._since = 0.0  # when the head began, or the body's or the answer's present time-out
        self._head_bytes = 0
        self._body_bytes = 0
        self._marked = 0  # bytes of the body, or left of the answer, at that time
        self.answered_at: float | None = None  # when the last answer was out
        self._is_blocked = False  # the reader has been seen not to read, since that time
        self._put_off = 0  # pieces of data that wait for their turn
        self._joining: Joining | None = None  # of the answer under way
        self._was_asked = False  # whether the run is refused that has just come in one piece: it is not

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse when there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        self._all.add(self)
        self._since = self._all.now
        if self._all.is_full:
            self._refuse(503, "The server has too many connections. Try again later.", "unavailable")

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._load.catch_up()
        self._all.discard(self)
        if self._joining is not None:
            self._joining.let_go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what has come, at once or when it is its turn."""
        self._catch_up()
        if self.transport.is_closing():
            return
        is_new = self._in_head or not self._in_message
        if self._put_off or (is_new and not self._all.backlog.has_time()):
            self._put_off += 1
            self._all.backlog.put(self._take_later, data)
            if self._put_off >= _MOST_PUT_OFF:
                self.flow.pause_reading()
        else:
            self._take(data)

    def _catch_up(self) -> None:
        """Hear of what callers have been sent already."""
        self._load.catch_up()
        if self._answering is not None:
            self._send_nothing_ahead()

    def _take_later(self, data: bytes) -> None:
        self._put_off -= 1
        self._catch_up()
        if self.transport.is_closing():
            return
        protocol = self.transport.get_protocol()
        if protocol is not self:  # what came after the request for a WebSocket
            protocol.data_received(data)  # type: ignore[attr-defined]
            return
        self._take(data)
        if self.flow.read_paused and not self._put_off and not self.pipeline:
            cycle = self.cycle
            if cycle is None or cycle.response_complete or len(cycle.body) <= HIGH_WATER_LIMIT:
                self.flow.resume_reading()

    @property
    def _is_shedding(self) -> bool:
        return self._load.is_shedding and not self._all.is_draining and not self.flow.write_paused

    def _take(self, data: bytes) -> None:
        """Take in what has come, as long as it makes no endless head, nor anything else endless but a body."""
        self._was_asked = False
        if self._is_shedding and not self._in_message and self._shed_whole(data):
            return
        if self._in_head:
            self._head_bytes += len(data)
        body_bytes = self._body_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            elif self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False  # answered as if nothing else had been asked for; then it is over
            else:
                self.transport.close()
            return
        except httptools.HttpParserError:
            self.logger.debug("Invalid HTTP request received.")
            self._stop_app()
            self._refuse(400, "This is not a valid HTTP/1.1 request.", "invalid")
            return
        if self._plain is not None:
            self._look_at_kept(self._plain)
        if not self._in_head:
            if not self._in_message or self._body_bytes != body_bytes:
                return
            self._head_bytes += len(data)  # chunk extensions, trailers
        if self._head_bytes > self._limits.max_header_bytes and not self.transport.is_closing():
            self._stop_app()
            self._refuse(*too_large(self._limits.max_header_bytes))

    def shutdown(self) -> None:
        """Close, at once or after the answer; whoever asks asks again while something waits to be looked at."""
        if not self._put_off:
            super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol, unless the request has been refused."""
        if self.transport.is_closing():
            return
        self._all.discard(self)
        super().handle_websocket_upgrade()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; trailers are dropped, as the app has begun to believe the head."""
        if not self._in_head:
            return
        name = name.lower()  # as uvicorn does it, without a second call for each field
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._in_head:
            self._head_bytes = 0
        self._in_head = self._in_message = True
        self._since = self._all.now
        self.answered_at = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there: what is too much of it is answered instead of the app."""
        self._in_head = False
        self._since = self._all.now
        self._body_bytes = self._marked = 0
        is_short = self._head_bytes <= self._limits.max_header_bytes
        if is_short and (self._was_asked or not self._is_shedding) and self._keeps():
            self._head_bytes = 0
            return
        found = objection(
            self.url, self.headers, self.parser.get_http_version(), self._head_bytes, self._limits.max_header_bytes
        )
        if found is not None:
            if self.parser.should_upgrade() and self._should_upgrade():
                self._refuse(*found)
                return
            self._answer_instead(found)
        self._head_bytes = 0
        if not self._was_asked and self._is_shedding and self._shed():
            return
        self._call_app()

    def _call_app(self) -> None:
        super()._call_app()
        if self._all.is_draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["method"] != "HEAD":  # after whose head nothing is written
            self._joining = Joining(cycle)
        super()._start_asgi_task(cycle, app)

    def _shed_whole(self, data: bytes) -> bool:
        """Do what ``_shed`` does for a request that has come in one piece, at half the cost: without the parser."""
        cycle = self.cycle
        target = target_of(data) if cycle is None or cycle.response_complete else None
        if target is None:
            return False
        self._was_asked = True
        answer = refusal(self._load, target, self._all.backlog.waited_s)
        if answer is None:
            return False
        self._in_head = False
        self.transport.write(answer)
        self.on_response_complete()
        return True

    def _shed(self) -> bool:
        """Refuse a run that the overloaded process cannot take, at a fraction of what any other answer costs."""
        cycle = self.cycle
        if (
            self.parser.get_method() != b"POST"
            or self.app is not self.config.loaded_app
            or (cycle is not None and not cycle.response_complete)
            or not self.parser.should_keep_alive()
            or any(name == b"origin" for name, _ in self.headers)  # a page could not read an answer without CORS
        ):
            return False
        answer = refusal(self._load, self.url, self._all.backlog.waited_s)
        if answer is None:
            return False
        self.cycle = RequestResponseCycle(
            self.scope, self.transport, self.flow, self.logger, self.access_logger, self.access_log, [],
            asyncio.Event(), self.expect_100_continue, True, self.on_response_complete,
        )  # fmt: skip
        self.cycle.response_started = self.cycle.response_complete = True  # what comes of the body is dropped
        self.transport.write(answer)
        self.on_response_complete()
        return True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_message = False
        if self._plain is not None and self._all.is_draining:
            self._hand_over()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out: the time of what comes next begins. Whoever stays idle is found by ``look``."""
        self._since = self.answered_at = self.loop.time()
        self._is_blocked = False
        super().on_response_complete()

    def resume_writing(self) -> None:
        """The reader has taken most of what there was."""
        self._is_blocked = False
        super().resume_writing()

    def look(self, now: float) -> None:
        """Once a second: send away whom we have waited for long enough."""
        cycle = self.cycle
        if self.transport.is_closing():
            if self.flow.write_paused or self.transport.get_write_buffer_size():
                self._look_at_reader(now)  # closed, and the last answer is not taken
            return
        if self._put_off:
            return  # it is we who are slow
        is_answering = cycle is not None and not cycle.response_complete
        if self.flow.write_paused:
            self._look_at_reader(now)
        elif self._plain is not None or (
            is_answering and not cycle.response_started and self._in_message and not self._in_head
        ):
            self._look_at_body(now)
        elif is_answering:
            self._since = now
        elif self._in_head and (self._in_message or cycle is None):
            if now - self._since > self._limits.slow_writer_timeout_s:
                self._refuse(408, "The request did not arrive in time.", "timeout", is_silent=not self._in_message)
        elif self._in_message:
            if now - self._since > _LINGER_S:
                self.transport.abort()
        elif now - self._since > self.timeout_keep_alive:
            self.transport.close()

    def _look_at_reader(self, now: float) -> None:
        left = self.transport.get_write_buffer_size()
        limit_s = self._limits.slow_reader_timeout_s
        if not self._is_blocked:
            self._is_blocked, self._since, self._marked = True, now, left
        elif now - self._since > limit_s:
            if self._marked - left < min(MIN_BYTES_PER_S * limit_s, self._marked):
                self.transport.abort()  # the app hears that its caller has left, and stops the run
            self._since, self._marked = now, left

    def _look_at_body(self, now: float) -> None:
        limit_s = self._limits.slow_writer_timeout_s
        is_waited_for = self._plain is None and self.cycle.waiting_for_100_continue
        if self.flow.read_paused or is_waited_for:  # it is we who are slow
            self._since, self._marked = now, self._body_bytes
        elif now - self._since > limit_s:
            if self._body_bytes - self._marked < MIN_BYTES_PER_S * limit_s:
                self._stop_app()
                self._refuse(408, "The body arrived too slowly.", "timeout")
            self._since, self._marked = now, self._body_bytes

    def _stop_app(self) -> None:
        """For the app the caller has left."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _refuse(self, status: int, detail: str, kind: str, *, is_silent: bool = False) -> None:
        """Answer without the app, and close. Who has said nothing, or has half an answer, gets none."""
        self._send_nothing_ahead()
        cycle = self.cycle
        has_begun = self.is_cut or (cycle is not None and cycle.response_started and not cycle.response_complete)
        if not is_silent and not has_begun:
            body = _body(detail, kind)
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.transport.write(
                STATUS_LINE[status]
                + b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
                + retry
                + b"connection: close\r\n\r\n"
                + body
            )
        self.transport.close()

    def _answer_instead(self, found: Objection) -> None:
        status, detail, kind = found
        body = _body(detail, kind)

        async def refusal(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send(
                {"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]}
            )
            await send({"type": "http.response.body", "body": body})

        self.app = refusal  # the connection is closed after it


def _body(detail: str, kind: str) -> bytes:
    return json.dumps({"detail": detail, "kind": kind}).encode()
