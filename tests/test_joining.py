"""Small answers go out in one piece, and no head waits for a body."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from hayhooks.core.load import Load
from hayhooks.server.connections import ConnectionLimits, Connections
from tests.support.gates import WAIT_S

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, each call for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.closed = asyncio.Event()
        self.changed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed.is_set()
        self.calls.append(bytes(data))
        self.changed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.closed.set()

    def get_write_buffer_size(self) -> int:
        return 0

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    async def after(self, calls: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.calls) < calls:
                self.changed.clear()
                await self.changed.wait()


async def calls(app: ASGIApp, *data: bytes, number: int) -> list[bytes]:
    """The first *number* calls with which *app* answers; each piece of *data* after the first waits for one of them."""
    config = Config(app, lifespan="off", log_config=None)
    config.load()
    wire = Wire()
    connection = Connections(ConnectionLimits(), Load())(config, ServerState(), {})
    connection.connection_made(wire)
    for sent, piece in enumerate(data):
        await wire.after(sent)
        connection.data_received(piece)
    await wire.after(number)
    connection.connection_lost(None)
    return wire.calls


def split(sent: bytes) -> tuple[bytes, bytes]:
    head, _, body = sent.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await Response("hello")(scope, receive, send)


async def test_head_and_body_go_out_together() -> None:
    (answer,) = await calls(hello, GET, number=1)
    assert split(answer) == (b"HTTP/1.1 200 OK", b"hello")


async def test_each_answer_of_a_pipeline_does() -> None:
    for answer in await calls(hello, GET + GET, number=2):
        assert split(answer) == (b"HTTP/1.1 200 OK", b"hello")


async def test_what_comes_before_a_head_does_not_wait_for_it() -> None:
    first, answer = await calls(hello, POST, b"{}", number=2)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert split(answer) == (b"HTTP/1.1 200 OK", b"hello")


async def test_a_long_body_is_not_copied() -> None:
    head, body = await calls(Response(b"x" * 100_000), GET, number=2)
    assert split(head) == (b"HTTP/1.1 200 OK", b"")
    assert len(body) == 100_000


@pytest.mark.parametrize("request_", [GET, HEAD], ids=["stream", "HEAD"])
async def test_a_head_does_not_wait_for_a_body_that_is_late(request_: bytes) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(never())(scope, receive, send)

    (head,) = await calls(late, request_, number=1)
    assert split(head) == (b"HTTP/1.1 200 OK", b"")


async def test_an_answer_that_breaks_off_has_its_head_sent_before_the_connection_closes() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        raise RuntimeError

    (head,) = await calls(broken, GET, number=1)
    assert split(head) == (b"HTTP/1.1 200 OK", b"")


async def test_a_caller_who_leaves_before_the_head_leaves_nothing_in_a_circle() -> None:
    config = Config(hello, lifespan="off", log_config=None)
    config.load()
    connection = Connections(ConnectionLimits(), Load())(config, ServerState(), {})
    wire = Wire()
    connection.connection_made(wire)
    connection.data_received(POST)
    connection.connection_lost(None)
    assert connection.cycle.transport is wire
