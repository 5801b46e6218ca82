"""Push notifications of agents: they go where the server's owner allows it, and nowhere else."""

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.surfaces.a2a.push import Targets
from hayhooks.testing import running_server
from tests.support.agents import AgentAt, message, state, text, write_agents


class Receiver:
    """A place that notifications are posted to. The first *failures* are not taken."""

    def __init__(self, failures: int = 0) -> None:
        self.got: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = queue.Queue()
        self.failures = failures
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                is_taken = receiver.failures <= 0
                receiver.failures -= 1
                if self.path == "/elsewhere":
                    self.send_response(302)
                    self.send_header("location", "/hook")
                else:
                    self.send_response(204 if is_taken else 503)
                self.end_headers()
                if is_taken:
                    receiver.got.put(
                        ({name.lower(): value for name, value in self.headers.items()}, body | {"path": self.path})
                    )

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def next(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The next notification: headers and body."""
        return self.got.get(timeout=60)

    def until_end(self) -> list[dict[str, Any]]:
        """The notifications up to that of a final state."""
        found: list[dict[str, Any]] = []
        while not (
            found and "statusUpdate" in found[-1] and state(found[-1]["statusUpdate"]) in ("completed", "failed")
        ):
            found.append(self.next()[1])
        return found


@contextmanager
def receiving(failures: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(failures)
    receiver._thread.start()
    try:
        yield receiver
    finally:
        receiver._server.shutdown()
        receiver._thread.join()
        receiver._server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[AgentAt]:
    directory = tmp_path_factory.mktemp("push") / "pipelines"
    write_agents(directory, {"obey": "pass"})
    env = {"HAYHOOKS_A2A_PUSH_HOSTS": json.dumps([f"localhost:{receiver.port}", "nowhere.invalid"])}
    with running_server(directory, env=env) as server, AgentAt(f"{server.url}/a2a/obey") as agent:
        yield agent


def test_a_message_may_ask_for_notifications_of_its_task(agent: AgentAt, receiver: Receiver) -> None:
    hook = {
        "url": f"http://localhost:{receiver.port}/hook?x=1",
        "token": "tell-me",
        "authentication": {"scheme": "Bearer", "credentials": "sesame"},
    }
    configuration = {"taskPushNotificationConfig": hook, "returnImmediately": True}
    task = agent.send("words a b", configuration=configuration)
    headers, first = receiver.next()
    assert headers["x-a2a-notification-token"] == "tell-me"
    assert headers["authorization"] == "Bearer sesame"
    assert headers["content-type"] == "application/a2a+json"
    assert headers["host"] == f"localhost:{receiver.port}"
    assert first["path"] == "/hook?x=1"
    events = [first, *receiver.until_end()]
    assert events[0]["task"]["id"] == task["id"]
    assert "artifactUpdate" in events[1]
    assert state(events[-1]["statusUpdate"]) == "completed"


def test_a_task_keeps_its_configurations(agent: AgentAt, receiver: Receiver) -> None:
    task = agent.send("ask")
    url = f"http://localhost:{receiver.port}/hook"
    made = agent.call("CreateTaskPushNotificationConfig", {"taskId": task["id"], "id": "one", "url": url})
    assert (made["id"], made["url"]) == ("one", url)
    web = agent.web
    below = f"{agent.url}/tasks/{task['id']}/pushNotificationConfigs"
    assert web.post(below, json={"id": "two", "url": url}).json()["id"] == "two"
    listed = agent.call("ListTaskPushNotificationConfigs", {"taskId": task["id"]})["configs"]
    assert sorted(config["id"] for config in listed) == ["one", "two"]
    assert web.get(f"{below}/one").json() == agent.call(
        "GetTaskPushNotificationConfig", {"taskId": task["id"], "id": "one"}
    )
    assert web.delete(f"{below}/two").json() == {}
    assert agent.error("GetTaskPushNotificationConfig", {"taskId": task["id"], "id": "two"})["code"] == -32001
    assert agent.error("CreateTaskPushNotificationConfig", {"taskId": "none", "url": url})["code"] == -32001
    assert state(agent.send("Paris", taskId=task["id"])) == "completed"
    assert state(receiver.until_end()[-1]["statusUpdate"]) == "completed"


def test_older_clients_keep_configurations(agent: AgentAt, receiver: Receiver) -> None:
    """A2A 0.3: a configuration needs no name, and that of the task is what is asked for without one."""

    def call(method: str, params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": f"tasks/pushNotificationConfig/{method}", "params": params}
        return httpx.post(agent.url, json=body, timeout=60).json()

    task_id = agent.send("ask")["id"]
    assert call("get", {"id": task_id})["error"]["code"] == -32001
    assert call("get", {"id": "none"})["error"]["code"] == -32001
    config = {"url": f"http://localhost:{receiver.port}/hook"}
    made = call("set", {"taskId": task_id, "pushNotificationConfig": config})["result"]
    assert made["pushNotificationConfig"]["url"] == config["url"]
    assert call("get", {"id": task_id})["result"] == made
    named = {"id": task_id, "pushNotificationConfigId": made["pushNotificationConfig"]["id"]}
    assert call("get", named)["result"] == made
    assert call("list", {"id": task_id})["result"] == [made]
    assert call("delete", named) == {"jsonrpc": "2.0", "id": 1, "result": None}
    assert call("list", {"id": task_id})["result"] == []
    call("set", {"taskId": task_id, "pushNotificationConfig": {**config, "id": "one"}})
    gone = httpx.delete(f"{agent.url}/v1/tasks/{task_id}/pushNotificationConfigs/one", timeout=60)
    assert (gone.status_code, gone.json()) == (200, {})
    assert call("list", {"id": task_id})["result"] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/hook",  # the same place under another name
        "http://localhost:{other}/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:{port}/hook",
        "http://evil.example/",
        "http://localhost:{port}@evil.example/",
        "http://user:secret@localhost:{port}/hook",
        "file:///etc/passwd",
        "ftp://localhost:{port}/",
        "http://localhost:99999/",
        "//localhost:{port}/",
        "localhost",
        "http://nowhere.invalid/",
        "",
    ],
)
def test_only_places_that_the_owner_names_are_taken(agent: AgentAt, receiver: Receiver, url: str) -> None:
    url = url.format(port=receiver.port, other=receiver.port + 1)
    told = agent.error("SendMessage", message("hi", configuration={"taskPushNotificationConfig": {"url": url}}))
    assert told["code"] == -32602
    task = agent.send("hi")
    assert agent.error("CreateTaskPushNotificationConfig", {"taskId": task["id"], "url": url})["code"] == -32602


def test_a_receiver_that_fails_holds_nothing_up_and_is_asked_again(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": "pass"})
    with receiving(failures=1) as receiver:
        # By a name: the address it has is private, which the owner may know.
        env = {"HAYHOOKS_A2A_PUSH_HOSTS": json.dumps(["localhost"])}
        with running_server(tmp_path / "pipelines", env=env) as server, AgentAt(f"{server.url}/a2a/obey") as agent:
            card = httpx.get(f"{agent.url}/.well-known/agent-card.json").json()
            assert card["capabilities"]["pushNotifications"] is True
            hook = {"taskPushNotificationConfig": {"url": f"http://localhost:{receiver.port}/hook"}}
            assert text(agent.send("hello", configuration=hook)) == "You said: hello"
            assert [next(iter(event)) for event in receiver.until_end()] == ["task", "artifactUpdate", "statusUpdate"]
            gone = {"taskPushNotificationConfig": {"url": f"http://localhost:{receiver.port}/elsewhere"}}
            agent.send("hello", configuration=gone)
            server.wait_for_log("was not taken: it answered 302")  # and is not followed


def _resolving(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> None:
    def found(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in names:
            raise socket.gaierror
        family = socket.AF_INET6 if ":" in names[host][0] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    names = {name.replace("_", "."): found for name, found in addresses.items()}
    monkeypatch.setattr(socket, "getaddrinfo", found)


async def test_every_public_host_means_none_that_leads_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = Targets(["*"])
    inside = [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "::",
    ]  # fmt: skip
    for address in inside:
        _resolving(monkeypatch, hooks_example=[address])
        assert not await targets.is_allowed("https://hooks.example/"), address
    _resolving(monkeypatch, hooks_example=["93.184.216.34", "10.0.0.1"])  # one of several is enough
    assert not await targets.is_allowed("https://hooks.example/")
    _resolving(monkeypatch, hooks_example=["93.184.216.34"])
    target = await targets.find("https://hooks.example:8443/a?b=c")
    assert target is not None
    # The address that was looked at is the one that is called.
    assert (target.url(), target.authority) == ("https://93.184.216.34:8443/a?b=c", "hooks.example:8443")
    assert not await targets.is_allowed("https://unknown.example/")
