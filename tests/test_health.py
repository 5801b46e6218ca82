"""``/health/live`` and ``/health/ready``: what probes are told while the server starts, serves, and stops."""

import asyncio
import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from hayhooks.surfaces.health import not_live, serve
from hayhooks.testing import RunningServer, running_server
from hayhooks.testing.server import start_server
from tests.support.gates import GATES_MODULE, Gates
from tests.support.program import free_port, running
from tests.support.wrapper_source import wrapper

SLOW = GATES_MODULE + wrapper().replace("self.pipeline = None", "arrive('setup')")
BROKEN = "raise ValueError('no such model')"


def write(directory: Path, **sources: str) -> Path:
    for name, source in sources.items():
        (directory / "pipelines" / name).mkdir(parents=True)
        (directory / "pipelines" / name / "pipeline_wrapper.py").write_text(source)
    return directory / "pipelines"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = write(tmp_path_factory.mktemp("server"), good=wrapper(), broken=BROKEN)
    with running_server(directory, env={"HAYHOOKS_REQUIRE": '["good"]'}) as server:
        yield server


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["live", "ready"])
def test_a_server_that_serves_what_is_required_is_ready(server: RunningServer, method: str, path: str) -> None:
    answer = httpx.request(method, f"{server.url}/health/{path}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.json()["status"] if method == "GET" else answer.text) == (path if method == "GET" else "")


def test_what_failed_and_is_not_required_is_named_to_those_who_may_manage(server: RunningServer) -> None:
    told = httpx.get(f"{server.url}/health/ready").json()
    assert "no such model" in told["failed"]["broken"]
    # As a stranger behind a proxy, who is not told names.
    told = httpx.get(f"{server.url}/health/ready", headers={"x-forwarded-for": "192.0.2.1"}).json()
    assert told == {"status": "ready", "reasons": []}


def test_a_page_of_another_origin_and_a_foreign_host_are_answered_without_names(server: RunningServer) -> None:
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = httpx.get(f"{server.url}/health/ready", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "live", 405), ("GET", "", 404), ("GET", "other", 404)])
def test_what_is_no_probe_is_refused(server: RunningServer, method: str, path: str, status: int) -> None:
    assert httpx.request(method, f"{server.url}/health/{path}").status_code == status


@pytest.mark.parametrize(
    ("required", "reasons"),
    [
        ([], []), (["good"], []), (["g*", "?ood"], []),
        (["absent"], ["No deployment matches the required 'absent'."]),
        (["x-*"], ["No deployment matches the required 'x-*'."]),
        (["bad"], ["Required deployment 'bad' failed to load: why"]),
        (["*"], ["Required deployment 'bad' failed to load: why"]),
        (["bad", "b?d"], ["Required deployment 'bad' failed to load: why"]),
    ],
)  # fmt: skip
def test_each_required_pattern_needs_something_live_and_nothing_that_failed(
    required: list[str], reasons: list[str]
) -> None:
    assert not_live(required, {"good": None}, {"bad": "why"}) == reasons


def test_a_required_deployment_that_failed_makes_the_server_not_ready(tmp_path: Path) -> None:
    write(tmp_path, good=wrapper(), broken=BROKEN)
    command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", "--require", "go*", "--require", "bro*")
    with running(tmp_path, *command) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]
        assert "Not ready: Required deployment 'broken' failed to load" in server.output
        answer = httpx.get(f"{url}/health/ready")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not ready"
        assert "no such model" in answer.json()["reasons"][0]
        stranger = httpx.get(f"{url}/health/ready", headers={"x-forwarded-for": "192.0.2.1"})
        assert stranger.json() == {"status": "not ready", "reasons": ["A required deployment is not live."]}
        assert httpx.get(f"{url}/health/live").status_code == 200
        mended = {"name": "broken", "files": {"pipeline_wrapper.py": wrapper()}, "overwrite": True}
        assert httpx.post(f"{url}/deploy_files", json=mended).status_code == 200
        assert httpx.get(f"{url}/health/ready").status_code == 200


def test_while_deployments_are_built_it_lives_is_not_ready_and_refuses_in_each_protocol(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gates = stack.enter_context(Gates())
        port = free_port()
        directory = write(tmp_path, slow=SLOW)
        environment = {"GATES_URL": gates.url}
        command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", str(port))
        server = stack.enter_context(running(directory.parent, *command, env=environment))
        gates.wait("setup")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as web:
            assert web.get("/health/live").json() == {"status": "live"}
            ready = web.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "starting")
            chat = {"model": "slow", "messages": [{"role": "user", "content": "hi"}]}
            answers = {
                path: web.post(path, json=chat)
                for path in ("/slow/run", "/slow/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages")
            }
            assert {path: answer.status_code for path, answer in answers.items()} == {
                **dict.fromkeys(answers, 503), "/v1/messages": 529
            }  # fmt: skip
            assert {answer.headers["retry-after"] for answer in answers.values()} == {"1"}
            assert answers["/slow/run"].json()["kind"] == "unavailable"
            assert answers["/slow/chat"].json()["error"]["code"] == "unavailable"
            assert answers["/v1/messages"].json()["error"]["type"] == "overloaded_error"
            for path in ("/status", "/docs", "/nowhere", "/"):
                assert (web.get(path).status_code, web.get(path).headers["retry-after"]) == (503, "1")
            assert "Listening" not in server.output
            gates.open("setup")
            server.wait_for("Listening on")
            assert web.get("/health/ready").status_code == 200
            assert web.post("/slow/run", json={}).json() == {"result": "hello world"}


def test_a_server_that_is_stopped_while_it_starts_closes_what_it_has_built(tmp_path: Path, gates: Gates) -> None:
    torn = "    def teardown(self):\n        import sys\n        print('torn down', file=sys.stderr)\n"
    server = start_server(write(tmp_path, slow=SLOW + torn), env={"GATES_URL": gates.url})
    try:
        gates.wait("setup")
        server.process.send_signal(signal.SIGTERM)
        gates.open("setup")
        server.process.wait(60)
    finally:
        code = server.stop()
    assert code == 0
    assert "torn down" in server.log


@pytest.fixture
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


def test_a_state_database_that_does_not_work_makes_the_server_not_ready(tmp_path: Path) -> None:
    with running_server(write(tmp_path, good=wrapper())) as server:
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        database = sqlite3.connect(next(tmp_path.glob(".hayhooks/**/state.db")))
        database.execute("DROP TABLE live")
        database.commit()
        database.close()
        while (answer := httpx.get(f"{server.url}/health/ready")).status_code == 200:
            pass  # what was read in the last second still counts
        assert answer.json()["reasons"] == ["The state database cannot be read."]
        assert httpx.get(f"{server.url}/health/live").status_code == 200


class Nothing:
    def __init__(self) -> None:
        self.live: dict[str, Any] = {}
        self.failures: dict[str, str] = {}


async def ask(handler: Any, path: str = "/health/ready") -> tuple[int, Any]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await handler({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_many_probes_at_once_are_one_read() -> None:
    reads: list[None] = []
    check: Callable[[], None] = lambda: reads.append(None)  # noqa: E731
    async with serve(Nothing(), lambda: "ready", check) as handler:  # type: ignore[arg-type]
        answers = await asyncio.gather(*(ask(handler) for _ in range(50)))
    assert {status for status, _ in answers} == {200}
    assert len(reads) == 1


async def test_a_state_database_that_hangs_costs_one_thread_and_the_server_its_readiness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hayhooks.surfaces.health.STORE_LIMIT_S", 0.01)
    hangs = threading.Event()
    reads: list[None] = []

    def check() -> None:
        reads.append(None)
        hangs.wait()

    async with serve(Nothing(), lambda: "ready", check) as handler:  # type: ignore[arg-type]
        for _ in range(3):
            assert await ask(handler) == (
                503,
                {"status": "not ready", "reasons": ["The state database does not answer."], "failed": {}},
            )
        assert (await ask(handler, "/health/live"))[0] == 200
        hangs.set()
    assert len(reads) == 1
