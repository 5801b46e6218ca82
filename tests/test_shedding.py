"""What a connection answers while the process is overloaded, and what it leaves to the parser and the app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from hayhooks.core.load import Load
from hayhooks.server.connections import ConnectionLimits, Connections

WAIT_S = 20
HEAD = b"POST /guide/run HTTP/1.1\r\nhost: x\r\n"
WHOLE = HEAD + b"content-length: 2\r\n\r\n{}"


class Asked(Load):
    """Sheds from the beginning, refuses all or nothing, and says who was asked for."""

    def __init__(self, *, refuses_all: bool) -> None:
        super().__init__()
        self.is_shedding = True
        self._refuses_all = refuses_all
        self.asked: list[str] = []

    def refuses(self, name: str, waited_s: float = 0.0) -> bool:
        self.asked.append(name)
        return self._refuses_all


@dataclass
class Serving:
    port: int
    connections: Connections
    paths: list[str] = field(default_factory=list)  # that came to the app
    pieces: int = 0  # that were read

    async def tell(self, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            before = self.pieces
            writer.write(piece)
            while self.pieces == before:  # noqa: ASYNC110 - the protocol tells nobody
                await asyncio.sleep(0)
        return reader, writer


@asynccontextmanager
async def serving(load: Load) -> AsyncIterator[Serving]:
    found = Serving(0, Connections(ConnectionLimits(), load))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.paths.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = Config(app, lifespan="off", log_config=None)
    config.load()
    state = ServerState()

    def connected() -> asyncio.Protocol:
        connection = found.connections(config, state, {})
        received = connection.data_received

        def hear(data: bytes) -> None:
            found.pieces += 1
            received(data)

        connection.data_received = hear  # type: ignore[method-assign]
        return connection

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(WAIT_S):
        yield found
    server.close()
    for connection in list(found.connections.open):
        connection.transport.close()


async def status_of(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head[9:12])


@pytest.mark.parametrize("pieces", [(WHOLE,), (WHOLE[:-2], WHOLE[-2:]), (WHOLE[:30], WHOLE[30:])])
async def test_for_each_run_is_asked_once(pieces: tuple[bytes, ...]) -> None:
    load = Asked(refuses_all=False)
    async with serving(load) as server:
        reader, writer = await server.tell(*pieces)
        assert await status_of(reader) == 200
        writer.close()
    assert load.asked == ["guide"]
    assert server.paths == ["/guide/run"]


@pytest.mark.parametrize("pieces", [(WHOLE,), (WHOLE[:-2], WHOLE[-2:]), (WHOLE[:30], WHOLE[30:])])
async def test_a_run_that_is_refused_leaves_the_connection_as_it_was(pieces: tuple[bytes, ...]) -> None:
    load = Asked(refuses_all=True)
    async with serving(load) as server:
        reader, writer = await server.tell(*pieces)
        assert await status_of(reader) == 503
        for whole in (WHOLE, WHOLE.replace(b"x\r\n", b"x\r\nconnection: keep-alive\r\n"), WHOLE.replace(b": 2", b":2")):
            writer.write(whole)
            assert await status_of(reader) == 503
        writer.write(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await status_of(reader) == 200
        writer.close()
    assert server.paths == ["/status"]


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"content-length: 100\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"content-length: 2\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        HEAD + b"x: a\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"x: a\rb\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"\x0btransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /a b/run HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"no colon\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"content-length: " + b"1" * 5000 + b"\r\n\r\n{}",
    ],
)
async def test_what_is_no_request_is_refused_as_such(request_: bytes) -> None:
    async with serving(Asked(refuses_all=True)) as server:
        reader, writer = await server.tell(request_)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.parametrize("field_", [b"origin: https://a.example\r\n", b"connection: close\r\n"])
async def test_whom_a_short_answer_does_not_suit_the_app_answers(field_: bytes) -> None:
    async with serving(Asked(refuses_all=True)) as server:
        reader, writer = await server.tell(HEAD + field_ + b"content-length: 2\r\n\r\n{}")
        assert await status_of(reader) == 200
        writer.close()


async def test_nothing_is_shed_while_the_server_drains() -> None:
    async with serving(Asked(refuses_all=True)) as server:
        server.connections.is_draining = True
        reader, writer = await server.tell(WHOLE)
        assert b"connection: close" in await reader.read()
        writer.close()
    assert server.paths == ["/guide/run"]


async def test_thousands_of_requests_in_one_piece_are_all_answered_in_order() -> None:
    async with serving(Load()) as server:
        count = 2000
        reader, writer = await server.tell(
            *(
                b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(at, at + 500))
                for at in range(0, count, 500)
            )
        )
        for _ in range(count):
            assert await status_of(reader) == 200
        writer.close()
    assert server.paths == [f"/{n}" for n in range(count)]
