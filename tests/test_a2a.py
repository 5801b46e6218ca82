"""Agents over A2A: what they answer, in every form that the protocol has."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_artifact_text, new_text_message
from a2a.types.a2a_pb2 import AgentCard, Role, SendMessageRequest, TaskState
from google.protobuf.json_format import ParseDict

from hayhooks.testing import RunningServer, running_server
from tests.support.agents import CARD, V1, AgentAt, agent_source, message, results, state, text, write_agents

PLAIN = """
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = None

    def run_api(self):
        return 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("agents") / "pipelines"
    textual = 'a2a_card = {"default_input_modes": ["text/*"]}'
    narrow = "max_concurrent_runs = 1\n    max_queued_runs = 0"
    write_agents(
        directory,
        {
            "obey": CARD,
            "other": "pass",
            "hidden": "skip_a2a = True",
            "textual": textual,
            "narrow": narrow,
            "hasty": "run_timeout_s = 0.2",
        },
    )
    (directory / "plain").mkdir()
    (directory / "plain" / "pipeline_wrapper.py").write_text(PLAIN)
    with running_server(directory, env={"HAYHOOKS_MAX_BODY_BYTES": "3000000"}) as server:
        yield server


@pytest.fixture(scope="module")
def agent(server: RunningServer) -> Iterator[AgentAt]:
    with AgentAt(f"{server.url}/a2a/obey") as agent:
        yield agent


def test_agents_are_what_chats_and_wants_to_be_one(server: RunningServer) -> None:
    listed = httpx.get(f"{server.url}/a2a").json()["agents"]
    assert [agent["name"] for agent in listed] == ["hasty", "narrow", "obey", "other", "textual"]
    assert httpx.get(listed[2]["card"]).json()["name"] == "Obedient"
    for name in ("hidden", "plain", "nobody"):
        assert httpx.get(f"{server.url}/a2a/{name}/.well-known/agent-card.json").status_code == 404
        with AgentAt(f"{server.url}/a2a/{name}") as absent:
            assert absent.post("SendMessage", message("hi")).status_code == 404


def test_a_card_says_what_the_wrapper_says_and_where_the_agent_is(server: RunningServer) -> None:
    url = f"{server.url}/a2a/obey"
    card = httpx.get(f"{url}/.well-known/agent-card.json").json()
    assert {key: card[key] for key in ("name", "description", "version")} == {
        "name": "Obedient", "description": "Obeys.", "version": "2.1.0",
    }  # fmt: skip
    assert card["skills"] == [
        {"id": "obey", "name": "Obey", "description": "Does it", "tags": ["do"], "examples": ["ask"]}
    ]
    assert {tuple(sorted(interface.items())) for interface in card["supportedInterfaces"]} == {
        (("protocolBinding", binding), ("protocolVersion", version), ("url", url))
        for binding in ("JSONRPC", "HTTP+JSON")
        for version in ("1.0", "0.3")
    }
    assert card["capabilities"] == {"streaming": True, "pushNotifications": False, "extendedAgentCard": False}
    assert "securitySchemes" not in card
    read = ParseDict(card, AgentCard(), ignore_unknown_fields=True)
    assert read.provider.organization == "Us"


def test_a_card_needs_nothing_from_the_wrapper(server: RunningServer) -> None:
    card = httpx.get(f"{server.url}/a2a/other/.well-known/agent-card.json").json()
    assert (card["name"], card["description"]) == ("other", "Does what it is told.")
    assert [skill["id"] for skill in card["skills"]] == ["chat"]
    assert len(card["version"]) == 12


def test_a_card_is_asked_for_again_only_when_it_has_changed(server: RunningServer) -> None:
    url = f"{server.url}/a2a/obey/.well-known/agent-card.json"
    first = httpx.get(url)
    assert first.headers["cache-control"] == "public, max-age=60"
    again = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    assert httpx.head(url).headers["etag"] == first.headers["etag"]
    # What a caller names as host goes into the card only as far as it is one.
    forged = httpx.get(url, headers={"host": 'evil.example/"><script>'})
    assert "evil" not in forged.text


def test_a_message_becomes_a_task_with_one_artifact(agent: AgentAt) -> None:
    task = agent.send("hello there")
    assert state(task) == "completed"
    assert text(task) == "You said: hello there"
    assert [said["parts"][0]["text"] for said in task["history"]] == ["hello there"]
    assert agent.task(task["id"]) == task
    assert agent.task(task["id"])["status"]["timestamp"].endswith("Z")


def test_a_stream_begins_with_the_task_and_ends_with_its_last_state(agent: AgentAt) -> None:
    with agent.stream("SendStreamingMessage", message("words one two three")) as stream:
        first, *middle, last = stream
    assert state(first["task"]) == "working"
    assert state(last["statusUpdate"]) == "completed"
    updates = [event["artifactUpdate"] for event in middle]
    assert "".join(part["text"] for update in updates for part in update["artifact"]["parts"]) == "one two three "
    assert [update.get("append", False) for update in updates] == [False, *[True] * (len(updates) - 1)]
    # In the task the pieces are one text.
    assert text(agent.task(first["task"]["id"])) == "one two three "


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_librarys_client_discovers_and_calls_an_agent(server: RunningServer, binding: str) -> None:
    request = SendMessageRequest(message=new_text_message("words a b", role=Role.ROLE_USER))
    async with httpx.AsyncClient(timeout=60) as web:  # the first call may have to wait for the library's import
        config = ClientConfig(supported_protocol_bindings=[binding], httpx_client=web)
        client = await create_client(f"{server.url}/a2a/obey", config)
        events = [event async for event in client.send_message(request)]
        assert [event.WhichOneof("payload") for event in (events[0], events[-1])] == ["task", "status_update"]
        assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        config = ClientConfig(supported_protocol_bindings=[binding], streaming=False, httpx_client=web)
        client = await create_client(f"{server.url}/a2a/obey", config)
        (only,) = [event async for event in client.send_message(request)]
        assert get_artifact_text(only.task.artifacts[0]) == "a b "


def test_http_and_json_are_a_binding_of_their_own(server: RunningServer) -> None:
    url = f"{server.url}/a2a/obey"
    with httpx.Client(headers={**V1, "content-type": "application/a2a+json"}, timeout=60) as web:
        answer = web.post(f"{url}/message:send", json=message("hello"))
        assert answer.headers["content-type"] == "application/a2a+json"
        task = answer.json()["task"]
        assert text(task) == "You said: hello"
        assert web.get(f"{url}/tasks/{task['id']}").json() == task
        listed = web.get(f"{url}/tasks", params={"contextId": task["contextId"], "includeArtifacts": "true"}).json()
        assert [found["id"] for found in listed["tasks"]] == [task["id"]]
        with web.stream("POST", f"{url}/message:stream", json=message("words x y")) as stream:
            assert next(next(iter(event)) for event in results(stream)) == "task"
        cancel = web.post(f"{url}/tasks/{task['id']}:cancel", json={})
        assert (cancel.status_code, cancel.json()["error"]["status"]) == (400, "FAILED_PRECONDITION")
        missing = web.get(f"{url}/tasks/none")
        assert missing.status_code == 404
        assert missing.json()["error"]["details"][0]["reason"] == "TASK_NOT_FOUND"
        assert web.get(f"{url}/nothing").json()["error"]["code"] == 404
        wrong = web.get(f"{url}/message:send")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_a_context_is_a_conversation(agent: AgentAt) -> None:
    first = agent.send("one")
    failed = agent.send("fail", contextId=first["contextId"])
    assert state(failed) == "failed"
    told = json.loads(text(agent.send("messages", contextId=first["contextId"])))
    assert told == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "You said: one"},
        {"role": "user", "content": "messages"},
    ]
    assert json.loads(text(agent.send("messages"))) == [{"role": "user", "content": "messages"}]
    session, via, caller = json.loads(text(agent.send("session", contextId="of-the-clients-own")))
    assert (session, via, caller) == ("of-the-clients-own", "a2a", "anonymous")


def test_a_task_may_need_input_and_goes_on_with_it(agent: AgentAt) -> None:
    asked = agent.send("ask")
    assert state(asked) == "input_required"
    assert asked["status"]["message"]["parts"] == [{"text": "Which city?"}]
    assert "artifacts" not in asked
    answered = agent.send("Paris", taskId=asked["id"])
    assert answered["id"] == asked["id"]
    assert answered["contextId"] == asked["contextId"]
    assert {said["contextId"] for said in answered["history"]} == {asked["contextId"]}
    assert (state(answered), text(answered)) == ("completed", "Off to Paris")
    assert [said["parts"][0]["text"] for said in answered["history"]] == ["ask", "Which city?", "Paris"]
    again = agent.send("ask")
    told = agent.send("messages", taskId=again["id"])
    assert [said["content"] for said in json.loads(text(told))] == ["ask", "Which city?", "messages"]
    canceled = agent.call("CancelTask", {"id": agent.send("ask")["id"]})
    assert state(canceled) == "canceled"


def test_a_task_may_wait_for_an_authorization(agent: AgentAt) -> None:
    waiting = agent.send("login")
    assert state(waiting) == "auth_required"
    assert waiting["status"]["message"]["parts"] == [{"text": "Log in at https://login.example"}]
    assert "artifacts" not in waiting
    done = agent.send("Paris", taskId=waiting["id"])
    assert (done["id"], state(done), text(done)) == (waiting["id"], "completed", "Off to Paris")


def test_other_protocols_get_the_question_as_an_answer(server: RunningServer) -> None:
    body = {"model": "obey", "messages": [{"role": "user", "content": "ask"}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30).json()
    assert answer["choices"][0]["message"]["content"] == "Which city?"


def test_data_and_files_reach_the_hook(agent: AgentAt) -> None:
    pdf = {"raw": base64.b64encode(b"%PDF-").decode(), "filename": "a.pdf", "mediaType": "application/pdf"}
    assert text(agent.send("file", pdf)) == "a.pdf application/pdf 5"
    png = {"raw": base64.b64encode(b"\x89PNG").decode(), "mediaType": "image/png"}
    wav = {"raw": base64.b64encode(b"RIFF").decode(), "mediaType": "audio/wav"}
    address = {"url": "https://files.example/a.pdf", "filename": "a.pdf"}
    (said,) = json.loads(text(agent.send("messages", png, wav, address, {"data": {"n": 1}})))
    assert said["content"] == [
        {"type": "text", "text": "messages"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_url": "https://files.example/a.pdf"}},
        {"type": "text", "text": '{"n": 1}'},
    ]
    task = agent.send("body", {"data": {"n": 1, "of": [2.5, None]}}, metadata={"trace": "x"}, messageId="mine")
    body = json.loads(text(task))
    assert body["data"] == [{"n": 1, "of": [2.5, None]}]
    assert body["metadata"] == {"trace": "x"}
    assert body["a2a"] == {
        "task_id": task["id"], "context_id": task["contextId"], "message_id": "mine", "reference_task_ids": [],
    }  # fmt: skip


def test_files_data_and_events_come_back(agent: AgentAt) -> None:
    task = agent.send("give")
    (artifact,) = task["artifacts"]
    assert artifact["parts"] == [
        {"raw": "iVBORw==", "filename": "plot.png", "mediaType": "image/png"},
        {"text": "Here it is"},
        {"data": {"points": [1.0, 2.5]}, "mediaType": "application/json"},
    ]
    assert [said["parts"][0]["text"] for said in task["history"]] == ["give", "Drawing"]
    assert task["metadata"]["event"]["type"] == "notification"
    (part,) = agent.send("tool")["artifacts"][0]["parts"]
    assert part["data"] == {"tool_calls": [{"id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'}]}
    assert agent.send("usage")["metadata"]["usage"]["total_tokens"] == 3
    # What was only for whoever watched is not said again in the conversation.
    told = json.loads(text(agent.send("messages", contextId=task["contextId"])))
    assert [said["content"] for said in told] == ["give", 'Here it is\n{"points": [1, 2.5]}', "messages"]


def test_parts_that_an_agent_does_not_take_are_refused(server: RunningServer, agent: AgentAt) -> None:
    strange = {"raw": "eA==", "mediaType": "application/x-strange"}
    refused = agent.error("SendMessage", message("hi", strange))
    assert refused["code"] == -32005
    assert "'application/x-strange' is not supported. The agent takes text/plain," in refused["message"]
    assert agent.error("SendMessage", message({"raw": "eA==", "filename": "a.zip"}))["code"] == -32005
    with AgentAt(f"{server.url}/a2a/textual") as textual:
        assert state(textual.send({"text": "hi", "mediaType": "text/x-anything"})) == "completed"
        assert textual.error("SendMessage", message({"raw": "eA==", "mediaType": "image/png"}))["code"] == -32005
    answer = httpx.post(f"{agent.url}/message:send", json=message("hi", strange), headers=V1, timeout=60)
    assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (400, "CONTENT_TYPE_NOT_SUPPORTED")


def test_a_run_that_fails_says_so_and_nothing_else(server: RunningServer, agent: AgentAt) -> None:
    failed = agent.send("fail")
    assert state(failed) == "failed"
    assert failed["status"]["message"]["parts"][0]["text"] == "The run of 'obey' failed. The server's log says why."
    assert "artifacts" not in failed
    broken = agent.send("break")
    assert (state(broken), text(broken)) == ("failed", "half ")
    refused = agent.send("refuse")
    assert state(refused) == "rejected"
    assert refused["status"]["message"]["parts"][0]["text"] == "Not for you."
    assert "secret" not in json.dumps([failed, broken, refused])
    server.wait_for_log("secret of the house")


def test_limits_are_those_of_every_run(server: RunningServer) -> None:
    with AgentAt(f"{server.url}/a2a/hasty") as hasty:
        late = hasty.send("endless")
        assert (state(late), late["status"]["message"]["parts"][0]["text"]) == (
            "failed", "The run of 'hasty' took longer than 0.2 s and was stopped.",
        )  # fmt: skip
        assert late["metadata"]["error"]["kind"] == "timeout"
    with AgentAt(f"{server.url}/a2a/narrow") as narrow:
        busy = narrow.send("endless", configuration={"returnImmediately": True})
        refused = narrow.post("SendMessage", message("hello", contextId="refused"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["data"][0]["reason"] == "BUSY"
        streamed = narrow.post("SendStreamingMessage", message("hello", contextId="refused"))
        assert (streamed.status_code, streamed.json()["error"]["code"]) == (429, -32000)
        older = {"kind": "message", "role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hello"}]}
        body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"message": older}}
        streamed = httpx.post(narrow.url, json=body, timeout=60)
        assert (streamed.status_code, streamed.json()["error"]["code"]) == (429, -32000)
        body = {"message": {"role": "ROLE_USER", "messageId": "m", "content": [{"text": "hello"}]}}
        streamed = httpx.post(f"{narrow.url}/v1/message:stream", json=body, timeout=60)
        assert (streamed.status_code, streamed.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        answer = httpx.post(f"{narrow.url}/message:send", json=message("hello"), headers=V1, timeout=60)
        assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        assert narrow.call("ListTasks", {"contextId": "refused"})["tasks"] == []  # what did not begin leaves nothing
        narrow.call("CancelTask", {"id": busy["id"]})
        assert state(narrow.send("hello")) == "completed"


def test_the_library_is_imported_when_somebody_needs_it() -> None:
    """It takes longer than all the rest of a start."""
    look = "import sys, hayhooks.server.main_doors; print('a2a' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]


def test_canceling_stops_the_run(agent: AgentAt, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with agent.stream("SendStreamingMessage", message(f"endless {note}")) as stream:
        task_id = next(stream)["task"]["id"]
        next(stream)
        canceled = agent.call("CancelTask", {"id": task_id})
        rest = list(stream)
    assert state(canceled) == "canceled"
    assert state(rest[-1]["statusUpdate"]) == "canceled"
    assert note.read_text() == "stopped"
    assert agent.error("CancelTask", {"id": task_id})["code"] == -32002
    assert state(agent.task(task_id)) == "canceled"


def test_a_task_goes_on_without_its_caller_and_can_be_attached_to(agent: AgentAt) -> None:
    task = agent.send("endless", configuration={"returnImmediately": True})
    assert state(task) in ("submitted", "working")
    assert agent.error("SendMessage", message("more", taskId=task["id"]))["code"] == -32004  # it has not asked
    with agent.stream("SubscribeToTask", {"id": task["id"]}) as one:
        assert state(next(one)["task"]) == "working"
        with agent.stream("SubscribeToTask", {"id": task["id"]}) as two:
            next(two)
            next(two)  # both see what comes
        next(one)  # one that leaves takes nothing from the other
        agent.call("CancelTask", {"id": task["id"]})
        assert state(list(one)[-1]["statusUpdate"]) == "canceled"
    ended = agent.error("SubscribeToTask", {"id": task["id"]})
    assert ended["code"] == -32004


def test_tasks_are_listed_newest_first_page_by_page(agent: AgentAt) -> None:
    context = agent.send("one")["contextId"]
    ids = [agent.send(word, contextId=context)["id"] for word in ("two", "three")]
    first = agent.call("ListTasks", {"contextId": context, "pageSize": 2})
    assert [task["id"] for task in first["tasks"]] == ids[::-1]
    assert "artifacts" not in first["tasks"][0]
    rest = agent.call("ListTasks", {"contextId": context, "pageSize": 2, "pageToken": first["nextPageToken"]})
    assert (len(rest["tasks"]), rest["nextPageToken"], rest["totalSize"]) == (1, "", 3)
    found = agent.call("ListTasks", {"contextId": context, "status": "TASK_STATE_FAILED"})
    assert found["tasks"] == []


def test_an_agent_does_not_know_the_tasks_of_another(server: RunningServer, agent: AgentAt) -> None:
    task = agent.send("mine")
    with AgentAt(f"{server.url}/a2a/other") as other:
        assert other.error("GetTask", {"id": task["id"]})["code"] == -32001
        assert other.error("CancelTask", {"id": task["id"]})["code"] == -32001
        assert other.error("SendMessage", message("more", taskId=task["id"]))["code"] == -32001
        assert other.call("ListTasks", {"contextId": task["contextId"]})["tasks"] == []


def test_the_next_message_meets_what_was_deployed_between(server: RunningServer) -> None:
    def deploy(version: str) -> None:
        files = {"pipeline_wrapper.py": agent_source(CARD.replace("2.1.0", version), version).encode()}
        server.client.deploy_files("changing", files, overwrite=True)

    deploy("1")
    with AgentAt(f"{server.url}/a2a/changing") as changing:
        url = f"{changing.url}/.well-known/agent-card.json"
        first = httpx.get(url)
        task = changing.send("version")
        deploy("2")
        again = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
        assert (first.json()["version"], again.json()["version"]) == ("1", "2")
        assert (text(task), text(changing.send("version"))) == ("1", "2")
        assert changing.task(task["id"]) == task
    server.client.undeploy("changing")
    assert httpx.get(url).status_code == 404


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("['skills']", "must be a dict or None, not list"),
        ("{'name': 7}", "a2a_card: name: "),
        ("{'skills': [{'description': 'no name'}]}", "skills.0.id: "),
        ("{'skills': [{'id': 'x', 'tags': 'one'}]}", "skills.0.tags: "),
        ("{'provider': {'organization': 'Us'}}", "provider.url: "),
    ],
)
def test_a_card_that_is_wrong_is_not_deployed(server: RunningServer, card: str, said: str) -> None:
    files = {"pipeline_wrapper.py": agent_source(f"a2a_card = {card}")}
    answer = httpx.post(f"{server.url}/deploy_files", json={"name": "wrong", "files": files}, timeout=30)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


HOSTILE: list[tuple[Any, int]] = [
    (b"{", -32700),
    (b"[]", -32600),
    (b"7", -32600),
    ({"jsonrpc": "1.0", "id": 1, "method": "GetTask", "params": {}}, -32600),
    ({"jsonrpc": "2.0", "id": True, "method": "GetTask", "params": {}}, -32600),
    ({"jsonrpc": "2.0", "id": 1, "params": {}}, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "NoSuch", "params": {}}, -32601),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": ["x"]}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": "words"}, -32602),
    ({"jsonrpc": "2.0", "method": "GetTask", "params": 7}, -32602),
    ({"jsonrpc": "1.0", "id": 1, "method": "GetTask", "params": "words"}, -32600),
    ({"jsonrpc": "2.0", "id": {}, "method": "GetTask", "params": "words"}, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "none"}}, -32001),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x", "historyLength": -1}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {"pageSize": 5000}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {"pageToken": "%%%"}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"role": "ROLE_USER"}}}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message()}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message({"metadata": {}})}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("x", role="ROLE_GOD")}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("x", taskId="none")}, -32001),
    ({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("x", contextId="c" * 300)}, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": "none"}}, -32001),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetExtendedAgentCard", "params": {}}, -32004),
    ({"jsonrpc": "2.0", "id": 1, "method": "ListTaskPushNotificationConfigs", "params": {"taskId": "x"}}, -32003),
    (
        {
            "jsonrpc": "2.0", "id": 1, "method": "SendMessage",
            "params": message("x", configuration={"taskPushNotificationConfig": {"url": "http://127.0.0.1/"}}),
        },
        -32003,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), HOSTILE)
def test_what_is_wrong_is_answered_with_the_protocols_code(agent: AgentAt, body: Any, code: int) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = agent.web.post(agent.url, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == code, answer.text
    assert "Traceback" not in answer.text
    assert "site-packages" not in answer.text


def test_a_task_that_has_ended_takes_no_message_and_only_those_of_its_context(agent: AgentAt) -> None:
    task = agent.send("done")
    assert agent.error("SendMessage", message("more", taskId=task["id"]))["code"] == -32004
    asked = agent.send("ask")
    assert agent.error("SendMessage", message("x", taskId=asked["id"], contextId="another"))["code"] == -32602


def test_too_much_is_refused_before_it_is_read(agent: AgentAt) -> None:
    answer = agent.post("SendMessage", message("x" * 3_000_001))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == -32000
    plain = {"content-type": "text/plain"}
    kind = agent.web.post(agent.url, content=b"{}", headers=plain)
    assert (kind.status_code, kind.json()["error"]["code"]) == (200, -32005)
    kind = agent.web.post(f"{agent.url}/message:send", content=b"{}", headers=plain)
    assert (kind.status_code, kind.json()["error"]["details"][0]["reason"]) == (400, "CONTENT_TYPE_NOT_SUPPORTED")
    deep = b"[" * 100_000 + b"]" * 100_000
    assert agent.web.post(agent.url, content=deep, headers={"content-type": "application/json"}).json()["error"]
    long = "ä" * 1_000_000
    assert text(agent.send(long)) == f"You said: {long}"


def test_versions_are_kept_apart(agent: AgentAt) -> None:
    assert agent.error("SendMessage", message("x"), headers={"A2A-Version": "9.0"})["code"] == -32009
    assert agent.error("SendMessage", message("x"), headers={"A2A-Version": ""})["code"] == -32009
    assert agent.call("SendMessage", message("x"), headers={"A2A-Version": "1.0.3"})["task"]


def test_pages_of_other_origins_do_not_read_tasks(agent: AgentAt) -> None:
    origin = {"origin": "https://evil.example"}
    assert agent.post("SendMessage", message("x"), headers=origin).status_code == 200
    task = agent.send("x")
    for method, params in (("GetTask", {"id": task["id"]}), ("ListTasks", {})):
        answer = agent.post(method, params, headers=origin)
        assert answer.status_code == 403
        assert answer.json()["error"]["data"][0]["reason"] == "FORBIDDEN"
    assert agent.web.get(f"{agent.url}/tasks", headers=origin).status_code == 403
    assert agent.post("ListTasks", {}, headers={"host": "rebound.example"}).status_code == 421


class TestOlderClients:
    """A2A 0.3: other names, and kinds in place of wrappers."""

    def call(self, agent: AgentAt, method: str, params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        answer = httpx.post(agent.url, json=body, timeout=60).json()
        return answer.get("result", answer)

    def said(self, words: str, **more: Any) -> dict[str, Any]:
        parts = [{"kind": "text", "text": words}]
        return {"message": {"kind": "message", "role": "user", "messageId": "m", "parts": parts, **more}}

    def test_messages_and_tasks(self, agent: AgentAt) -> None:
        task = self.call(agent, "message/send", self.said("hello"))
        assert (task["kind"], task["status"]["state"]) == ("task", "completed")
        assert task["artifacts"][0]["parts"] == [{"kind": "text", "text": "You said: hello"}]
        assert self.call(agent, "tasks/get", {"id": task["id"]}) == task
        assert self.call(agent, "tasks/cancel", {"id": task["id"]})["error"]["code"] == -32002
        assert self.call(agent, "tasks/get", {"id": "none"})["error"]["code"] == -32001
        # The same task for clients of either version.
        assert agent.task(task["id"])["id"] == task["id"]

    def test_streams(self, agent: AgentAt) -> None:
        body = {"jsonrpc": "2.0", "id": "a", "method": "message/stream", "params": self.said("words a b")}
        with httpx.stream("POST", agent.url, json=body, timeout=60) as answer:
            events = list(results(answer))
        assert [event["kind"] for event in (events[0], events[-1])] == ["task", "status-update"]
        assert events[-1]["final"] is True

    def test_http_and_json(self, agent: AgentAt) -> None:
        body = {"message": {"role": "ROLE_USER", "messageId": "m", "content": [{"text": "hello"}]}}
        answer = httpx.post(f"{agent.url}/v1/message:send", json=body, timeout=60)
        assert answer.json()["task"]["status"]["state"] == "TASK_STATE_COMPLETED", answer.text
        with httpx.stream("POST", f"{agent.url}/v1/message:stream", json=body, timeout=60) as stream:
            events = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line]
        assert "task" in events[0]
        assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "message:send", {"message": {}}, 400),
            ("POST", "message:stream", {"message": {}}, 400),
            ("POST", "message:stream", {"message": {"role": "ROLE_USER"}}, 400),
            ("POST", "message:send", {"message": {"messageId": "m", "content": [{"text": "hello"}]}}, 400),
            ("POST", "message:send", {"message": {"messageId": "m", "content": [{"text": "x"}], "role": "user"}}, 400),
            ("POST", "message:stream", {"message": {"messageId": "m", "content": [{"text": "hello"}]}}, 400),
            ("POST", "message:send", {"message": {"role": "ROLE_USER", "messageId": "m", "content": [{}]}}, 400),
            ("POST", "message:stream", {"message": {"role": "ROLE_USER", "messageId": "m", "content": [{}]}}, 400),
            ("POST", "message:send", {"message": "words"}, 400),
            ("POST", "message:stream", ["words"], 400),
            ("GET", "tasks/none", None, 404),
            ("GET", "tasks/none?historyLength=-1", None, 400),
            ("GET", "tasks/none?historyLength=few", None, 400),
            ("GET", "tasks/none?historyLength=99999999999", None, 400),
            ("GET", "tasks/none:subscribe", None, 404),
            ("DELETE", "tasks/none/pushNotificationConfigs/x", None, 400),
        ],
    )
    def test_what_is_wrong_has_a_status(self, agent: AgentAt, method: str, path: str, body: Any, status: int) -> None:
        answer = httpx.request(method, f"{agent.url}/v1/{path}", json=body, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, status), answer.text

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("message/send", {"message": {"parts": "none"}}),
            ("message/send", {}),
            ("message/send", []),
            ("message/stream", {"invalid": "params"}),
            ("message/send", {"configuration": {"historyLength": -1}}),
            ("message/stream", {"configuration": {"historyLength": 2**40}}),
            ("tasks/get", {"id": 7}),
            ("tasks/get", {"id": "none", "historyLength": 2**40}),
            ("tasks/cancel", {}),
        ],
    )
    def test_wrong_parameters_are_told_from_wrong_requests(self, agent: AgentAt, method: str, params: Any) -> None:
        if isinstance(params, dict) and "configuration" in params:
            params = self.said("hello") | params
        error = self.call(agent, method, params)["error"]
        assert error["code"] == -32602, error
        assert "pydantic" not in json.dumps(error)

    def test_an_agent_asks_for_input(self, agent: AgentAt) -> None:
        asked = self.call(agent, "message/send", self.said("ask"))
        assert asked["status"]["state"] == "input-required"
        done = self.call(agent, "message/send", self.said("Paris", taskId=asked["id"]))
        assert done["status"]["state"] == "completed"


async def test_many_at_once_each_get_their_own(agent: AgentAt) -> None:
    async with httpx.AsyncClient(headers=V1, timeout=60) as web:

        async def one(number: int) -> str:
            body = {"jsonrpc": "2.0", "id": number, "method": "SendMessage", "params": message(f"number {number}")}
            answer = (await web.post(agent.url, json=body)).json()
            assert answer["id"] == number
            return text(answer["result"]["task"])

        found = await asyncio.gather(*(one(number) for number in range(20)))
    assert found == [f"You said: number {number}" for number in range(20)]
