"""How the server starts to listen and how it ends, with calls under way and code that will not end."""

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.program import Program, free_port, running

# Each hook says in the log that it runs, so that the test knows when to send the signal.
WRAPPERS = {
    "short": """
    async def run_api_async(self) -> str:
        print("short runs", flush=True)
        await asyncio.sleep(1)
        return "finished"
""",
    "endless": """
    def run_api(self) -> str:
        print("endless runs", flush=True)
        threading.Event().wait()
        return ""
""",
    "pooled": """
    async def run_api_async(self) -> str:
        print("pooled runs", flush=True)
        await asyncio.to_thread(threading.Event().wait)
        return ""
""",
    "torn": """
    def run_api(self) -> str:
        return ""

    def teardown(self):
        print("torn down", flush=True)
""",
}


def write(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / "pipelines" / name).mkdir(parents=True)
        source = (
            "import asyncio, threading\nfrom hayhooks import BasePipelineWrapper\n"
            "class PipelineWrapper(BasePipelineWrapper):\n    def setup(self):\n        self.pipeline = None\n"
        )
        (directory / "pipelines" / name / "pipeline_wrapper.py").write_text(source + WRAPPERS[name])
    return directory


@pytest.fixture
def callers() -> Iterator[list[threading.Thread]]:
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join()


def call(url: str, name: str, callers: list[threading.Thread]) -> list[object]:
    """Call a deployment from a thread; its answer, or what went wrong, is in the list when the thread has ended."""
    answers: list[object] = []

    def work() -> None:
        try:
            answers.append(httpx.post(f"{url}/{name}/run", json={}, timeout=60).json())
        except httpx.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=work)
    callers.append(thread)
    thread.start()
    return answers


def address(server: Program) -> str:
    return server.wait_for(r"Listening on (http://\S+)")[1]


def run(directory: Path, *arguments: str, timeout_s: int) -> object:
    environment = {"HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT": str(timeout_s)}
    command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", *arguments)
    return running(directory, *command, env=environment)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_call_finish_and_deployments_are_torn_down(
    tmp_path: Path, sig: signal.Signals, callers: list[threading.Thread]
) -> None:
    with run(write(tmp_path, "short", "torn"), timeout_s=30) as server:  # type: ignore[attr-defined]
        answers = call(address(server), "short", callers)
        server.wait_for("short runs")
        code = server.end(sig)
        callers[0].join()
        assert answers == [{"result": "finished"}]
        assert code in (0, -sig)
        assert "torn down" in server.output
        assert "Traceback" not in server.output


@pytest.mark.parametrize("name", ["endless", "pooled"])
def test_a_call_that_never_ends_is_given_up_after_the_timeout(
    tmp_path: Path, name: str, callers: list[threading.Thread]
) -> None:
    with run(write(tmp_path, name, "torn"), timeout_s=1) as server:  # type: ignore[attr-defined]
        answers = call(address(server), name, callers)
        server.wait_for(f"{name} runs")
        server.end(signal.SIGTERM)  # it ends at all: nothing else ends the hook
        callers[0].join()
        assert "torn down" in server.output
        assert answers == [{"detail": "The server is stopping.", "kind": "unavailable"}]


def test_a_second_interrupt_stops_at_once(tmp_path: Path, callers: list[threading.Thread]) -> None:
    with run(write(tmp_path, "endless"), timeout_s=3600) as server:  # type: ignore[attr-defined]
        url = address(server)
        call(url, "endless", callers)
        server.wait_for("endless runs")
        server.process.send_signal(signal.SIGINT)
        host, port = url.removeprefix("http://").split(":")
        while True:  # the first signal has arrived when nobody listens any more
            try:
                socket.create_connection((host, int(port))).close()
            except ConnectionError:  # refused, or reset in the moment of closing
                break
        assert server.end(signal.SIGINT) == 130
        assert "Stopping at once" in server.output
        assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_told_before_anything_is_deployed(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", port, "--workers", workers)
        with running(write(tmp_path, "torn"), *command) as server:
            assert server.end() == 1
            assert server.output.startswith(f"Error: Cannot listen on 127.0.0.1:{port}: the port is in use.")
            assert "Serving" not in server.output
            assert "Traceback" not in server.output


def test_localhost_means_one_port_for_both_families(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, "-m", "hayhooks", "run", "--port", str(port)) as server:
        server.wait_for(rf"Listening on http://localhost:{port} ")
        families = {family for family, *_ in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        for family in families:
            host = "127.0.0.1" if family == socket.AF_INET else "[::1]"
            assert httpx.get(f"http://{host}:{port}/status").status_code == 200


def test_workers_end_with_the_signal_and_let_a_call_finish(tmp_path: Path, callers: list[threading.Thread]) -> None:
    with run(write(tmp_path, "short", "torn"), "--workers", "2", timeout_s=30) as server:  # type: ignore[attr-defined]
        answers = call(address(server), "short", callers)
        server.wait_for("short runs")
        assert server.end(signal.SIGTERM) == 0
        callers[0].join()
        assert answers == [{"result": "finished"}]
        assert server.output.count("torn down") == 2
        assert "Traceback" not in server.output
