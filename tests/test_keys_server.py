"""API keys on a running server: made, used, counted, revoked, and still there after a crash."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.client import Client, ServerRefused
from hayhooks.core.keys import new_key
from hayhooks.server.admin_key import ensure_admin_key
from hayhooks.store.keys import SQLiteKeys
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, Gates
from tests.support.issuer import AUDIENCE, SigningKey, running_issuer

ADMIN_KEY = "the admin's own"
KEY = re.compile(r"hay_[a-z2-7]{12}_[A-Za-z0-9]{40}")
WRAPPER = """
from hayhooks import BasePipelineWrapper, current_run

from .gates import arrive


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    def run_api(self, gate: str = "") -> str:
        if gate:
            arrive(gate)
        return current_run().caller.id
"""
web = httpx.Client()  # one for all: each would read the certificates of the machine anew


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    with web:
        yield


def pipelines(directory: Path) -> Path:
    for name in ("rag-1", "other"):
        (directory / "pipelines" / name).mkdir(parents=True)
        (directory / "pipelines" / name / "pipeline_wrapper.py").write_text(WRAPPER)
        (directory / "pipelines" / name / "gates.py").write_text(GATES_MODULE)
    return directory / "pipelines"


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    environment = {"HAYHOOKS_ADMIN_KEY": ADMIN_KEY, "HAYHOOKS_REQUIRE_LOGIN": "true", "GATES_URL": gates.url}
    with running_server(pipelines(tmp_path_factory.mktemp("keys")), env=environment) as server:
        yield server


def run(server: RunningServer, key: str, name: str = "rag-1", **body: Any) -> httpx.Response:
    return web.post(f"{server.url}/{name}/run", json=body, headers={"authorization": f"Bearer {key}"}, timeout=60)


def admin(server: RunningServer, method: str, path: str, **more: Any) -> httpx.Response:
    return web.request(method, server.url + path, headers={"x-api-key": ADMIN_KEY}, **more)


def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(server: RunningServer) -> None:
    made = server.client.create_key("scoped", ["run:rag-*"], expires_in_s=3600)
    assert run(server, made.key).json() == {"result": f"key:{made.info.id}"}
    assert web.post(f"{server.url}/rag-1/run", json={}, headers={"x-api-key": made.key}).status_code == 200
    assert run(server, made.key, "other").status_code == 403
    assert run(server, made.key[:-1]).status_code == 401
    assert server.client.revoke_key(made.info.id).state == "revoked"
    refused = run(server, made.key)
    assert refused.status_code == 401
    assert refused.json()["detail"] == "The key 'scoped' has been revoked."


def test_lists_show_no_key_and_no_digest(server: RunningServer) -> None:
    made = admin(server, "POST", "/keys", json={"name": "listed", "scopes": ["run", "read"], "expires_in_s": 60})
    assert made.headers["cache-control"] == "no-store"
    listed = admin(server, "GET", "/keys")
    [found] = [key for key in listed.json() if key["name"] == "listed"]
    assert found == {name: value for name, value in made.json().items() if name != "key"}
    assert found["scopes"] == ["read", "run"]
    assert 59 <= found["expires_at"] - found["created_at"] <= 60
    assert found["created_by"] == "admin"
    assert made.json()["key"][-40:] not in listed.text
    assert made.json()["key"][-40:] not in server.log
    again = admin(server, "DELETE", f"/keys/{found['id']}").json()
    assert again["state"] == "revoked"
    assert admin(server, "DELETE", f"/keys/{found['id']}").json() == again


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "body.name"),
        ({"name": "a"}, 422, "body.scopes"),
        ({"name": "a", "scopes": "run"}, 422, "body.scopes"),
        ({"name": "a", "scopes": []}, 422, "may do nothing"),
        ({"name": "a", "scopes": ["run:"]}, 422, "no scope"),
        ({"name": "", "scopes": ["run"]}, 422, "1 to 64"),
        ({"name": "a", "scopes": ["run"], "expires_in_s": 0}, 422, "in the future"),
        ({"name": "a", "scopes": ["run"], "expires_in_s": 1, "expires_at": 2e9}, 422, "not both"),
        ({"name": "a", "scopes": ["run"], "expires_at": 5}, 422, "in the future"),
        ({"name": "a", "scopes": ["run"], "requests_per_minute": 0}, 422, "requests_per_minute"),
        ({"name": "a", "scopes": ["run"], "max_concurrent_runs": True}, 422, "max_concurrent_runs"),
        ({"name": "a", "scopes": ["run"], "expires_in": 3600}, 422, "body.expires_in"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    server: RunningServer, body: Mapping[str, Any], status: int, said: str
) -> None:
    answer = admin(server, "POST", "/keys", json=body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_names_of_keys_that_work_are_taken(server: RunningServer) -> None:
    made = server.client.create_key("once", ["run"])
    with pytest.raises(ServerRefused, match="works already") as refused:
        server.client.create_key("once", ["run"])
    assert (refused.value.status, refused.value.hint) == (409, None)
    server.client.revoke_key(made.info.id)
    server.client.create_key("once", ["run"])


def test_only_admins_manage_keys(server: RunningServer) -> None:
    deployer = server.client.create_key("deployer", ["run", "deploy", "read"]).key
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("DELETE", "/keys/x")):
        for headers, status in (({}, 401), ({"x-api-key": deployer}, 403), ({"x-api-key": "sk-anything"}, 401)):
            answer = web.request(method, server.url + path, headers=headers)
            assert answer.status_code == status, (method, path, headers)
    made = server.client.create_key("second admin", ["admin"]).key
    assert Client(server.url, api_key=made).create_key("third", ["run"]).info.created_by != "admin"


def test_other_paths_and_methods_are_unknown(server: RunningServer) -> None:
    assert admin(server, "DELETE", "/keys/nobody").status_code == 404
    assert admin(server, "DELETE", "/keys/").status_code == 404
    assert admin(server, "PUT", "/keys").status_code == 405
    assert admin(server, "GET", "/keys/nobody").status_code == 405
    form = {"x-api-key": ADMIN_KEY, "content-type": "text/plain"}
    assert web.post(f"{server.url}/keys", content=b"{}", headers=form).status_code == 422


def test_a_key_has_its_rate(server: RunningServer) -> None:
    made = server.client.create_key("slow", ["run"], requests_per_minute=2)
    assert [run(server, made.key).status_code for _ in range(3)] == [200, 200, 429]
    refused = run(server, made.key)
    assert "'slow' may make 2 requests a minute" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    other = server.client.create_key("fast", ["run"], requests_per_minute=2)
    assert run(server, other.key).status_code == 200
    chat = {"model": "rag-1", "messages": [{"role": "user", "content": "x"}]}
    answer = web.post(f"{server.url}/v1/chat/completions", json=chat, headers={"x-api-key": made.key})
    assert answer.status_code != 200


async def test_a_key_has_so_many_runs_at_once(server: RunningServer, gates: Gates) -> None:
    made = server.client.create_key("narrow", ["run"], max_concurrent_runs=1)
    async with httpx.AsyncClient(timeout=60, headers={"x-api-key": made.key}) as client:
        first = asyncio.create_task(client.post(f"{server.url}/rag-1/run", json={"gate": "held"}))
        await asyncio.to_thread(gates.wait, "held")
        refused = await client.post(f"{server.url}/other/run", json={})
        assert refused.status_code == 429
        assert "'narrow' may have 1 run at once" in refused.json()["detail"]
        gates.open("held")
        assert (await first).status_code == 200
        assert (await client.post(f"{server.url}/other/run", json={})).status_code == 200
        # What fails before it runs gives its place back, too.
        for _ in range(3):
            assert (await client.post(f"{server.url}/other/run", json={"gate": 5})).status_code == 422
        assert (await client.post(f"{server.url}/other/run", json={})).status_code == 200


def test_another_process_makes_and_revokes_keys_while_the_server_runs(server: RunningServer) -> None:
    store = SQLiteKeys(state_of(server) / "state.db")
    key, text = new_key("from outside", ["run"], created_by="local", now_s=time.time())
    store.add(key)
    assert run(server, text).status_code == 200  # at once
    store.revoke(key.id, int(time.time()))
    store.close()
    began_s = time.monotonic()
    while run(server, text).status_code == 200:
        assert time.monotonic() - began_s < 10


def test_a_key_survives_a_kill_right_after_it_was_answered(tmp_path: Path, gates: Gates) -> None:
    directory = pipelines(tmp_path)
    environment = {"HAYHOOKS_ADMIN_KEY": ADMIN_KEY, "HAYHOOKS_REQUIRE_LOGIN": "true", "GATES_URL": gates.url}
    with running_server(directory, env=environment) as server:
        made = server.client.create_key("survivor", ["run"])
        server.process.send_signal(signal.SIGKILL)
    with running_server(directory, env=environment) as server:
        assert run(server, made.key).json() == {"result": f"key:{made.info.id}"}


def test_a_server_beyond_loopback_makes_an_admin_key_once(tmp_path: Path, gates: Gates) -> None:
    directory = pipelines(tmp_path)
    with running_server(directory, host="0.0.0.0", env={"GATES_URL": gates.url}) as server:
        [made] = KEY.findall(server.log)
        assert "hayhooks keys create NAME --scope admin --state-dir" in server.log
        assert web.post(f"{server.url}/undeploy/other").status_code == 401
        assert web.post(f"{server.url}/undeploy/other", headers={"x-api-key": made}).status_code == 200
    with running_server(directory, host="0.0.0.0", env={"GATES_URL": gates.url}) as server:
        assert KEY.findall(server.log) == []
        owner = Client(server.url, api_key=made)
        assert [(key.name, key.created_by) for key in owner.list_keys()] == [("admin", "server")]
        owner.revoke_key(owner.list_keys()[0].id)
    with running_server(
        directory, host="0.0.0.0", env={"GATES_URL": gates.url, "HAYHOOKS_ADMIN_KEY": ADMIN_KEY}
    ) as server:
        assert KEY.findall(server.log) == []


def test_an_admin_key_is_made_only_when_none_works(tmp_path: Path) -> None:
    store = SQLiteKeys(tmp_path / "state.db")
    assert ensure_admin_key(store, is_needed=False) is None
    store.add(new_key("admin", ["run"], created_by="x", now_s=1)[0])  # its name is no right
    store.add(new_key("old", ["admin"], created_by="x", now_s=1, expires_s=100)[0])
    assert ensure_admin_key(store, is_needed=True, now_s=99) is None
    made = ensure_admin_key(store, is_needed=True, now_s=100)
    assert made is not None
    assert ensure_admin_key(store, is_needed=True, now_s=100) is None
    assert [key.name for key in store.all()] == ["admin", "old", "admin-"]
    store.close()


def test_a_token_of_the_issuer_opens_the_server_and_hooks_see_whose_it_is(tmp_path: Path, gates: Gates) -> None:
    with running_issuer() as issuer:
        environment = {
            "GATES_URL": gates.url,
            "HAYHOOKS_JWT_ISSUER": issuer.url,
            "HAYHOOKS_JWT_AUDIENCE": AUDIENCE,
            "HAYHOOKS_JWT_SCOPE_PREFIX": "hayhooks:",
        }
        with running_server(pipelines(tmp_path), env=environment) as server:
            assert web.post(f"{server.url}/rag-1/run", json={}).status_code == 401
            token = issuer.token(scope="openid hayhooks:run:rag-*")
            assert run(server, token).json() == {"result": f"jwt:{issuer.url}#user-1"}
            assert run(server, token, "other").status_code == 403
            assert run(server, issuer.token(aud="another")).status_code == 401
            assert run(server, SigningKey("first").sign(issuer.claims())).status_code == 401
            assert token.rpartition(".")[2] not in server.log


# The command line ----------------------------------------------------------------------------------------------------


def command(
    server: RunningServer, *words: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hayhooks", "keys", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=server.pipelines_dir.parent,
        env={"PATH": "/usr/bin:/bin", "HAYHOOKS_PORT": server.url.rpartition(":")[2], **(env or {})},
    )


def test_the_command_line_makes_lists_and_revokes(server: RunningServer) -> None:
    env = {"HAYHOOKS_ADMIN_KEY": ADMIN_KEY, "HAYHOOKS_HOST": "127.0.0.1"}
    made = command(
        server, "create", "by hand", "--scope", "run:rag-*", "--scope", "read", "--expires", "30d", "--rate", "60",
        "--concurrency", "4", env=env,
    )  # fmt: skip
    assert made.returncode == 0
    text = made.stdout.strip()
    assert KEY.fullmatch(text)
    assert text not in made.stderr
    assert run(server, text).status_code == 200
    listed = command(server, "list", env=env).stdout
    assert re.search(r"by hand +active +read, run:rag-\* +20\d\d-\d\d-\d\d \d\d:\d\d +60/min +4", listed)
    taken = command(server, "create", "by hand", env=env)
    assert (taken.returncode, taken.stdout) == (1, "")
    assert "works already" in taken.stderr
    assert "Revoked the key 'by hand'" in command(server, "revoke", "by hand", env=env).stdout
    assert run(server, text).status_code == 401
    assert command(server, "revoke", "by hand", env=env).returncode == 1
    shown = json.loads(command(server, "list", "--json", env=env).stdout)
    assert [key["state"] for key in shown if key["name"] == "by hand"] == ["revoked"]
    assert command(server, "create", "x", "--expires", "soon", env=env).returncode == 2


def test_a_locked_out_owner_makes_a_key_in_the_state_directory(server: RunningServer, tmp_path: Path) -> None:
    assert command(server, "list", env={"HAYHOOKS_HOST": "127.0.0.1"}).returncode == 1
    made = command(server, "create", "rescue", "--scope", "admin", "--state-dir", str(state_of(server)), "--json")
    assert made.returncode == 0, made.stderr
    text = json.loads(made.stdout)["key"]
    assert Client(server.url, api_key=text).list_keys()
    assert "rescue" in command(server, "list", "--local").stdout
    revoked = command(server, "revoke", json.loads(made.stdout)["id"], "--local")
    assert revoked.returncode == 0, revoked.stderr
    empty = command(server, "create", "x", "--state-dir", str(tmp_path))
    assert empty.returncode == 1
    assert "is no server's state directory" in empty.stderr
    assert list(tmp_path.iterdir()) == []


def state_of(server: RunningServer) -> Path:
    return server.pipelines_dir.parent / ".hayhooks" / "pipelines"
