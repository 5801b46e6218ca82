"""Who may call what: every route for every kind of caller, from the table of routes itself."""

import atexit
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from starlette.testclient import TestClient

from hayhooks import create_app
from hayhooks.core.keys import new_key
from hayhooks.settings import AppSettings
from hayhooks.store.keys import SQLiteKeys
from hayhooks.testing import RunningServer, running_server
from tests.support.wrapper_source import deploy_body, wrapper

ADMIN_KEY = "correct horse battery staple"
DAY_S = 24 * 3600

# What the first segment of a path asks for. A route that is not here fails the tests: it must be decided.
Door = Literal["anybody", "login", "read", "run", "deploy", "admin", "kept"]
DOORS: dict[str, Door] = {
    **dict.fromkeys(("docs", "redoc", "docs-assets", "openapi.json", "health", ".well-known"), "anybody"),
    **dict.fromkeys(("status", "deployments", "draw"), "read"),
    **dict.fromkeys(("deploy", "deploy_files", "deploy-yaml", "undeploy", "rollback", "canary"), "deploy"),
    **dict.fromkeys(("a2a", "chat", "embeddings", "messages", "models"), "run"),
    **dict.fromkeys(("responses", "conversations", "files"), "kept"),
    "keys": "admin",
    "mcp": "login",  # what a caller may do is said for each tool, below
    "closed": "run",  # the deployment of these tests
}
CALLERS = (None, "foreign", "wrong", "expired_boss", "runner", "reader", "deployer", "other", "boss", "admin")
ALL = """
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from hayhooks import BasePipelineWrapper, current_run


class PipelineWrapper(BasePipelineWrapper):
    {attribute}
    prompts = {{"ask": "builder"}}

    def setup(self):
        self.pipeline = Pipeline()
        self.pipeline.add_component("builder", PromptBuilder("Say something."))

    def run_api(self):
        caller = current_run().caller
        return [caller.kind, caller.name, sorted(caller.scopes)]

    def run_chat_completion(self, model, messages, body):
        return f"{{current_run().caller.name}} speaks"

    def run_embedding(self, model, inputs, body):
        return [[1.0] for _ in inputs]
"""


@dataclass(frozen=True)
class Closed:
    """A server that asks for login, and keys for it."""

    server: RunningServer
    keys: dict[str, str]

    def ask(self, method: str, path: str, caller: str | None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[caller]}"} if caller else {}
        return web.request(method, self.server.url + path, headers={**headers, **more.pop("headers", {})}, **more)


web = httpx.Client(timeout=30)
atexit.register(web.close)  # not with a server: the tests of this module may be divided, and have several


def keys_in(state_dir: Path, **scopes: list[str]) -> dict[str, str]:
    """Keys of these scopes in the state database, by name."""
    state_dir.mkdir(parents=True)
    store = SQLiteKeys(state_dir / "state.db")
    secrets = {}
    for name, wanted in scopes.items():
        is_old = name.startswith("expired")
        now_s = time.time() - (2 * DAY_S if is_old else 0)
        key, secret = new_key(name, wanted, created_by="test", now_s=now_s, expires_s=now_s + DAY_S if is_old else None)
        store.add(key)
        secrets[name] = secret
    store.close()
    return secrets


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    home = tmp_path_factory.mktemp("closed")
    attributes = {"closed": "", "open": "public = True", "finance": "required_scope = 'finance'"}
    for name, attribute in attributes.items():
        (home / "pipelines" / name).mkdir(parents=True)
        (home / "pipelines" / name / "pipeline_wrapper.py").write_text(ALL.format(attribute=attribute))
    keys = keys_in(
        home / "state",
        runner=["run:closed"],
        reader=["read:closed"],
        deployer=["deploy:closed"],
        other=["run:other-*", "deploy:other-*"],
        all_runs=["run"],
        accountant=["run", "finance"],
        boss=["admin"],
        expired_boss=["admin"],
    )
    environment = {"HAYHOOKS_REQUIRE_LOGIN": "true", "HAYHOOKS_ADMIN_KEY": ADMIN_KEY, "HAYHOOKS_STATE_DIR": "state"}
    with running_server(home / "pipelines", env=environment) as server:
        wrong = keys["boss"][:-1] + ("a" if keys["boss"][-1] != "a" else "b")
        yield Closed(server, keys | {"admin": ADMIN_KEY, "wrong": wrong, "foreign": "sk-anything"})


def routes(closed: Closed) -> list[tuple[str, str, str]]:
    """Method, path, and the path with what it has parameters for, of every operation that the server documents."""
    document = closed.ask("GET", "/openapi.json", "admin").json()
    return [
        (method.upper(), path, path.replace("{pipeline_name}", "closed").replace("{model}", "closed"))
        for path, operations in document["paths"].items()
        for method in operations
        if not path.startswith(("/open/", "/finance/"))
    ]


def door_of(path: str) -> Door:
    first = path[1:].removeprefix("v1/").partition("/")[0]
    assert first in DOORS, f"{path}: say in DOORS what it asks for"
    return DOORS[first]


def body_for(path: str) -> dict[str, Any]:
    """A body that names the deployment wherever one is named."""
    says = {"role": "user", "content": "hi"}
    return {"name": "closed", "files": {}, "source_code": "no pipeline", "overwrite": True} | {
        "model": "closed", "messages": [says], "input": "hi", "max_tokens": 5, "scopes": ["run"],
    }  # fmt: skip


def allowed(door: Door, path: str) -> set[str]:
    """Which of the callers may."""
    names_one = path.rstrip("/").endswith(("/closed", "/{key_id}")) or "/closed/" in path
    by_door: dict[Door, set[str]] = {
        "anybody": {"runner", "reader", "deployer", "other", "boss", "admin"},
        "login": {"runner", "reader", "deployer", "other", "boss", "admin"},
        "read": {"runner", "reader", "deployer", "boss", "admin"} | (set() if names_one else {"other"}),
        "run": {"runner", "boss", "admin"},
        "kept": {"runner", "other", "boss", "admin"},
        "deploy": {"deployer", "boss", "admin"},
        "admin": {"boss", "admin"},
    }
    found = by_door[door]
    if path in ("/models", "/v1/models"):  # a list of what the caller may use
        found = by_door["login"]
    if path.removeprefix("/v1") in ("/responses", "/responses/input_tokens"):  # a run, unlike what else is below it
        found = by_door["run"]
    return found


def is_shaped(answer: httpx.Response, path: str) -> bool:
    """Whether a refusal has the shape of its protocol."""
    body = answer.json()
    first = path[1:].removeprefix("v1/").partition("/")[0]
    if first == "messages":
        return bool(body["type"] == "error" and body["error"]["type"].endswith("_error") and body["request_id"])
    if path.startswith("/v1/") or path.endswith("/chat") or (DOORS[first] in ("run", "kept") and first != "closed"):
        return bool(body["error"]["type"] in ("authentication_error", "permission_error") and body["error"]["message"])
    return body["kind"] in ("unauthorized", "forbidden") and isinstance(body["detail"], str)


def test_every_route_asks_every_caller_for_the_right_key(closed: Closed) -> None:
    failures = []
    for method, path, target in routes(closed):
        door = "read" if method == "GET" and path.startswith("/canary/") else door_of(path)
        for caller in (
            None,
            "foreign",
            "wrong",
            "expired_boss",
            "runner",
            "reader",
            "deployer",
            "other",
            "boss",
            "admin",
        ):
            if door == "deploy" and caller in allowed(door, target) and "undeploy" in path:
                continue  # it would really go: shown below
            body = {} if method in ("GET", "DELETE") else {"json": body_for(path)}
            answer = closed.ask(method, target, caller, **body)
            if door == "anybody":
                expected = [200, 503] if caller not in ("wrong", "expired_boss") else [401]
                is_right = answer.status_code in expected
            elif path.removeprefix("/v1") == "/models" and caller in (None, "foreign"):
                is_right = [model["id"] for model in answer.json()["data"]] == ["open"]  # what is public
            elif caller in (None, "foreign", "wrong", "expired_boss"):
                is_right = answer.status_code == 401 and is_shaped(answer, path)
            elif caller in allowed(door, target):
                is_right = answer.status_code not in (401, 403)
            else:
                is_right = answer.status_code == 403 and is_shaped(answer, path)
            if not is_right:
                failures.append((method, path, caller, answer.status_code, answer.text[:200]))
    assert failures == []


SAYS = {"message": {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": "hi"}]}}
RPC = {
    "SendMessage": SAYS,
    "SendStreamingMessage": SAYS,
    "GetTask": {"id": "x"},
    "ListTasks": {},
    "CancelTask": {"id": "x"},
    "SubscribeToTask": {"id": "x"},
    "CreateTaskPushNotificationConfig": {"taskId": "x", "url": "https://hooks.example"},
    "GetTaskPushNotificationConfig": {"taskId": "x", "id": "y"},
    "ListTaskPushNotificationConfigs": {"taskId": "x"},
    "DeleteTaskPushNotificationConfig": {"taskId": "x", "id": "y"},
    "GetExtendedAgentCard": {},
    "message/send": {"message": {"role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hi"}]}},
    "tasks/get": {"id": "x"},
}
REST = [
    ("POST", "/message:send"), ("POST", "/message:stream"), ("GET", "/tasks/x"), ("GET", "/tasks"),
    ("POST", "/tasks/x:cancel"), ("POST", "/tasks/x:subscribe"), ("POST", "/tasks/x/pushNotificationConfigs"),
    ("GET", "/tasks/x/pushNotificationConfigs"), ("GET", "/tasks/x/pushNotificationConfigs/y"),
    ("DELETE", "/tasks/x/pushNotificationConfigs/y"), ("GET", "/extendedAgentCard"), ("POST", "/v1/message:send"),
]  # fmt: skip
V1 = {"a2a-version": "1.0"}


def a2a_calls(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation of A2A on that agent: how to call it."""
    url = f"/a2a/{name}"
    rpc = [
        ("POST", url, {"json": {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}})
        for method, params in RPC.items()
    ]
    rest = [(method, url + path, {"json": SAYS} if method == "POST" else {}) for method, path in REST]
    return [*rpc, *rest, ("GET", f"{url}/.well-known/agent-card.json", {})]


def is_a2a_refusal(answer: httpx.Response) -> bool:
    body = answer.json()
    if answer.request.url.path.endswith(".json"):
        return body["kind"] in ("unauthorized", "forbidden")
    error = body["error"]
    if "jsonrpc" in body:
        return error["code"] == -32000 and error["data"][0]["reason"] in ("UNAUTHORIZED", "FORBIDDEN")
    return error["code"] == answer.status_code and error["status"] in ("UNAUTHENTICATED", "PERMISSION_DENIED")


def test_every_operation_of_an_agent_asks_every_caller_for_the_right_key(closed: Closed) -> None:
    failures = []
    for method, path, body in a2a_calls("closed"):
        for caller in CALLERS:
            may = caller in (("runner", "boss", "admin") if not path.endswith(".json") else allowed("read", path))
            answer = closed.ask(method, path, caller, headers=V1, **body)
            if may:
                is_right = answer.status_code not in (401, 403)
            elif caller in (None, "foreign", "wrong", "expired_boss"):
                is_right = answer.status_code == 401 and is_a2a_refusal(answer)
                is_right = is_right and answer.headers["www-authenticate"] == "Bearer"
            else:
                is_right = answer.status_code == 403 and is_a2a_refusal(answer)
            if not is_right:
                failures.append((method, path, body, caller, answer.status_code, answer.text[:200]))
    assert failures == []


@pytest.mark.parametrize("caller", [None, "other", "wrong"])
def test_an_agent_is_not_told_to_those_who_may_not_know_it(closed: Closed, caller: str | None) -> None:
    for one, other in zip(a2a_calls("closed"), a2a_calls("nobody"), strict=True):
        answers = [
            closed.ask(method, path, caller, headers=V1, **body) for method, path, body in (one, other)
        ]  # fmt: skip
        seen = {(answer.status_code, answer.text.replace("closed", "nobody")) for answer in answers}
        assert len(seen) == 1, one


def test_tasks_of_agents_are_those_of_the_key_that_left_them(closed: Closed) -> None:
    def call(caller: str, method: str, params: dict[str, Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return closed.ask("POST", "/a2a/closed", caller, headers=V1, json=body).json()

    task = call("runner", "SendMessage", SAYS)["result"]["task"]
    assert task["artifacts"][0]["parts"][0]["text"] == "runner speaks"
    assert call("runner", "GetTask", {"id": task["id"]})["result"] == task
    assert call("all_runs", "GetTask", {"id": task["id"]})["error"]["code"] == -32001
    assert call("all_runs", "CancelTask", {"id": task["id"]})["error"]["code"] == -32001
    assert call("all_runs", "ListTasks", {"contextId": task["contextId"]})["result"]["tasks"] == []
    more = {"message": {**SAYS["message"], "taskId": task["id"]}}
    assert call("all_runs", "SendMessage", more)["error"]["code"] == -32001
    # An admin sees everybody's, and nobody's conversation is continued by another.
    assert call("boss", "GetTask", {"id": task["id"]})["result"] == task


def test_cards_say_which_keys_an_agent_wants(closed: Closed) -> None:
    def card(name: str, caller: str | None) -> dict[str, Any]:
        found: dict[str, Any] = closed.ask("GET", f"/a2a/{name}/.well-known/agent-card.json", caller).json()
        return found

    one = card("closed", "runner")
    assert set(one["securitySchemes"]) == {"bearer", "apiKey"}
    assert one["securityRequirements"] == [{"schemes": {name: {"list": []}}} for name in ("bearer", "apiKey")]
    assert one["capabilities"]["extendedAgentCard"] is True
    assert "securitySchemes" not in card("open", None)
    extended = closed.ask("GET", "/a2a/closed/extendedAgentCard", "runner", headers=V1).json()
    assert extended["name"] == "closed"
    answer = closed.ask("GET", "/a2a/open/.well-known/agent-card.json", None)
    assert (answer.headers["cache-control"], answer.headers["vary"]) == (
        "public, max-age=60",
        "authorization, x-api-key",
    )
    answer = closed.ask("GET", "/a2a/closed/.well-known/agent-card.json", "runner")
    assert answer.headers["cache-control"] == "private, max-age=60"


def test_no_prefix_is_left_out_of_the_table(tmp_path: Path) -> None:
    app = create_app(AppSettings(pipelines_dir=str(tmp_path / "pipelines")))
    with TestClient(app):
        served = set(app._dispatch.prefixes)  # type: ignore[attr-defined]
    assert {prefix for prefix in served if prefix != "v1"} - set(DOORS) == set()


@pytest.mark.parametrize("caller", [None, "other", "wrong"])
def test_a_name_is_not_told_to_those_who_may_not_know_it(closed: Closed, caller: str | None) -> None:
    for method, path in (
        ("POST", "/{}/run"), ("POST", "/{}/chat"), ("GET", "/{}/run"), ("POST", "/{}"), ("GET", "/{}/nothing"),
        ("GET", "/status/{}"), ("GET", "/deployments/{}"), ("GET", "/draw/{}"), ("GET", "/v1/models/{}"),
        ("POST", "/undeploy/{}"),
    ):  # fmt: skip
        answers = []
        for name in ("closed", "nobody"):
            answer = closed.ask(
                method, path.format(name), caller, json={"messages": [{"role": "user", "content": "x"}]}
            )
            answers.append((answer.status_code, answer.text.replace(name, "NAME")))
        assert answers[0] == answers[1], path
        assert answers[0][0] in (401, 403, 405)
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"):
        answers = []
        for name in ("closed", "nobody"):
            answer = closed.ask("POST", path, caller, json=body_for(path) | {"model": name})
            text = answer.text.replace(name, "NAME")
            answers.append((answer.status_code, text if "request_id" not in text else ""))
        assert answers[0] == answers[1], path


def test_listings_show_what_the_caller_may_use(closed: Closed) -> None:
    def seen(caller: str | None) -> list[list[str]]:
        models = closed.ask("GET", "/v1/models", caller).json()["data"]
        anthropic = closed.ask("GET", "/v1/models", caller, headers={"anthropic-version": "2023-06-01"}).json()["data"]
        paths = closed.ask("GET", "/openapi.json", caller).json()["paths"]
        return [
            sorted(model["id"] for model in models),
            sorted(model["id"] for model in anthropic),
            sorted(agent["name"] for agent in closed.ask("GET", "/a2a", caller).json()["agents"]),
            sorted(path.split("/")[1] for path in paths if path.endswith("/run")),
        ]

    assert seen(None) == [["open"]] * 4
    assert seen("runner") == [["closed", "open"]] * 4
    assert seen("admin") == seen("accountant") == [["closed", "finance", "open"]] * 4
    assert seen("all_runs") == [*[["closed", "open"]] * 3, ["closed", "finance", "open"]]
    assert closed.ask("GET", "/status", "runner").json()["pipelines"] == ["closed", "open"]
    assert closed.ask("GET", "/status", "reader").json()["pipelines"] == ["closed", "open"]


def test_a_public_deployment_is_open_where_others_are_closed(closed: Closed) -> None:
    assert closed.ask("POST", "/open/run", None, json={}).json() == {"result": ["anonymous", "anonymous", []]}
    assert closed.ask("POST", "/open/run", "foreign", json={}).status_code == 200
    assert closed.ask("POST", "/open/run", "wrong", json={}).status_code == 401  # a key of ours that is none


def test_hooks_know_who_calls(closed: Closed) -> None:
    assert closed.ask("POST", "/closed/run", "runner", json={}).json() == {"result": ["key", "runner", ["run:closed"]]}
    assert closed.ask("POST", "/closed/run", "admin", json={}).json() == {"result": ["admin", "admin", ["admin"]]}
    answer = web.post(
        f"{closed.server.url}/v1/messages", json=body_for("") | {"model": "closed"},
        headers={"x-api-key": closed.keys["runner"]},
    )  # fmt: skip
    assert answer.json()["content"][0]["text"] == "runner speaks"


def test_a_deployment_may_ask_for_a_scope_of_its_own(closed: Closed) -> None:
    answer = closed.ask("POST", "/finance/run", "all_runs", json={})
    assert (answer.status_code, answer.json()["kind"]) == (403, "forbidden")
    assert "'finance'" in answer.json()["detail"]
    assert closed.ask("POST", "/finance/run", "accountant", json={}).status_code == 200
    assert closed.ask("POST", "/finance/run", "admin", json={}).status_code == 200
    assert closed.ask("POST", "/finance/run", None, json={}).status_code == 401


def test_a_key_deploys_what_its_pattern_names_and_nothing_else(closed: Closed) -> None:
    def deploy(name: str, caller: str) -> int:
        return closed.ask("POST", "/deploy_files", caller, json=deploy_body(name)).status_code

    assert deploy("other-one", "other") == 200
    assert deploy("mine", "other") == 403
    assert deploy("other-two", "runner") == 403
    assert closed.ask("POST", "/undeploy/closed", "other").status_code == 403
    assert closed.ask("POST", "/undeploy/other-one", "other").status_code == 200


def test_a_closed_deployment_hides_itself_on_an_open_server(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "secret").mkdir(parents=True)
    (tmp_path / "pipelines" / "secret" / "pipeline_wrapper.py").write_text(ALL.format(attribute="public = False"))
    keys = keys_in(tmp_path / "state", friend=["run:secret"])
    settings = AppSettings(pipelines_dir=str(tmp_path / "pipelines"), state_dir=str(tmp_path / "state"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        client.post("/deploy_files", json=deploy_body("plain")).raise_for_status()
        assert client.post("/plain/run", json={}).status_code == 200
        strange = {client.post(f"/{name}/run", json={}).text.replace(name, "") for name in ("secret", "unknown")}
        assert len(strange) == 1
        assert client.post("/secret/run", json={}).status_code == 401
        assert client.post("/secret/run", json={}, headers={"x-api-key": keys["friend"]}).status_code == 200
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == []
        client.post("/undeploy/secret").raise_for_status()
        assert client.post("/unknown/run", json={}).status_code == 404


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("public = 'yes'", "public must be True, False or None"),
        ("public = True; required_scope = 'finance'", "choose one"),
        ("required_scope = 'run'", "a word of your own"),
        ("required_scope = 'two words'", "is no scope"),
        ("required_scope = 7", "7 is no text"),
    ],
)
def test_a_wrapper_that_says_it_wrong_is_not_deployed(tmp_path: Path, attribute: str, said: str) -> None:
    source = wrapper().replace("    def setup", f"    {attribute}\n\n    def setup", 1)
    settings = AppSettings(pipelines_dir=str(tmp_path / "pipelines"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        answer = client.post("/deploy_files", json={"name": "a", "files": {"pipeline_wrapper.py": source}})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_yaml_pipeline_can_be_closed(tmp_path: Path) -> None:
    source = """
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "Hello {{ name }}", required_variables: "*"}
connections: []
inputs: {name: prompt.name}
outputs: {prompt: prompt.prompt}
public: false
"""
    settings = AppSettings(pipelines_dir=str(tmp_path / "pipelines"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        answer = client.post("/deploy-yaml", json={"name": "shy", "source_code": source})
        assert answer.status_code == 200, answer.text
        assert client.post("/shy/run", json={"name": "Ada"}).status_code == 401
        assert client.post("/shy", json={"prompt": {"name": "Ada"}}).status_code == 401


# What an operation of MCP asks for, with arguments that are right.
MCP: dict[str, tuple[Door, str, dict[str, Any]]] = {
    "server/discover": ("login", "server/discover", {}),
    "ping": ("login", "ping", {}),
    "tools/list": ("login", "tools/list", {}),
    "resources/list": ("login", "resources/list", {}),
    "resources/templates/list": ("login", "resources/templates/list", {}),
    "a resource": ("read", "resources/read", {"uri": "hayhooks://deployments/closed/schema"}),
    "prompts/list": ("login", "prompts/list", {}),
    "a prompt": ("run", "prompts/get", {"name": "closed.ask"}),
    "completion/complete": (
        "login", "completion/complete",
        {"ref": {"type": "ref/resource", "uri": "hayhooks://deployments/{name}/schema"},
         "argument": {"name": "name", "value": ""}},
    ),
    "the deployment's tool": ("run", "tools/call", {"name": "closed", "arguments": {}}),
    "its chat": ("run", "tools/call", {"name": "closed_chat", "arguments": {"message": "hi"}}),
    "run_pipeline": ("run", "tools/call", {"name": "run_pipeline", "arguments": {"pipeline_name": "closed"}}),
    "get_all_pipeline_statuses": ("login", "tools/call", {"name": "get_all_pipeline_statuses", "arguments": {}}),
    "get_pipeline_status": (
        "read", "tools/call", {"name": "get_pipeline_status", "arguments": {"pipeline_name": "closed"}}
    ),
    "deploy_pipeline": (
        "deploy", "tools/call", {"name": "deploy_pipeline", "arguments": {"name": "closed", "files": {"x": ""}}}
    ),
    "undeploy_pipeline": (
        "deploy", "tools/call", {"name": "undeploy_pipeline", "arguments": {"pipeline_name": "closed"}}
    ),
}  # fmt: skip
MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def mcp(closed: Closed, caller: str | None, method: str, params: dict[str, Any], version: str) -> httpx.Response:
    """The answer to one request of MCP."""
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": version}
    if version == "2026-07-28":
        params = {**params, "_meta": MODERN}
        headers |= {"mcp-method": method} | ({"mcp-name": params["name"]} if "name" in params else {})
        headers |= {"mcp-name": params["uri"]} if "uri" in params else {}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return closed.ask("POST", "/mcp", caller, headers=headers, json=message)


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("operation", MCP)
def test_every_operation_of_mcp_asks_every_caller_for_the_right_key(
    closed: Closed, operation: str, version: str
) -> None:
    door, method, params = MCP[operation]
    if operation in ("server/discover", "ping") and (operation == "ping") == (version == "2026-07-28"):
        return  # not in that revision
    failures = []
    for caller in CALLERS:
        if operation == "undeploy_pipeline" and caller in ("deployer", "boss", "admin"):
            continue  # it would really go
        answer = mcp(closed, caller, method, params, version)
        body = answer.json()
        if caller in ("wrong", "expired_boss"):
            is_right = answer.status_code == 401
        elif door == "login" or caller in allowed(door, "/closed/"):
            result = body.get("result", {})
            text = "".join(block["text"] for block in result.get("content", ()))
            # What is deployed lacks its wrapper: who is told so was allowed to.
            is_right = "result" in body and (not result.get("isError") or "Missing required file" in text)
        else:
            is_right = "error" in body or body["result"]["isError"]
        if not is_right:
            failures.append((caller, answer.status_code, answer.text[:200]))
    assert failures == []


def test_mcp_lists_what_the_caller_may_use(closed: Closed) -> None:
    own = {"get_all_pipeline_statuses", "get_pipeline_status", "run_pipeline"}
    manages = {"deploy_pipeline", "undeploy_pipeline"}
    for caller, expected in {
        None: {"open", "open_chat"} | own,
        "runner": {"open", "open_chat", "closed", "closed_chat"} | own,
        "reader": {"open", "open_chat"} | own,
        "deployer": {"open", "open_chat"} | own | manages,
        "accountant": {f"{name}{end}" for name in ("open", "closed", "finance") for end in ("", "_chat")} | own,
        "admin": {f"{name}{end}" for name in ("open", "closed", "finance") for end in ("", "_chat")} | own | manages,
    }.items():
        tools = mcp(closed, caller, "tools/list", {}, "2025-11-25").json()["result"]["tools"]
        assert {tool["name"] for tool in tools} == expected, caller
        resources = mcp(closed, caller, "resources/list", {}, "2025-11-25").json()["result"]["resources"]
        readable = {"deployer": {"open", "closed"}, "reader": {"open", "closed"}}.get(
            caller or "", {name.removesuffix("_chat") for name in expected - own - manages}
        )
        assert {item["uri"].split("/")[3] for item in resources} == readable, caller


def test_mcp_does_not_tell_a_name_to_those_who_may_not_know_it(closed: Closed) -> None:
    for caller in (None, "other"):
        for tool in ("{}", "run_pipeline", "get_pipeline_status"):
            answers = []
            for name in ("closed", "nobody"):
                arguments = {"pipeline_name": name}
                params = {"name": tool.format(name), "arguments": arguments}
                answer = mcp(closed, caller, "tools/call", params, "2025-11-25")
                answers.append((answer.status_code, answer.text.replace(name, "NAME")))
            assert answers[0] == answers[1]
