"""Versions come and go under load: callers see one whole version, runs end on the one they began with."""

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hayhooks.client import ServerRefused
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

# Reports the version of each of its modules: imported at the top and inside the run, relative and plain, from a
# folder, from a sibling that imports another one late, and of a file beside it.
WHOLE = """
from pathlib import Path

from hayhooks import BasePipelineWrapper

from . import helper
from .folder.deep import VERSION as DEEP
import plain

VERSION = {version}


class PipelineWrapper(BasePipelineWrapper):
    version = {version}

    def setup(self) -> None:
        self.number = {version}

    def versions(self) -> list[int]:
        import plain_late
        from .late import VERSION as LATE
        from .folder import late_deep

        beside = int((Path(__file__).parent / "beside.txt").read_text())
        return [
            VERSION, self.version, self.number, helper.VERSION, helper.later(), DEEP, plain.VERSION,
            plain_late.VERSION, LATE, late_deep.VERSION, beside,
        ]

    def run_api(self) -> list[int]:
        return self.versions()

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict):
        for version in self.versions():
            yield f"{{version}} "
"""
MODULE = "VERSION = {version}\n"
HELPER = """
VERSION = {version}


def later() -> int:
    from . import latest

    return latest.VERSION
"""

# Every kind of hook, each held at a gate in mid-run.
HELD = """
import asyncio

from hayhooks import BasePipelineWrapper

from . import gates


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.alive = True

    def run_api(self, kind: str):
        return getattr(self, kind)()

    def plain(self):
        gates.arrive("plain-{version}")
        return self.seen()

    def stream(self):
        yield "begun "
        gates.arrive("stream-{version}")
        yield self.seen()

    async def async_stream(self):
        yield "begun "
        await asyncio.to_thread(gates.arrive, "async_stream-{version}")
        yield self.seen()

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict):
        await asyncio.to_thread(gates.arrive, "chat-{version}")
        return self.seen()

    def seen(self):
        from .late import VERSION  # first imported now, when another version may long be live

        assert self.alive
        return f"{{VERSION}} of {version}"

    def teardown(self) -> None:
        self.alive = False
        gates.note("teardown-{version}")
"""
OVERWRITES = int(os.environ.get("HAYHOOKS_REPLACE_OVERWRITES", "20"))
KINDS = ("plain", "stream", "async_stream", "chat")


def whole(version: int) -> dict[str, bytes]:
    paths = ("plain.py", "plain_late.py", "late.py", "latest.py", "folder/deep.py", "folder/late_deep.py")
    files = {path: MODULE.format(version=version) for path in paths}
    files["pipeline_wrapper.py"] = WHOLE.format(version=version)
    files["helper.py"] = HELPER.format(version=version)
    files["beside.txt"] = str(version)
    return {path: text.encode() for path, text in files.items()}


def held(version: str) -> dict[str, bytes]:
    return {
        "pipeline_wrapper.py": HELD.format(version=version).encode(),
        "late.py": f'VERSION = "{version}"\n'.encode(),
        "gates.py": GATES_MODULE.encode(),
    }


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("replace") / "pipelines", env={"GATES_URL": gates.url}) as server:
        yield server


@pytest.fixture(scope="module")
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def call(server: RunningServer, name: str, kind: str) -> str:
    """The text that a run of *kind* answers with."""
    with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
        if kind == "chat":
            answer = client.post(f"/{name}/chat", json={"messages": [{"role": "user", "content": "hi"}]})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["choices"][0]["message"]["content"])
        answer = client.post(f"/{name}/run", json={"kind": kind})
        assert answer.status_code == 200, answer.text
        return answer.text if "stream" in kind else str(answer.json()["result"])


def expected(kind: str, version: str) -> str:
    return ("begun " if "stream" in kind else "") + f"{version} of {version}"


async def test_calls_while_a_deployment_is_overwritten_again_and_again_all_see_one_whole_version(
    server: RunningServer,
) -> None:
    overwrites, calls, clients = OVERWRITES, 50 * OVERWRITES, 12
    await asyncio.to_thread(server.client.deploy_files, "whole", whole(0))
    is_replaced = asyncio.Event()
    seen: set[int] = set()
    answered = 0

    async def keep_calling(client: httpx.AsyncClient, is_chat: bool) -> None:
        nonlocal answered
        last = 0
        while answered < calls or not is_replaced.is_set():
            if is_chat:
                answer = await client.post("/whole/chat", json={"messages": [{"role": "user", "content": "?"}]})
                assert answer.status_code == 200, answer.text
                versions = [int(word) for word in answer.json()["choices"][0]["message"]["content"].split()]
            else:
                answer = await client.post("/whole/run", json={})
                assert answer.status_code == 200, answer.text
                versions = answer.json()["result"]
            assert len(versions) == 11
            assert len(set(versions)) == 1, f"mixed: {versions}"
            assert versions[0] >= last, "an older version answered after a newer one"
            last = versions[0]
            seen.add(last)
            answered += 1

    async def keep_replacing() -> None:
        for version in range(1, overwrites + 1):
            await asyncio.to_thread(server.client.deploy_files, "whole", whole(version), overwrite=True)
        is_replaced.set()

    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_S) as client, asyncio.TaskGroup() as group:
        group.create_task(keep_replacing())
        for number in range(clients):
            group.create_task(keep_calling(client, is_chat=number % 4 == 0))

    assert answered >= calls
    assert {0, overwrites} < seen
    assert server.client.run("whole").result == [overwrites] * 11
    server.client.undeploy("whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_on_the_version_it_began_with_and_then_that_version_is_torn_down_once(
    server: RunningServer, gates: Gates, callers: ThreadPoolExecutor, kind: str
) -> None:
    name, old, new = f"held-{kind}", f"old-{kind}", f"new-{kind}"
    server.client.deploy_files(name, held(old))
    runs = [callers.submit(call, server, name, kind) for _ in range(3)]
    gates.wait(f"{kind}-{old}", 3)

    server.client.deploy_files(name, held(new), overwrite=True)
    gates.open(f"{kind}-{new}")
    assert call(server, name, kind) == expected(kind, new)
    assert gates.count(f"teardown-{old}") == 0

    gates.open(f"{kind}-{old}")
    assert [run.result(WAIT_S) for run in runs] == [expected(kind, old)] * 3
    gates.wait(f"teardown-{old}")
    server.client.undeploy(name)
    gates.wait(f"teardown-{new}")
    assert (gates.count(f"teardown-{old}"), gates.count(f"teardown-{new}")) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_undeploying_lets_runs_end_and_then_tears_down_once(
    server: RunningServer, gates: Gates, callers: ThreadPoolExecutor, kind: str
) -> None:
    name, version = f"gone-{kind}", f"gone-{kind}"
    server.client.deploy_files(name, held(version))
    run = callers.submit(call, server, name, kind)
    gates.wait(f"{kind}-{version}")

    server.client.undeploy(name)
    with pytest.raises(ServerRefused) as refused:
        server.client.run(name, {"kind": kind})
    assert refused.value.status == 404
    assert gates.count(f"teardown-{version}") == 0

    gates.open(f"{kind}-{version}")
    assert run.result(WAIT_S) == expected(kind, version)
    gates.wait(f"teardown-{version}")
    assert gates.count(f"teardown-{version}") == 1


def test_a_name_that_is_undeployed_can_be_deployed_anew_while_an_old_run_goes_on(
    server: RunningServer, gates: Gates, callers: ThreadPoolExecutor
) -> None:
    server.client.deploy_files("again", held("again-1"))
    run = callers.submit(call, server, "again", "plain")
    gates.wait("plain-again-1")
    server.client.undeploy("again")
    server.client.deploy_files("again", held("again-2"))
    gates.open("plain-again-2")
    assert call(server, "again", "plain") == expected("plain", "again-2")
    gates.open("plain-again-1")
    assert run.result(WAIT_S) == expected("plain", "again-1")
    gates.wait("teardown-again-1")
    assert gates.count("teardown-again-2") == 0


def test_the_same_files_deployed_again_are_a_new_deployment_and_the_old_one_is_torn_down(
    server: RunningServer, gates: Gates, callers: ThreadPoolExecutor
) -> None:
    server.client.deploy_files("same", held("same"))
    run = callers.submit(call, server, "same", "stream")
    gates.wait("stream-same")
    server.client.deploy_files("same", held("same"), overwrite=True)
    gates.open("stream-same")
    assert run.result(WAIT_S) == expected("stream", "same")
    gates.wait("teardown-same")
    assert call(server, "same", "stream") == expected("stream", "same")
    server.client.undeploy("same")
    gates.wait("teardown-same", 2)
    assert gates.count("teardown-same") == 2


def test_a_deploy_that_fails_leaves_the_live_version_and_its_runs_alone(
    server: RunningServer, gates: Gates, callers: ThreadPoolExecutor
) -> None:
    server.client.deploy_files("firm", held("firm"))
    run = callers.submit(call, server, "firm", "async_stream")
    gates.wait("async_stream-firm")
    broken = held("broken")
    broken["pipeline_wrapper.py"] = broken["pipeline_wrapper.py"].replace(
        b"self.alive = True", b"raise ValueError('no')"
    )
    with pytest.raises(ServerRefused, match="no"):
        server.client.deploy_files("firm", broken, overwrite=True)
    gates.open("async_stream-firm")
    assert run.result(WAIT_S) == expected("async_stream", "firm")
    assert call(server, "firm", "async_stream") == expected("async_stream", "firm")
    assert (gates.count("teardown-firm"), gates.count("teardown-broken")) == (0, 0)


def test_a_teardown_that_fails_is_logged_and_harms_nobody(server: RunningServer, gates: Gates) -> None:
    files = held("bad-end")
    files["pipeline_wrapper.py"] += b"        raise RuntimeError('teardown went wrong')\n"
    server.client.deploy_files("bad-end", files)
    server.client.undeploy("bad-end")
    gates.wait("teardown-bad-end")
    server.wait_for_log("teardown went wrong")
    server.client.deploy_files("bad-end", held("good-end"))
    gates.open("plain-good-end")
    assert call(server, "bad-end", "plain") == expected("plain", "good-end")


def test_stopping_the_server_tears_every_deployment_down_once(tmp_path: Path, gates: Gates) -> None:
    with running_server(tmp_path / "pipelines", env={"GATES_URL": gates.url}) as server:
        for number in range(3):
            server.client.deploy_files(f"stop-{number}", held(f"stop-{number}"))
        server.stop()
        assert [gates.count(f"teardown-stop-{number}") for number in range(3)] == [1, 1, 1]


def test_openapi_and_status_name_the_version_that_is_live(server: RunningServer) -> None:
    server.client.deploy_files("listed", whole(1))
    first = _version(server, "listed")
    server.client.deploy_files("listed", whole(2), overwrite=True)
    assert _version(server, "listed") != first
    server.client.undeploy("listed")
    assert "/listed/run" not in server.client.openapi()["paths"]


def _version(server: RunningServer, name: str) -> str:
    assert f"/{name}/run" in server.client.openapi()["paths"]
    rows = httpx.get(f"{server.url}/status").json()["deployments"]
    return next(json.dumps(row["version"]) for row in rows if row["name"] == name)
