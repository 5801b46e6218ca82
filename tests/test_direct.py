"""Plain requests are answered directly: nobody may see a difference, but for the time it takes."""

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from hayhooks.core.load import Load
from hayhooks.core.run import Run
from hayhooks.server.app import HayhooksApp
from hayhooks.server.connections import Connection, ConnectionLimits, Connections
from hayhooks.server.direct import Ahead, DirectCycle
from hayhooks.settings import AppSettings
from hayhooks.surfaces._direct import DirectRun
from hayhooks.surfaces._json import json_texts, json_texts_between
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates
from tests.support.program import free_port
from tests.support.wrappers import Wrappers

WRAPPERS = Wrappers()

WRAPPERS.add("sync", "def run_api(self, text: str) -> str:\n    return text")
WRAPPERS.add("async", "async def run_api_async(self, text: str) -> str:\n    return text")
WRAPPERS.add("small", "max_body_bytes = 10\n\ndef run_api(self, text: str) -> str:\n    return text")
WRAPPERS.add(
    "single", "max_concurrent_runs = 1\nmax_queued_runs = 0\n\ndef run_api(self, text: str) -> str:\n    return text"
)
WRAPPERS.add("timed", "run_timeout_s = 60.0\n\ndef run_api(self, text: str) -> str:\n    return text")
for way in ("def run_api", "async def run_api_async"):
    name = "async" if way.startswith("async") else "sync"
    WRAPPERS.add(
        f"{name}_odd",
        f"""
        {way}(self, text: str):
            if text == "http":
                raise HTTPException(418, "short and stout", headers={{"x-pot": "tea"}})
            if text == "response":
                return Response("own", 201, {{"x-own": "1"}})
            if text == "stream":
                return iter(["one ", "two"])
            if text == "sse":
                return SSEStream(iter(["one", "two"]))
            if text == "none":
                return None
            raise {{"value": ValueError, "exit": SystemExit, "stop": StopIteration, "generator": GeneratorExit,
                   "cancelled": asyncio.CancelledError, "interrupt": KeyboardInterrupt}}[text]("secret")
        """,
        imports="""
        import asyncio

        from fastapi import HTTPException
        from fastapi.responses import Response
        from hayhooks import SSEStream
        """,
    )
WRAPPERS.add(
    "strict",
    "def run_api(self, text: Strict) -> str:\n    return text",
    imports="from typing import Annotated\n\nfrom pydantic import AfterValidator",
    before="""
    def refuse(text):
        raise {"exit": SystemExit, "os": OSError}[text]("secret")

    Strict = Annotated[str, AfterValidator(refuse)]
    """,
)
WRAPPERS.add(
    "remembers",
    """
    async def run_api_async(self, text: str) -> str:
        before = seen.get()
        seen.set(text)
        return before
    """,
    imports="from contextvars import ContextVar",
    before='seen = ContextVar("seen", default="nothing")',
)
WRAPPERS.add(
    "tenants",
    'def run_api(self, text: Tenant) -> str:\n    return f"{text} {tenant.get()}"',
    imports="from contextvars import ContextVar\nfrom typing import Annotated\n\nfrom pydantic import AfterValidator",
    before="""
    tenant = ContextVar("tenant", default="nobody")

    def enter(text):
        before = tenant.get()
        tenant.set(text)
        return before

    Tenant = Annotated[str, AfterValidator(enter)]
    """,
)
WAITS = f"""
import time

from hayhooks import BasePipelineWrapper, current_run

from .gates import note


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    def run_api(self, text: str):
        note("begins")
        for _ in range({WAIT_S * 500}):
            time.sleep(0.002)
            if current_run().is_cancelled:
                note("cancelled")
                return "cancelled"
        return "not cancelled"
"""


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    pipelines = tmp_path_factory.mktemp("direct") / "pipelines"
    WRAPPERS.write(pipelines)
    (pipelines / "waits").mkdir()
    (pipelines / "waits" / "pipeline_wrapper.py").write_text(WAITS)
    (pipelines / "waits" / "gates.py").write_text(GATES_MODULE)
    with running_server(pipelines, env={"GATES_URL": gates.url}) as server:
        yield server


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), WAIT_S)


def post(path: str, body: bytes = b'{"text": "x"}', *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


def answers(one: socket.socket, count: int) -> list[tuple[bytes, dict[bytes, bytes], bytes]]:
    """Status line, fields and body of the next *count* answers."""
    got = b""
    found: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
    while len(found) < count:
        head, separator, rest = got.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines) if separator else {}
        length = int(fields.get(b"content-length", b"0"))
        if b"transfer-encoding" in fields:
            end = rest.find(b"0\r\n\r\n")
            length = end + 5 if end >= 0 else len(rest) + 1
        if separator and len(rest) >= length:
            found.append((status, fields, rest[:length]))
            got = rest[length:]
            continue
        data = one.recv(65536)
        assert data, f"closed after {got!r}"
        got += data
    assert got == b""
    return found


JSON = "Content-Type: application/json"
CASES = {
    "sync": post("/sync/run", b'{"text": "x"}', JSON),
    "async": post("/async/run", b'{"text": "x"}', JSON),
    "without a type": post("/sync/run"),
    "keep-alive": post("/sync/run", b'{"text": "x"}', "Connection: keep-alive"),
    "close": post("/sync/run", b'{"text": "x"}', "Connection: close"),
    "a query": post("/sync/run?x=1", b'{"text": "x"}', JSON),
    "percents": post("/s%79nc/run", b'{"text": "x"}', JSON),
    "a slash more": post("/sync/run/", b'{"text": "x"}', JSON),
    "two slashes": post("//sync/run", b'{"text": "x"}', JSON),
    "unknown": post("/nothing/run", b'{"text": "x"}', JSON),
    "unknown verb": post("/sync/walk", b'{"text": "x"}', JSON),
    "no JSON": post("/sync/run", b"{", JSON),
    "empty": post("/sync/run", b"", JSON),
    "no field": post("/async/run", b"{}", JSON),
    "other type": post("/sync/run", b'{"text": "x"}', "Content-Type: text/plain"),
    "charset": post("/sync/run", b'{"text": "x"}', "Content-Type: application/json; charset=utf-8"),
    "compressed": post("/sync/run", b'{"text": "x"}', JSON, "Content-Encoding: gzip"),
    "too large": post("/small/run", b'{"text": "long"}', JSON),
    "timed": post("/timed/run", b'{"text": "x"}', JSON),
    "long": post("/sync/run", b'{"text": "' + b"x" * 100_000 + b'"}', JSON),
    "named": post("/sync/run", b'{"text": "x"}', JSON, "X-Request-ID: mine"),
    "named badly": post("/sync/run", b'{"text": "x"}', JSON, "X-Request-ID: a b"),
    "a bad key": post("/sync/run", b'{"text": "x"}', JSON, "Authorization: Bearer nobody"),
    "a page": post("/sync/run", b'{"text": "x"}', JSON, "Origin: https://page.example"),
    **{
        f"{kind} {text}": post(f"/{kind}_odd/run", b'{"text": "%s"}' % text.encode(), JSON)
        for kind in ("sync", "async")
        for text in ("http", "response", "stream", "sse", "none", "value", "exit", "stop", "generator", "cancelled")
    },
    **{f"validator {text}": post("/strict/run", b'{"text": "%s"}' % text.encode(), JSON) for text in ("exit", "os")},
}


@pytest.mark.parametrize("case", CASES)
def test_a_plain_request_is_answered_as_any_other(server: RunningServer, case: str) -> None:
    plain = CASES[case]
    with connect(server.url) as one, connect(server.url) as other:
        one.sendall(plain)
        (direct,) = answers(one, 1)
        other.sendall(plain.replace(b"\r\n", b"\r\nTE: trailers\r\n", 1))
        (usual,) = answers(other, 1)
    for _, fields, _ in (direct, usual):
        assert fields.pop(b"date")
        if b"mine" not in plain:
            fields.pop(b"x-request-id", None)
    assert direct == usual


def test_a_body_may_come_in_pieces(server: RunningServer) -> None:
    with connect(server.url) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(CASES["async"])):
            one.sendall(CASES["async"][place : place + 1])
        ((status, _, body),) = answers(one, 1)
    assert (status, body) == (b"HTTP/1.1 200 OK", b'{"result":"x"}')


def test_answers_come_in_the_order_of_their_requests(server: RunningServer) -> None:
    names = ["sync", "async", "nothing", "async", "sync", "sync"]
    sent = [post(f"/{name}/run", b'{"text": "%d"}' % number) for number, name in enumerate(names)]
    with connect(server.url) as one:
        one.sendall(b"".join(sent))
        found = [body for _, _, body in answers(one, len(sent))]
    assert [body for body in found if b"result" in body] == [b'{"result":"%d"}' % number for number in (0, 1, 3, 4, 5)]
    assert b"nothing" in found[2]


def test_who_leaves_with_another_request_behind_stops_the_run_under_way(server: RunningServer, gates: Gates) -> None:
    with connect(server.url) as one:
        one.sendall(post("/waits/run"))
        gates.wait("begins")
        one.sendall(post("/sync/run"))
    gates.wait("cancelled")


def test_nothing_is_carried_over_to_the_next_request_of_a_connection(server: RunningServer) -> None:
    with connect(server.url) as one:
        for _ in range(3):
            one.sendall(post("/remembers/run"))
            ((_, _, body),) = answers(one, 1)
            assert body == b'{"result":"nothing"}'


def test_what_a_validator_remembers_is_of_its_run_alone(server: RunningServer) -> None:
    for text in ("alice", "bob"):
        with connect(server.url) as one:
            one.sendall(post("/tenants/run", b'{"text": "%s"}' % text.encode()))
            ((_, _, body),) = answers(one, 1)
        assert body == b'{"result":"nobody %s"}' % text.encode()


def test_who_may_not_send_a_long_body_is_told_so_before_it_has_come(server: RunningServer) -> None:
    with connect(server.url) as one:
        one.sendall(b"POST /nothing/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n")
        ((status, _, _),) = answers(one, 1)
    assert status == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("target", [b"http://a:99999999/sync/run", b"http://a/run"])
def test_half_a_request_whose_target_is_odd_does_not_keep_the_server_from_stopping(
    tmp_path: Path, target: bytes
) -> None:
    with running_server(tmp_path / "pipelines") as server, connect(server.url) as one:
        one.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        assert httpx.get(f"{server.url}/status").status_code == 200  # by then that has been read
        assert server.stop() == 0


def test_runs_that_are_under_way_when_the_server_stops_are_told_so(tmp_path: Path, gates: Gates) -> None:
    files = {"pipeline_wrapper.py": WAITS, "gates.py": GATES_MODULE}
    asynchronous = """
import asyncio
from hayhooks import BasePipelineWrapper
from .gates import note

class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    async def run_api_async(self, text: str) -> str:
        await asyncio.to_thread(note, "async-begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(note, "cleaned-up")
"""
    for name, source in (("waits", WAITS), ("waits_async", asynchronous)):
        (tmp_path / "pipelines" / name).mkdir(parents=True)
        for file, text in {**files, "pipeline_wrapper.py": source}.items():
            (tmp_path / "pipelines" / name / file).write_text(text)
    env = {"GATES_URL": gates.url, "HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT": "0"}
    begun = gates.count("begins")
    with (
        running_server(tmp_path / "pipelines", env=env) as server,
        connect(server.url) as one,
        connect(server.url) as two,
    ):
        one.sendall(post("/waits/run"))
        two.sendall(post("/waits_async/run"))
        gates.wait("begins", begun + 1)
        gates.wait("async-begins")
        assert server.stop() == 0
        for connection in (one, two):
            ((status, fields, body),) = answers(connection, 1)
            assert (status, fields[b"connection"]) == (b"HTTP/1.1 503 Service Unavailable", b"close")
            assert b"stopping" in body
    gates.wait("cleaned-up")


class Served:
    """An app with a deployment, behind connections that answer directly, in this process."""

    def __init__(self, app: HayhooksApp) -> None:
        self.app = app
        self.connections = Connections(ConnectionLimits(), app.load, app.begin)
        self.config = Config(app, lifespan="off", log_config=None, access_log=False)
        self.config.load()
        self.state = ServerState()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self.connections(self.config, self.state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                yield reader, writer
            finally:
                writer.close()

    async def ask(self, sent: bytes) -> bytes:
        """The answer to a request."""
        async with self.connected() as (reader, writer), asyncio.timeout(WAIT_S):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            return head + await reader.readexactly(int(length.split()[1]))


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(WAIT_S * 1000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(holds)


@asynccontextmanager
async def serving(tmp_path: Path, prepare: Callable[[HayhooksApp], None] = lambda _: None) -> AsyncIterator[Served]:
    WRAPPERS.write(tmp_path / "pipelines")
    app = HayhooksApp(AppSettings(pipelines_dir=str(tmp_path / "pipelines")))
    prepare(app)
    async with app.router.lifespan_context(app):
        yield Served(app)


async def test_what_stands_around_the_app_sees_every_request(tmp_path: Path) -> None:
    class Marking:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def marked(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-marked", b"1")]
                await send(message)

            await self.app(scope, receive, marked)

    async with serving(tmp_path, lambda app: app.add_middleware(Marking)) as served:
        assert b"x-marked: 1" in await served.ask(post("/sync/run"))


async def test_a_route_of_the_users_wins(tmp_path: Path) -> None:
    def add(app: HayhooksApp) -> None:
        app.add_api_route("/sync/run", lambda: "mine", methods=["POST"])

    async with serving(tmp_path, add) as served:
        assert (await served.ask(post("/sync/run"))).endswith(b'"mine"')
        assert (await served.ask(post("/async/run"))).endswith(b'{"result":"x"}')


async def test_nothing_is_left_in_a_circle(tmp_path: Path) -> None:
    kinds = (Connection, DirectCycle, DirectRun, Run)
    async with serving(tmp_path) as served:
        logger.disable("hayhooks")  # as it is without being configured, it makes circles of its own from what failed
        gc.collect()
        gc.disable()
        try:
            for path in ("/sync/run", "/async/run", "/sync_odd/run", "/async_odd/run", "/strict/run"):
                async with served.connected() as (reader, writer), asyncio.timeout(WAIT_S):
                    for text in ("stream", "none", "value"):
                        writer.write(post(path, b'{"text": "%s"}' % text.encode(), "X-Last: 1"))
                        await reader.readuntil(b"\r\n\r\n")
                    writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    await reader.read()
            await until(lambda: not served.state.connections and not served.state.tasks)
            assert [found for found in gc.get_objects() if isinstance(found, kinds)] == []
        finally:
            gc.enable()
            logger.enable("hayhooks")


def test_an_answer_that_is_there_does_not_wait_for_a_loop_that_is_held_up(tmp_path: Path, gates: Gates) -> None:
    wrappers = Wrappers()
    for name, hook in (("answers", "def run_api"), ("holds", "async def run_api_async")):
        wrappers.add(
            name,
            f"{hook}(self, text: str) -> str:\n    arrive('{name}')\n    return text",
            imports="from .gates import arrive",
        )
    wrappers.write(tmp_path / "pipelines")
    for directory in (tmp_path / "pipelines").iterdir():
        (directory / "gates.py").write_text(GATES_MODULE)
    with (
        running_server(tmp_path / "pipelines", env={"GATES_URL": gates.url}) as server,
        connect(server.url) as one,
        connect(server.url) as two,
    ):
        one.sendall(post("/answers/run"))
        gates.wait("answers")
        two.sendall(post("/holds/run"))
        gates.wait("holds")
        gates.open("answers")
        ((_, _, body),) = answers(one, 1)
        assert body == b'{"result":"x"}'
        one.sendall(post("/answers/run", b'{"text": "again"}'))
        gates.open("holds")
        for connection, result in ((one, b"again"), (two, b"x")):
            ((_, _, body),) = answers(connection, 1)
            assert body == b'{"result":"%s"}' % result


def test_who_has_an_answer_finds_the_run_ended(server: RunningServer) -> None:
    with connect(server.url) as one, connect(server.url) as two:
        for _ in range(500):
            for connection in (one, two):
                connection.sendall(post("/single/run"))
                ((status, _, _),) = answers(connection, 1)
                assert status == b"HTTP/1.1 200 OK"


def test_what_is_sent_ahead_goes_as_far_as_it_can_and_to_nobody_else() -> None:
    here, there = socket.socketpair()
    with there:
        with here:
            here.setblocking(False)
            ahead = Ahead(here.fileno())
            data = b"x" * 10_000_000
            ahead.send(data)
            assert ahead.close()
            assert ahead.left is not None
            sent = len(data) - len(ahead.left)
            assert 0 < sent < len(data)
            got = 0
            while got < sent:
                got += len(there.recv(sent - got))
            refused = Ahead(here.fileno())
            assert not refused.close()
            refused.send(b"x")
            assert not refused.close()
            late = Ahead(here.fileno())
        with socket.socket():  # which may have the number of the one that is closed
            late.send(b"late")
        assert there.recv(10) == b"late"
        assert there.recv(10) == b""


HOLDS = threading.Event()


async def test_who_leaves_is_not_held_by_a_hook_that_goes_on(tmp_path: Path) -> None:
    wrappers = Wrappers()
    hook = "def run_api(self, text: str) -> str:\n    HOLDS.wait(30)\n    return text"
    wrappers.add("holds", hook, imports=f"from {__name__} import HOLDS")
    wrappers.write(tmp_path / "pipelines")
    async with serving(tmp_path) as served:
        async with served.connected() as (_, writer):
            writer.write(post("/holds/run"))
            await until(lambda: any(connection.is_answering_directly for connection in served.connections.open))
            gone = [weakref.ref(connection) for connection in served.connections.open]
        await until(lambda: not served.connections.open)
        gc.collect()
        assert [found for found in gone if found() is not None] == []
        HOLDS.set()


async def test_who_has_begun_to_ask_is_not_idle(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as (reader, writer):
        writer.write(post("/sync/run"))
        await reader.readuntil(b'"}')
        (connection,) = served.connections.open
        await until(lambda: connection.answered_at is not None)
        writer.write(b"POST /sync/r")
        await until(lambda: connection.answered_at is None)


async def test_a_connection_on_which_nothing_is_asked_any_more_is_closed() -> None:
    async def empty(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    app: ASGIApp = empty
    config = Config(app, lifespan="off", log_config=None, timeout_keep_alive=1)
    config.load()
    connections = Connections(ConnectionLimits(), Load())
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: connections(config, state, {}), "127.0.0.1", free_port()
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "texts", [[], [""], ["a"], ["a", "", "b"], ["line\nbreak", '"', "\u2028"], ["half \ud800", "", "whole"]]
)
def test_texts_between_are_the_texts(texts: list[str]) -> None:
    assert json_texts_between(texts, b"<", b">") == b"".join(b"<" + text + b">" for text in json_texts(texts))
