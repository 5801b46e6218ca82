"""Callers who are slow on purpose: heads and bodies that never end, answers that nobody reads, too many connections."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

WRAPPER = """
from hayhooks import BasePipelineWrapper

from .gates import note


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    async def run_api_async(self, text: str) -> str:
        return text


class Endless(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    def run_api(self):
        try:
            while True:
                yield "x" * 10_000
        finally:
            note("ended")
"""
HEAD = b"POST /echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    env = {
        "GATES_URL": gates.url,
        "HAYHOOKS_SLOW_WRITER_TIMEOUT_S": "1",
        "HAYHOOKS_SLOW_READER_TIMEOUT_S": "1",
        "HAYHOOKS_MAX_CONNECTIONS": "50",
    }
    with running_server(tmp_path_factory.mktemp("connections") / "pipelines", env=env) as server:
        echo, _, endless = WRAPPER.partition("class Endless")
        files = {"pipeline_wrapper.py": echo.encode(), "gates.py": GATES_MODULE.encode()}
        server.client.deploy_files("echo", files)
        endless = f"{echo.partition('class')[0]}class PipelineWrapper{endless}"
        server.client.deploy_files("endless", {**files, "pipeline_wrapper.py": endless.encode()})
        yield server


def connect(server: RunningServer, receive_bytes: int | None = None) -> socket.socket:
    address = urlsplit(server.url)
    one = socket.socket()
    if receive_bytes is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    one.settimeout(WAIT_S)
    one.connect((address.hostname, address.port))
    return one


def rest(one: socket.socket) -> bytes:
    """What comes until the server closes; a reset is an end, too."""
    got = b""
    try:
        while data := one.recv(65536):
            got += data
    except ConnectionError:
        pass
    return got


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b"POST /echo/r", b"HTTP/1.1 408 "),
        (HEAD + b"X-Half: ", b"HTTP/1.1 408 "),
        (HEAD + b"Content-Length: 100\r\n\r\n{", b"HTTP/1.1 408 "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "empty lines", "half a line", "half a head", "half a body", "half a chunk"],
)
def test_who_stops_in_the_middle_of_a_request_is_sent_away(server: RunningServer, sent: bytes, status: bytes) -> None:
    with connect(server) as slow:
        slow.sendall(sent)
        answer = rest(slow)
    assert answer.startswith(status) if status else answer == b""


@pytest.mark.parametrize("head", [b"POST /echo/run HTTP/1.1\r\nX: ", HEAD + b"Content-Length: 1000\r\n\r\n"])
def test_who_sends_a_byte_now_and_then_is_sent_away_as_well(server: RunningServer, head: bytes) -> None:
    with connect(server) as slow:
        slow.sendall(head)
        slow.settimeout(0.2)
        answer = b""
        for _ in range(WAIT_S * 5):
            try:
                answer = slow.recv(1000)
                break
            except TimeoutError:
                slow.sendall(b"1")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_slow_but_comes_is_waited_for(server: RunningServer) -> None:
    body = json.dumps({"text": "x" * 3000}).encode()
    with connect(server) as steady:
        steady.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        began = time.monotonic()
        for place in range(0, len(body), 150):  # 1,000 bytes per second, for three time-outs
            time.sleep(max(0.0, began + place / 1000 - time.monotonic()))
            steady.sendall(body[place : place + 150])
        answer = rest(steady)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"result":"' + b"x" * 3000 + b'"}')


def test_a_stream_that_nobody_reads_is_ended_with_its_run(server: RunningServer, gates: Gates) -> None:
    files = psutil.Process(server.process.pid).num_fds()
    with connect(server, receive_bytes=4096) as idle:
        idle.sendall(HEAD.replace(b"/echo/", b"/endless/") + b"Content-Length: 2\r\n\r\n{}")
        assert idle.recv(100).startswith(b"HTTP/1.1 200 ")
        gates.wait("ended")
    assert psutil.Process(server.process.pid).num_fds() <= files + 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"X-Long: " + b"x" * 300_000, 431),
        (HEAD + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: y\r\n" * 300 + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: " + b"x" * 900_000, 431),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 900_000, 431),
    ],
    ids=["endless field", "long field", "many fields", "long address", "endless trailer", "endless chunk extension"],
)
def test_a_head_larger_than_allowed_is_refused(server: RunningServer, head: bytes, status: int) -> None:
    with connect(server) as large:
        with contextlib.suppress(ConnectionError):
            large.sendall(head)
        assert rest(large).startswith(b"HTTP/1.1 %d " % status)
    assert server.client.run("echo", {"text": "next"}).result == "next"


def test_more_connections_than_allowed_are_told_to_come_back(server: RunningServer) -> None:
    held = [connect(server) for _ in range(50)]
    for one in held:  # each is answered, so each has been counted
        one.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one.recv(12) == b"HTTP/1.1 200"
    with connect(server) as over:
        answer = rest(over)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    for one in held:
        one.close()
