"""Tasks of agents and the processes that run them: restarts, kills, workers, limits, and a port of their own."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types.a2a_pb2 import AgentCard, Artifact, Part, Role, SendMessageRequest, Task, TaskArtifactUpdateEvent
from google.protobuf.json_format import ParseDict

from hayhooks.surfaces.a2a.following import changes
from hayhooks.testing import running_server
from tests.support.agents import CARD, V1, AgentAt, message, state, text, write_agents
from tests.support.worker_pool import worker_pool

pytestmark = pytest.mark.timeout(600)  # servers start, are killed and start again

T = TypeVar("T")
NOW = {"returnImmediately": True}


def until(look: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """What *look* sees once it is right; each look is a call of the server."""
    for _ in range(2_000):
        seen = look()
        if is_right(seen):
            break
    assert is_right(seen), seen
    return seen


def test_after_a_kill_what_was_finished_is_there_and_what_was_not_has_failed(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": "pass"})
    with ExitStack() as stack, running_server(tmp_path / "pipelines") as server:
        agent = stack.enter_context(AgentAt(f"{server.url}/a2a/obey"))
        finished, asked = agent.send("hello"), agent.send("ask")
        running = agent.send("endless", configuration=NOW)
        until(lambda: agent.task(running["id"]), lambda task: "artifacts" in task)
        server.stop(signal.SIGKILL)
    env = {"HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT": "0"}
    with ExitStack() as stack, running_server(tmp_path / "pipelines", env=env) as server:
        agent = stack.enter_context(AgentAt(f"{server.url}/a2a/obey"))
        assert agent.task(finished["id"]) == finished
        failed = agent.task(running["id"])
        assert state(failed) == "failed"
        assert failed["status"]["message"]["parts"][0]["text"] == "The server stopped before the task was complete."
        assert [state(task) for task in agent.call("ListTasks", {"contextId": running["contextId"]})["tasks"]] == [
            "failed"
        ]
        assert state(agent.send("Paris", taskId=asked["id"])) == "completed"  # a question outlives the process
        # A server that is told to stop ends what nobody waits for, and says so.
        stopped = agent.send("endless", configuration=NOW)
        until(lambda: agent.task(stopped["id"]), lambda task: "artifacts" in task)
        with agent.stream("SubscribeToTask", {"id": stopped["id"]}) as stream:
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            assert state(list(stream)[-1]["statusUpdate"]) == "failed"
        assert server.process.wait(60) == 0
    env = {"HAYHOOKS_A2A_TASKS_MAX_COUNT": "2"}
    with ExitStack() as stack, running_server(tmp_path / "pipelines", env=env) as server:
        agent = stack.enter_context(AgentAt(f"{server.url}/a2a/obey"))
        assert state(agent.task(stopped["id"])) == "failed"
        agent.send("one")  # and two is all that may be kept
        assert agent.error("GetTask", {"id": finished["id"]})["code"] == -32001
        assert agent.error("GetTask", {"id": running["id"]})["code"] == -32001


def test_a_damaged_database_is_told_and_the_rest_works(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": "pass"})
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "a2a.db").write_bytes(b"no database " * 1000)
    env = {
        "HAYHOOKS_STATE_DIR": str(tmp_path / "state"),
        "HAYHOOKS_A2A_EXTERNAL_URL": "https://agents.example/below/",
    }
    with ExitStack() as stack, running_server(tmp_path / "pipelines", env=env) as server:
        agent = stack.enter_context(AgentAt(f"{server.url}/a2a/obey"))
        card = httpx.get(f"{agent.url}/.well-known/agent-card.json").json()
        assert card["url"] == "https://agents.example/below/a2a/obey"
        for _ in range(2):
            answer = agent.post("SendMessage", message("hello"))
            assert answer.status_code == 500
            assert "database" not in answer.text
        server.wait_for_log("a2a.db")
        body = {"model": "obey", "messages": [{"role": "user", "content": "hello"}]}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).status_code == 200


def test_what_one_worker_runs_another_knows_streams_and_stops(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": "pass"})
    with ExitStack() as stack, worker_pool(tmp_path) as pool:
        # Connections of their own, so that both workers get some.
        agent = stack.enter_context(AgentAt(f"{pool.url}/a2a/obey", {"connection": "close"}))
        task = agent.send("hello")
        assert all(agent.task(task["id"]) == task for _ in range(8))
        context = task["contextId"]
        told = [json.loads(text(agent.send("messages", contextId=context)))[:2] for _ in range(6)]
        assert told == [told[0]] * 6
        note = tmp_path / "note"
        for _ in range(4):  # with both workers as the one that runs it, or the one that is asked
            running = agent.send(f"endless {note}", configuration=NOW)
            until(lambda task_id=running["id"]: agent.task(task_id), lambda task: "artifacts" in task)  # type: ignore[misc]
            with agent.stream("SubscribeToTask", {"id": running["id"]}) as stream:
                assert state(next(stream)["task"]) == "working"
                assert "artifactUpdate" in next(stream)
                assert state(agent.call("CancelTask", {"id": running["id"]})) == "canceled"
                *_, last = stream
            assert state(last.get("statusUpdate") or last["task"]) == "canceled"
            # The run itself is stopped, not only its task.
            until(lambda task_id=running["id"]: (agent.task(task_id), note.exists())[1], bool)  # type: ignore[misc]
            note.unlink()
            asked = agent.send("ask")
            assert state(agent.send("Paris", taskId=asked["id"])) == "completed"
        running = agent.send("endless", configuration=NOW)
        for pid in pool.workers:  # all at once: whoever is asked next is another process
            os.kill(pid, signal.SIGKILL)
        until(lambda: _state_of(agent, running["id"]), lambda seen: seen == "failed")


def _state_of(agent: AgentAt, task_id: str) -> str | None:
    try:
        return state(agent.task(task_id))
    except httpx.TransportError:  # the workers are starting
        return None


DATA = Part(media_type="application/json", raw=b"{}")


@pytest.mark.parametrize(
    ("old", "new", "append", "said"),
    [
        ([], [Part(text="a")], True, [Part(text="a")]),
        ([Part(text="a")], [Part(text="ab")], True, [Part(text="b")]),
        ([Part(text="a")], [Part(text="ab"), DATA], True, [Part(text="b"), DATA]),
        ([Part(text="a"), DATA], [Part(text="a"), DATA, Part(text="c")], True, [Part(text="c")]),
        ([Part(text="a")], [Part(text="other")], False, [Part(text="other")]),
        ([Part(text="a"), DATA], [Part(text="a")], False, [Part(text="a")]),
        ([DATA], [DATA], None, []),
    ],
)
def test_who_follows_from_elsewhere_hears_what_has_changed(
    old: list[Part], new: list[Part], append: bool | None, said: list[Part]
) -> None:
    before, after = (
        Task(id="t", context_id="c", artifacts=[Artifact(artifact_id="r", parts=parts)]) for parts in (old, new)
    )
    events = list(changes(before, after))
    if append is None:
        assert events == []
        return
    (event,) = events
    assert isinstance(event, TaskArtifactUpdateEvent)
    assert (event.append, list(event.artifact.parts)) == (append, said)


def test_agents_have_a_port_of_their_own(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": CARD})
    with running_server(tmp_path / "pipelines", command=("a2a", "run")) as server:
        assert httpx.get(f"{server.url}/status").json() == {"status": "ok", "agents": ["obey"]}
        card = httpx.get(f"{server.url}/obey/.well-known/agent-card.json").json()
        assert card["supportedInterfaces"][0]["url"] == f"{server.url}/obey"
        assert httpx.get(f"{server.url}/.well-known/agent-card.json").json() == card  # there is only one
        for url in (f"{server.url}/obey/", f"{server.url}/obey"):
            with AgentAt(url) as agent:
                assert text(agent.send("hello")) == "You said: hello"
        answer = httpx.post(f"{server.url}/obey/message:send", json=message("hi"), headers=V1, timeout=60)
        assert answer.json()["task"]["artifacts"]
        assert httpx.get(f"{server.url}/nobody/.well-known/agent-card.json").status_code == 404
        assert httpx.post(f"{server.url}/nobody/run", json={}, timeout=60).status_code == 404
        assert asyncio.run(_events(f"{server.url}/obey"))[-1] == "status_update"


def test_a_public_card_is_the_only_one_for_those_without_a_key(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": 'a2a_card = {"name": "Known", "public": True}', "secret": "pass"})
    env = {"HAYHOOKS_REQUIRE_LOGIN": "true", "HAYHOOKS_ADMIN_KEY": "an admin's key of the tests"}
    with running_server(tmp_path / "pipelines", command=("a2a", "run"), env=env) as server:
        assert httpx.get(f"{server.url}/.well-known/agent-card.json").json()["name"] == "Known"
        key = {"authorization": f"Bearer {env['HAYHOOKS_ADMIN_KEY']}"}
        assert httpx.get(f"{server.url}/.well-known/agent-card.json", headers=key).status_code == 404  # it sees two
        assert httpx.get(f"{server.url}/status").status_code == 401


async def _events(url: str) -> list[str | None]:
    """What the library's client hears, which reads the card first."""
    request = SendMessageRequest(message=new_text_message("hello", role=Role.ROLE_USER))
    async with httpx.AsyncClient(timeout=60) as web:
        client = await create_client(url, ClientConfig(httpx_client=web))
        return [event.WhichOneof("payload") async for event in client.send_message(request)]


def test_cards_have_the_root_path_and_one_version_when_asked_for(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": "pass"})
    env = {"HAYHOOKS_ROOT_PATH": "/api", "HAYHOOKS_A2A_V0_3_COMPAT": "false"}
    with running_server(tmp_path / "pipelines", env=env) as server:
        base = server.url.removesuffix("/api")
        card: dict[str, Any] = httpx.get(f"{base}/a2a/obey/.well-known/agent-card.json").json()
        assert {(face["url"], face["protocolVersion"]) for face in card["supportedInterfaces"]} == {
            (f"{base}/api/a2a/obey", "1.0")
        }
        assert ParseDict(card, AgentCard()).name == "obey"  # with no field that the version does not have
        body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {}}
        assert httpx.post(f"{base}/a2a/obey", json=body, timeout=60).json()["error"]["code"] == -32601
        with AgentAt(f"{base}/api/a2a/obey") as agent:
            assert text(agent.send("hello")) == "You said: hello"
