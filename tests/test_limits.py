"""How much may happen at once: slots, queues, threads, and readers who are slower than what they read."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from hayhooks.client import ServerRefused
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

WRAPPER = """
import asyncio
import threading
from typing import Any

from hayhooks import BasePipelineWrapper, SSEStream

from .gates import arrive, note


class PipelineWrapper(BasePipelineWrapper):
    {limits}

    def setup(self) -> None:
        self.together = threading.Barrier(300)
        self.lock = threading.Lock()
        self.inside = self.peak = self.threads = self.made = 0

    def run_api(self, kind: str, name: str = "", size: int = 0) -> Any:
        with self.lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            return getattr(self, kind)(name, size)
        finally:
            with self.lock:
                self.inside -= 1

    def quick(self, name, size):
        self.threads = max(self.threads, threading.active_count())
        return name

    def peaks(self, name, size):
        return {{"runs": self.peak, "threads": self.threads, "made": self.made}}

    def meet(self, name, size):
        self.together.wait(60)
        return "met"

    def hold(self, name, size):
        arrive(name)
        return name

    def endless(self, name, size):
        self.made = 0
        try:
            while True:
                self.made += 1
                yield "x" * size
        finally:
            note("closed-" + name)

    def endless_sse(self, name, size):
        return SSEStream(self.endless(name, size))

    async def endless_async(self, name, size):
        self.made = 0
        try:
            while True:
                self.made += 1
                yield "x" * size
        finally:
            note("closed-" + name)

    def run_chat_completion(self, model: str, messages: list[dict], body: dict):
        def words():
            yield "one "
            arrive(messages[-1]["content"])
            yield "two"

        return words()
"""
ASYNC = """
import asyncio

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.together = asyncio.Barrier(100)

    async def run_api_async(self, meets: bool = False) -> str:
        if meets:
            await self.together.wait()
        return "async"
"""


def files(limits: str = "pass") -> dict[str, bytes]:
    return {"pipeline_wrapper.py": WRAPPER.format(limits=limits).encode(), "gates.py": GATES_MODULE.encode()}


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    # Floods of hundreds are served to the last call, also where the machine is slow.
    env = {"GATES_URL": gates.url, "HAYHOOKS_MAX_DELAY_S": "30"}
    with running_server(tmp_path_factory.mktemp("limits") / "pipelines", env=env) as server:
        server.client.deploy_files("free", files())
        server.client.deploy_files("none", files("max_concurrent_runs = None; max_queued_runs = None"))
        server.client.deploy_files("three", files("max_concurrent_runs = 3; max_queued_runs = 100"))
        server.client.deploy_files("single", files("max_concurrent_runs = 1; max_queued_runs = 0"))
        server.client.deploy_files("async", {"pipeline_wrapper.py": ASYNC.encode()})
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        yield client


async def run(client: httpx.AsyncClient, deployment: str, kind: str, name: str = "") -> httpx.Response:
    return await client.post(f"/{deployment}/run", json={"kind": kind, "name": name})


async def reached(gates: Gates, name: str, count: int = 1) -> None:
    await asyncio.to_thread(gates.wait, name, count)


async def post(server: RunningServer, path: str, body: object, times: int = 1) -> list[bytes]:
    """The bodies of the answers to a request sent several times over one connection; hundreds of these are cheap."""
    address = urlsplit(server.url)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    answers = []
    for _ in range(times):
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        answers.append(await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])))
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.parametrize("deployment", ["free", "none"])
async def test_300_sync_runs_that_wait_for_each_other_all_run_at_once(server: RunningServer, deployment: str) -> None:
    async with asyncio.timeout(90):
        answers = await asyncio.gather(*(post(server, f"/{deployment}/run", {"kind": "meet"}) for _ in range(300)))
    assert answers == [[b'{"result":"met"}']] * 300


async def test_100_async_runs_that_wait_for_each_other_all_run_at_once(server: RunningServer) -> None:
    async with asyncio.timeout(90):
        answers = await asyncio.gather(*(post(server, "/async/run", {"meets": True}) for _ in range(100)))
    assert answers == [[b'{"result":"async"}']] * 100


async def test_a_flood_of_short_sync_runs_shares_a_few_threads(server: RunningServer) -> None:
    await asyncio.to_thread(server.client.deploy_files, "flood", files())
    peaks = {"kind": "peaks"}
    await asyncio.to_thread(server.client.run, "flood", {"kind": "quick"})
    before = (await asyncio.to_thread(server.client.run, "flood", peaks)).result["threads"]
    body = {"kind": "quick", "name": "short"}
    answers = await asyncio.gather(*(post(server, "/flood/run", body, times=10) for _ in range(400)))
    assert answers == [[b'{"result":"short"}'] * 10] * 400
    assert (await asyncio.to_thread(server.client.run, "flood", peaks)).result["threads"] < before + 200


async def test_no_more_runs_than_the_limit_run_at_once_and_the_others_wait(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(run(client, "three", "quick") for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await run(client, "three", "peaks")).json()["result"]["runs"] <= 3


async def test_a_full_deployment_says_429_and_when_to_come_back(client: httpx.AsyncClient, gates: Gates) -> None:
    holding = asyncio.ensure_future(run(client, "single", "hold", "full"))
    await reached(gates, "full")
    refused = await run(client, "single", "quick")
    chat = await client.post("/single/chat", json={"messages": [{"role": "user", "content": "hi"}]})
    streamed = await client.post("/single/chat", json={"messages": [{"role": "user", "content": "hi"}], "stream": True})
    gates.open("full")

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json() == {
        "detail": "Deployment 'single' is busy: 1 running, 0 waiting. Try again later.",
        "kind": "busy",
    }
    for answer in (chat, streamed):
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"]
    assert (await holding).json() == {"result": "full"}
    assert (await run(client, "single", "quick", "again")).json() == {"result": "again"}


async def test_a_run_that_is_refused_or_invalid_takes_no_slot(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await client.post("/single/run", json={"kind": 1})).status_code == 422
        assert (await client.post("/single/run", content=b"{")).status_code == 422
        assert (await run(client, "single", "no_such_method")).status_code == 500
    assert (await run(client, "single", "quick", "free")).json() == {"result": "free"}


async def test_a_full_deployment_does_not_hold_up_another(client: httpx.AsyncClient, gates: Gates) -> None:
    holding = [asyncio.ensure_future(run(client, "three", "hold", "others")) for _ in range(20)]
    await reached(gates, "others", 3)
    assert (await run(client, "free", "quick", "other")).json() == {"result": "other"}
    assert (await client.post("/async/run", json={})).json() == {"result": "async"}
    gates.open("others")
    assert {answer.status_code for answer in await asyncio.gather(*holding)} == {200}


async def test_sync_runs_that_block_delay_no_other_run(client: httpx.AsyncClient, gates: Gates) -> None:
    holding = [asyncio.ensure_future(run(client, "free", "hold", "blocking")) for _ in range(100)]
    await reached(gates, "blocking", 100)
    assert (await client.post("/async/run", json={})).json() == {"result": "async"}
    assert (await run(client, "free", "quick", "sync")).json() == {"result": "sync"}
    assert (await client.get("/status")).status_code == 200
    gates.open("blocking")
    assert {answer.json()["result"] for answer in await asyncio.gather(*holding)} == {"blocking"}


async def test_a_chat_generator_that_is_collected_does_not_block_the_loop(
    client: httpx.AsyncClient, gates: Gates
) -> None:
    body = {"messages": [{"role": "user", "content": "collecting"}], "stream": False}
    chat = asyncio.ensure_future(client.post("/free/chat", json=body))
    await reached(gates, "collecting")
    assert (await client.get("/status")).status_code == 200
    assert (await client.post("/async/run", json={})).json() == {"result": "async"}
    gates.open("collecting")
    assert (await chat).json()["choices"][0]["message"]["content"] == "one two"


@pytest.mark.parametrize("size", [10, 100_000], ids=["words", "large pieces"])
@pytest.mark.parametrize("kind", ["endless", "endless_sse", "endless_async"])
def test_a_stream_waits_for_a_reader_who_is_slow(server: RunningServer, gates: Gates, kind: str, size: int) -> None:
    process = psutil.Process(server.process.pid)
    name = f"{kind}-{size}"
    before = process.memory_info().rss
    address = urlsplit(server.url)
    body = json.dumps({"kind": kind, "name": name, "size": size}).encode()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((address.hostname, address.port))
        reader.settimeout(WAIT_S)
        head = f"POST /free/run HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert reader.recv(1000)
        made = _steady(server)
        # What the system's buffers hold, and the thousand words, or 16 large pieces, that a stream may be ahead.
        assert made * size < 2_500 * size + 16_000_000
        assert process.memory_info().rss - before < 60 * 2**20
        read = 0
        while read < 4_000_000:  # it goes on when the reader does
            read += len(reader.recv(65536))
        assert _steady(server) > made
    gates.wait(f"closed-{name}")


def _steady(server: RunningServer) -> int:
    """How many pieces the stream has made, once it makes no more."""
    made, unchanged = -1, 0
    while unchanged < 20:
        now = server.client.run("free", {"kind": "peaks"}).result["made"]
        unchanged = unchanged + 1 if now == made else 0
        made = now
    return made


def test_limits_of_the_server_hold_for_wrappers_that_set_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Gates() as gates:
        env = {
            "GATES_URL": gates.url,
            "HAYHOOKS_MAX_CONCURRENT_RUNS": "1",
            "HAYHOOKS_MAX_QUEUED_RUNS": "0",
            "HAYHOOKS_RUN_TIMEOUT_S": "0.5",
        }
        with running_server(tmp_path_factory.mktemp("settings") / "pipelines", env=env) as server:
            server.client.deploy_files("default", files())
            server.client.deploy_files("own", files("max_concurrent_runs = 2; run_timeout_s = None"))
            with pytest.raises(ServerRefused) as late:
                server.client.run("default", {"kind": "hold", "name": "default"})
            with pytest.raises(ServerRefused) as full:  # the thread of the first goes on
                server.client.run("default", {"kind": "quick"})
            assert (late.value.status, full.value.status) == (504, 429)
            gates.open("default")
            asyncio.run(_hold_two(server, gates))


async def _hold_two(server: RunningServer, gates: Gates) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        holding = [asyncio.ensure_future(run(client, "own", "hold", "own")) for _ in range(2)]
        await reached(gates, "own", 2)
        assert (await run(client, "own", "quick")).status_code == 429
        gates.open("own")
        assert {answer.status_code for answer in await asyncio.gather(*holding)} == {200}


@pytest.mark.parametrize(
    "limits",
    ["max_concurrent_runs = 0", "max_concurrent_runs = -1", "max_queued_runs = -1", "run_timeout_s = 0",
     "run_timeout_s = 'soon'", "max_concurrent_runs = True", "run_timeout_s = float('nan')"],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_fails_the_deploy(server: RunningServer, limits: str) -> None:
    with pytest.raises(ServerRefused, match=limits.split(" ")[0]):
        server.client.deploy_files("senseless", files(limits))
