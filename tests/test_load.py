"""Overload: who is refused, with what answer, and that the others are served."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO

import httpx
import pytest

from hayhooks.core.errors import Overloaded
from hayhooks.core.load import Load, LoadLimits
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

WRAPPER = """
import time

from hayhooks import BasePipelineWrapper

from .gates import arrive


class PipelineWrapper(BasePipelineWrapper):
    {limits}

    def setup(self) -> None:
        pass

    def run_api(self, gate: str = "", busy_s: float = 0.0) -> str:
        if gate:
            arrive(gate)
        end = time.monotonic() + busy_s
        while time.monotonic() < end:
            pass
        return "done"

    def run_chat_completion(self, model: str, messages: list[dict], body: dict):
        def words():
            yield "one "
            arrive(messages[-1]["content"])
            yield "two"

        return words()
"""
CHAT = {"max_tokens": 9, "stream": True}


def files(limits: str = "pass") -> dict[str, bytes]:
    return {"pipeline_wrapper.py": WRAPPER.format(limits=limits).encode(), "gates.py": GATES_MODULE.encode()}


def chat(gate: str, model: str = "one") -> dict[str, object]:
    return {**CHAT, "model": model, "messages": [{"role": "user", "content": gate}]}


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    env = {
        "GATES_URL": gates.url,
        "HAYHOOKS_MAX_TOTAL_RUNS": "4",
        "HAYHOOKS_MAX_TOTAL_STREAMS": "2",
        "HAYHOOKS_MAX_BODY_BYTES": "20000",
    }
    with running_server(tmp_path_factory.mktemp("load") / "pipelines", env=env) as server:
        server.client.deploy_files("one", files())
        server.client.deploy_files("other", files())
        server.client.deploy_files("small", files("max_body_bytes = 1000"))
        server.client.deploy_files("large", files("max_body_bytes = 100_000"))
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        yield client


async def reached(gates: Gates, name: str, count: int = 1) -> None:
    await asyncio.to_thread(gates.wait, name, count)


async def test_more_runs_than_the_server_may_have_are_refused_in_each_protocols_words(
    client: httpx.AsyncClient, gates: Gates
) -> None:
    names = ["one", "other", "one", "other"]
    holding = [asyncio.ensure_future(client.post(f"/{name}/run", json={"gate": "total"})) for name in names]
    await reached(gates, "total", 4)
    rest = await client.post("/one/run", json={})
    openai = [await client.post(path, json=chat("x")) for path in ("/one/chat", "/v1/chat/completions")]
    response = await client.post("/v1/responses", json={"model": "one", "input": "x"})
    anthropic = await client.post("/v1/messages", json=chat("x"))
    status = await client.get("/status")
    gates.open("total")

    assert (rest.status_code, rest.json()["kind"]) == (503, "unavailable")
    for answer in (*openai, response):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (529, "overloaded_error")
    assert {answer.headers["retry-after"] for answer in (rest, *openai, response, anthropic)} == {"1"}
    assert status.status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*holding)} == {200}
    assert (await client.post("/one/run", json={})).status_code == 200


async def test_more_streams_than_the_server_may_have_are_refused_before_they_begin(
    client: httpx.AsyncClient, gates: Gates
) -> None:
    async with asyncio.TaskGroup() as group:
        holding = [group.create_task(client.post("/v1/chat/completions", json=chat("streams"))) for _ in range(2)]
        await reached(gates, "streams", 2)
        openai = await client.post("/v1/chat/completions", json=chat("over"))
        anthropic = await client.post("/v1/messages", json=chat("over"))
        gates.open("over")
        plain = await client.post("/one/run", json={})
        gates.open("streams")
    assert (openai.status_code, anthropic.status_code, plain.status_code) == (503, 529, 200)
    assert all("two" in task.result().text for task in holding)
    assert (await client.post("/v1/messages", json=chat("streams"))).status_code == 200


async def test_a_deployment_takes_smaller_or_larger_bodies_than_the_server(client: httpx.AsyncClient) -> None:
    found = {}
    for name in ("one", "small", "large"):
        sizes = (500, 5_000, 50_000)
        answers = [await client.post(f"/{name}/run", json={"gate": "", "x": "x" * size}) for size in sizes]
        found[name] = [answer.status_code for answer in answers]
    assert found == {"one": [200, 200, 413], "small": [200, 413, 413], "large": [200, 200, 200]}


@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
async def test_a_model_that_the_body_names_has_its_limit_as_well(client: httpx.AsyncClient, path: str) -> None:
    body = {**chat("x" * 5_000, "small"), "input": "x" * 5_000}
    if path == "responses":
        del body["messages"], body["max_tokens"]
    answer = await client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 413
    assert "1000 bytes" in answer.json()["error"]["message"]


async def test_a_queue_that_stands_is_cut_to_as_many_as_can_run(gates: Gates, server: RunningServer) -> None:
    name = "standing"
    env = {"GATES_URL": gates.url, "HAYHOOKS_MAX_DELAY_S": "30"}
    with running_server(server.pipelines_dir.parent / "apart" / "pipelines", env=env) as apart:
        await asyncio.to_thread(apart.client.deploy_files, name, files("max_concurrent_runs = 2"))
        async with httpx.AsyncClient(base_url=apart.url, timeout=60, limits=httpx.Limits(max_connections=None)) as own:
            burst = [asyncio.ensure_future(own.post(f"/{name}/run", json={"busy_s": 0.05})) for _ in range(60)]
            answers = await asyncio.gather(*burst)
            again: set[int] = set()
            while again != {200}:  # once a second has passed without a refusal, a burst is one again
                await asyncio.sleep(1)
                again = {a.status_code for a in await asyncio.gather(*(own.post(f"/{name}/run") for _ in range(30)))}
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(served) + len(refused) == 60
    assert len(served) >= 10  # five for each slot have been served by then
    assert refused
    assert all(answer.headers["retry-after"] == "1" for answer in refused)


def in_one_piece(url: str) -> tuple[bytes, bytes]:
    """Head and body in one packet, until that is refused, and a call that never is: what the server answers to both."""
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /flooded/run HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as sock, sock.makefile("rb") as file:
        while True:
            sock.sendall(head.encode() + b"{}")
            refusal = answer_in(file)
            if not refusal.startswith(b"HTTP/1.1 200 "):
                break
        sock.sendall(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return refusal, answer_in(file)


def answer_in(file: BinaryIO) -> bytes:
    lines = list(iter(file.readline, b"\r\n"))
    length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
    return b"".join(lines) + file.read(length)


async def test_calls_of_one_deployment_are_served_while_another_is_flooded(
    tmp_path_factory: pytest.TempPathFactory, gates: Gates
) -> None:
    env = {"GATES_URL": gates.url, "HAYHOOKS_MAX_DELAY_S": "0.1"}
    with running_server(tmp_path_factory.mktemp("fair") / "pipelines", env=env) as server:
        await asyncio.to_thread(server.client.deploy_files, "flooded", files())
        await asyncio.to_thread(server.client.deploy_files, "quiet", files())
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        statuses: set[int] = set()
        is_over = False
        has_refused = asyncio.Event()

        async def flood(client: httpx.AsyncClient) -> None:
            while not is_over:
                status = (await client.post("/flooded/run", json={"busy_s": 0.005})).status_code
                statuses.add(status)
                if status == 503:
                    has_refused.set()
                    await asyncio.sleep(0.2)  # a part of what it was told to wait

        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            callers = [asyncio.ensure_future(flood(client)) for _ in range(80)]
            quiet = [await client.post("/quiet/run", json={})]
            await has_refused.wait()
            refusal, status = await asyncio.to_thread(in_one_piece, server.url)
            quiet += [await client.post("/quiet/run", json={}) for _ in range(10)]
            is_over = True
            await asyncio.gather(*callers)
    assert {answer.status_code for answer in quiet} == {200}
    assert statuses == {200, 503}
    assert refusal.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in refusal
    assert refusal.endswith(b'{"detail":"The server is overloaded. Try again later.","kind":"unavailable"}')
    assert status.startswith(b"HTTP/1.1 200 ")  # on the same connection


async def test_what_is_shed_follows_what_can_be_done() -> None:
    """The rule itself, on a loop that is behind because something blocks it."""
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 100
    waits = [0.0]
    load.delay_s = lambda: waits[0]
    limited: list[float | None] = []
    load.limit_waiting = limited.append
    favoured: list[bool] = []
    load.favour_loop = favoured.append
    load.enter("a")
    waits[0] = 1.0
    await _until(lambda: load.is_shedding)
    outcomes = [_tries(load, "a") for _ in range(100)]
    assert not all(outcomes)
    assert _tries(load, "quiet")  # within its share
    assert not all(_tries(load, "a") for _ in range(100))
    assert load.refuses("a")
    assert True in favoured
    waits[0] = 0.0
    load.leave()
    await _until(lambda: not load.is_shedding)
    assert limited == [pytest.approx(0.008), None]
    assert not favoured[-1]
    assert all(_tries(load, "a") for _ in range(100))


async def test_long_streams_are_no_flood_and_a_flood_beside_them_is_one() -> None:
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 500
    looks: list[None] = []

    def delay_s() -> float:
        looks.append(None)
        load.written += 200
        return 1.0

    load.delay_s = delay_s
    for _ in range(200):
        load.enter("chat")
        load.enter_stream()
    await _until(lambda: len(looks) > 5)
    assert not load.is_shedding
    for _ in range(100):
        load.enter("calls")
    await _until(lambda: load.is_shedding)


async def test_streams_that_say_nothing_do_not_hide_a_flood() -> None:
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 2000
    load.delay_s = lambda: 1.0
    for _ in range(2000):
        load.enter("idle")
        load.enter_stream()
    load.enter("calls")
    await _until(lambda: load.is_shedding)


async def test_what_is_about_to_end_is_no_flood() -> None:
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 500
    looks: list[None] = []

    def delay_s() -> float:
        looks.append(None)
        for _ in range(10):
            load.leave()
        return 1.0 if len(looks) > 30 else 0.0  # what has begun is long ago

    for _ in range(1000):
        load.enter("calls")
    load.delay_s = delay_s
    await _until(lambda: len(looks) > 40)
    assert not load.is_shedding


async def test_of_many_requests_that_are_read_at_once_only_as_many_are_let_in_as_can_run() -> None:
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 100
    load.delay_s = lambda: 1.0
    load.enter("a")
    await _until(lambda: load.is_shedding)
    admitted = sum(not load.refuses("a") for _ in range(1000))
    assert admitted < 100
    assert all(_tries(load, "a") for _ in range(admitted))  # and none of these is asked again


async def test_what_has_waited_for_too_long_is_refused_whatever_the_rate_is() -> None:
    load = Load(LoadLimits(max_delay_s=0.02))
    load.connections = 100
    waits = [1.0]
    load.backlog_s = lambda: waits[0]
    load.enter("a")
    await _until(lambda: load.is_shedding)
    waits[0] = 0.0
    # The same run would be admitted at that moment, had it not waited.
    await _until(lambda: load.refuses("a", waited_s=1.0) and not load.refuses("a"))


async def test_a_single_stutter_sheds_nothing() -> None:
    load = Load(LoadLimits(max_delay_s=0.1))
    load.connections = 100
    load.enter("a")
    time.sleep(0.5)  # noqa: ASYNC251 - the loop is behind, once
    for _ in range(10):
        await asyncio.sleep(0.03)
        assert not load.is_shedding


async def test_few_callers_are_never_shed() -> None:
    load = Load(LoadLimits(max_delay_s=0.001))
    load.connections = 10
    load.enter("a")
    for _ in range(20):
        time.sleep(0.01)  # noqa: ASYNC251 - the loop is behind, all the time
        await asyncio.sleep(0)
    assert not load.is_shedding


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def _tries(load: Load, name: str) -> bool:
    try:
        load.enter(name)
    except Overloaded:
        return False
    load.leave()
    return True
