"""A server that is told to stop: calls under way are answered, streams get an end, nobody is left in the dark."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from hayhooks import create_app
from hayhooks.server.app import HayhooksApp
from hayhooks.settings import AppSettings
from tests.support.program import Program, running

CLIENTS = 8
WRAPPER = """
import asyncio, os
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = None

    async def run_api_async(self, number: int = 0) -> int:
        file = os.open(os.environ["BEGUN"], os.O_APPEND | os.O_WRONLY)
        os.write(file, b".")
        os.close(file)
        await asyncio.sleep(0.01)
        return number
"""
ENDLESS = """
import asyncio
from hayhooks import BasePipelineWrapper
from hayhooks.sse import SSEStream

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = None

    async def words(self):
        yield "begun"
        await asyncio.Event().wait()

    async def run_api_async(self, sse: bool = True):
        return SSEStream(self.words()) if sse else self.words()

    async def run_chat_completion_async(self, model, messages, body):
        return self.words()
"""


def serve(directory: Path, *arguments: str, **environment: str) -> AbstractContextManager[Program]:
    command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", *arguments)
    variables = {f"HAYHOOKS_{name}": value for name, value in environment.items()}
    return running(directory, *command, env={**variables, "BEGUN": str(directory / "begun")})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "begun").touch()
    for name, source in (("count", WRAPPER), ("endless", ENDLESS)):
        (tmp_path / "pipelines" / name).mkdir(parents=True)
        (tmp_path / "pipelines" / name / "pipeline_wrapper.py").write_text(source)
    return tmp_path


def address(server: Program) -> str:
    return server.wait_for(r"Listening on (http://\S+)")[1]


class Callers:
    """Clients that call over connections they keep, until they are told that the server stops."""

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.refusals: list[httpx.Response] = []
        self.is_warm = threading.Event()
        self._url = url

    def __call__(self, first: int) -> None:
        with httpx.Client() as web:
            for number in range(first, first + 1_000_000):
                try:
                    answer = web.post(f"{self._url}/count/run", json={"number": number}, timeout=60)
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1
                    return
                if answer.status_code != 200:
                    self.refusals.append(answer)
                    return
                self.outcomes["right" if answer.json() == {"result": number} else "wrong"] += 1
                self.outcomes["last"] += answer.headers.get("connection") == "close"
                if self.outcomes["right"] > 10 * CLIENTS:
                    self.is_warm.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_under_load_every_run_that_begins_is_answered_whole(directory: Path, workers: str) -> None:
    with serve(directory, "--workers", workers, GRACEFUL_SHUTDOWN_TIMEOUT="30") as server:
        callers = Callers(address(server))
        with ThreadPoolExecutor(CLIENTS) as pool:
            calling = [pool.submit(callers, number * 1_000_000) for number in range(CLIENTS)]
            callers.is_warm.wait(60)
            assert server.end(signal.SIGTERM) == 0
            for call in calling:
                call.result()
        begun = (directory / "begun").stat().st_size
        assert callers.outcomes["right"] == begun > 10 * CLIENTS
        assert callers.outcomes["wrong"] == 0
        assert callers.outcomes["last"] > 0  # what was on its way was served, as the last on its connection
        # Whoever came later was refused in words, or found nobody there.
        for answer in callers.refusals:
            assert answer.json() == {"detail": "The server is stopping.", "kind": "unavailable"}
            assert (answer.status_code, answer.headers["retry-after"], answer.headers["connection"]) == (
                503,
                "1",
                "close",
            )
        gone = sum(
            callers.outcomes[name] for name in ("ConnectError", "ReadError", "RemoteProtocolError", "WriteError")
        )
        assert len(callers.refusals) + gone == CLIENTS
        assert "Traceback" not in server.output


def lines_of(url: str, body: dict[str, object], begun: threading.Barrier) -> list[str]:
    """The lines of a stream to its end; an end that is none is the last one."""
    lines = []
    has_begun = False
    try:
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            for text in answer.iter_raw():
                lines.append(text.decode())
                if not has_begun and "begun" in "".join(lines):
                    has_begun = True
                    begun.wait(60)
    except httpx.RemoteProtocolError:
        lines.append("cut")
    return [line for line in "".join(lines).split("\n") if line]


def test_streams_that_outlive_the_time_out_end_as_their_protocols_say(directory: Path) -> None:
    chat = {"model": "endless", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 9}
    calls: dict[str, tuple[str, dict[str, object]]] = {
        "sse": ("/endless/run", {}),
        "text": ("/endless/run", {"sse": False}),
        "chat": ("/v1/chat/completions", chat),
        "responses": ("/v1/responses", {"model": "endless", "input": "hi", "stream": True}),
        "anthropic": ("/v1/messages", chat),
    }
    with serve(directory, GRACEFUL_SHUTDOWN_TIMEOUT="1") as server:
        url = address(server)
        begun = threading.Barrier(len(calls) + 1)
        with ThreadPoolExecutor(len(calls)) as pool:
            streams = {name: pool.submit(lines_of, url + path, body, begun) for name, (path, body) in calls.items()}
            begun.wait(60)
            assert server.end(signal.SIGTERM) == 0
            ends = {name: stream.result()[-3:] for name, stream in streams.items()}
    message = "The server is stopping."
    refusal = json.dumps({"detail": message, "kind": "unavailable"})
    assert ends["sse"][-2:] == ["event: error", f"data: {refusal}"]
    assert "".join(ends["text"]) == "beguncut"
    assert ends["chat"][-1] == "data: [DONE]"
    assert json.loads(ends["chat"][-2].removeprefix("data: "))["error"]["message"] == message
    (failed,) = (line for line in ends["responses"] if line.startswith('data: {"type":"response.failed"'))
    assert json.loads(failed.removeprefix("data: "))["response"]["error"]["message"] == message
    assert ends["anthropic"][-2] == "event: error"
    assert json.loads(ends["anthropic"][-1].removeprefix("data: "))["error"]["message"] == message
    assert "5 requests did not end in 1 s" in server.output
    assert "Traceback" not in server.output


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


def test_until_the_delay_is_over_calls_are_taken_and_a_second_signal_ends_it_at_once(
    directory: Path, web: httpx.Client
) -> None:
    with serve(directory, DRAIN_DELAY_S="3600") as server:
        url = address(server)
        assert web.get(f"{url}/health/ready").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        while (ready := web.get(f"{url}/health/ready")).status_code == 200:
            pass
        assert ready.json()["status"] == "draining"
        assert web.get(f"{url}/health/live").status_code == 200
        assert web.post(f"{url}/count/run", json={"number": 7}).json() == {"result": 7}
        assert server.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "Stopping at once" in server.output


async def test_a_call_that_comes_too_late_is_told_so_in_its_protocols_words(directory: Path) -> None:
    chat = {"model": "endless", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    deploy = {"name": "new", "files": {"pipeline_wrapper.py": WRAPPER}}
    app = create_app(AppSettings(pipelines_dir=str(directory / "pipelines")))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as web,
    ):
        assert isinstance(app, HayhooksApp)
        assert app.runtime is not None
        app.runtime.close_door()
        answers = [
            await web.post(path, json=body)
            for path, body in (
                ("/count/run", {}),
                ("/deploy_files", deploy),
                ("/undeploy/count", {}),
                ("/v1/chat/completions", chat),
                ("/endless/chat", chat),
                ("/v1/responses", {"model": "endless", "input": "hi"}),
                ("/v1/messages", chat),
            )
        ]
        assert (await web.get("/status")).status_code == 200
    assert [answer.status_code for answer in answers] == [503, 503, 503, 503, 503, 503, 529]
    assert {answer.headers["connection"] for answer in answers} == {"close"}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert {answer.json()["kind"] for answer in answers[:3]} == {"unavailable"}
    assert {answer.json()["error"]["code"] for answer in answers[3:6]} == {"unavailable"}
    assert answers[6].json()["error"]["type"] == "overloaded_error"
