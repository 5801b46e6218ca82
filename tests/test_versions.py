"""Versions over HTTP: who deployed what when, rolling back, trying out, and what a new version breaks."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.client import Client, ServerRefused
from hayhooks.core.bundle import Bundle
from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import Gate, contents, tree, wrapper, write
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

SETTINGS = {"HAYHOOKS_KEPT_VERSIONS": "3", "HAYHOOKS_RELOAD": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("versions")
    write(root / "pipelines" / "mine", {"pipeline_wrapper.py": wrapper("return 'mine'"), "notes.txt": b"mine"})
    with running_server(root / "pipelines", env=SETTINGS) as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def files(answer: object, **options: str) -> dict[str, bytes]:
    return {"pipeline_wrapper.py": wrapper(f"return {answer!r}", **options).encode()}


def deploy(server: RunningServer, name: str, *answers: object) -> list[str]:
    """Deploy one version after the other; their digests."""
    for answer in answers:
        server.client.deploy_files(name, files(answer), overwrite=True)
    return [Bundle(name, files(answer)).version for answer in answers]


def answer_of(server: RunningServer, name: str) -> Any:
    return server.client.run(name).result


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    body = answer.json()
    assert (answer.status_code, body["kind"]) == (status, kind), body
    return str(body["detail"])


# What was


def test_the_versions_of_a_name_say_when_by_whom_and_how(server: RunningServer, http: httpx.Client) -> None:
    one, two = deploy(server, "told", 1, 2)
    body = http.get("/deployments/told").json()
    assert [(row["version"], row["is_live"], row["how"], row["kept"]) for row in body["versions"]] == [
        (two, True, "deploy", True), (one, False, "deploy", True),
    ]  # fmt: skip
    newest = body["versions"][0]
    assert newest["files"] == {"count": 1, "bytes": len(files(2)["pipeline_wrapper.py"])}
    assert set(newest["deployed_by"]) == {"id", "name"}
    assert newest["deployed_at"] >= body["versions"][1]["deployed_at"] > 1.7e9
    assert [(change["how"], change["version"]) for change in body["history"]] == [("deploy", two), ("deploy", one)]


def test_as_many_versions_are_kept_as_the_setting_says(server: RunningServer, http: httpx.Client) -> None:
    versions = deploy(server, "many", *range(5))
    rows = http.get("/deployments/many").json()["versions"]
    assert [row["version"] for row in rows if row["kept"]] == versions[:1:-1]
    answer = http.post("/rollback/many", json={"version": versions[0]})
    assert "is not kept" in refused(answer, 404, "not_found")
    assert answer_of(server, "many") == 4


# Back


def test_without_a_version_it_goes_back_to_the_one_before_and_forth_again(
    server: RunningServer, http: httpx.Client
) -> None:
    one, two = deploy(server, "back", 1, 2)
    body = http.post("/rollback/back").json()
    assert {key: body[key] for key in ("name", "success", "version", "endpoint", "changes", "breaking")} == {
        "name": "back", "success": True, "version": one, "endpoint": "/back/run", "changes": [], "breaking": [],
    }  # fmt: skip
    assert answer_of(server, "back") == 1
    assert contents(server.pipelines_dir / "back") == files(1)
    assert http.get("/deployments/back").json()["versions"][0]["how"] == "rollback"
    assert http.post("/rollback/back", json={"version": None}).json()["version"] == two
    assert answer_of(server, "back") == 2


def test_the_first_digits_name_a_version(server: RunningServer, http: httpx.Client) -> None:
    one, _, _ = deploy(server, "digits", 1, 2, 3)
    assert http.post("/rollback/digits", json={"version": one[:8]}).json()["version"] == one
    assert answer_of(server, "digits") == 1


def test_what_cannot_be_rolled_back_to_says_why(server: RunningServer, http: httpx.Client) -> None:
    one, two = deploy(server, "cannot", 1, 2)
    assert f"There is {one[:12]}." in refused(http.post("/rollback/cannot", json={"version": "0000"}), 404, "not_found")
    assert "is live already" in refused(http.post("/rollback/cannot", json={"version": two}), 409, "conflict")
    assert "hexadecimal" in refused(http.post("/rollback/cannot", json={"version": "../x"}), 422, "invalid")
    assert "body.version" in refused(http.post("/rollback/cannot", json={"version": 1}), 422, "invalid")
    (only,) = deploy(server, "only", 1)
    assert "no other version" in refused(http.post("/rollback/only"), 409, "conflict")
    assert refused(http.post("/rollback/never"), 404, "not_found")
    assert "letters" in refused(http.post("/rollback/..%2f..%2fetc"), 422, "invalid")
    assert refused(http.get("/deployments/..%2f..%2fetc"), 404, "not_found")
    assert http.get("/rollback/only").status_code == 405
    assert answer_of(server, "cannot") == 2
    assert http.get("/deployments/only").json()["version"] == only


def test_a_version_that_cannot_be_built_any_more_leaves_the_live_one(
    server: RunningServer, http: httpx.Client, tmp_path: Path
) -> None:
    needed = tmp_path / "needed"
    needed.touch()
    server.client.deploy_files("broken", files(1, setup=f"open({str(needed)!r}).close()"), overwrite=True)
    (two,) = deploy(server, "broken", 2)
    needed.unlink()
    assert "setup() failed" in refused(http.post("/rollback/broken"), 422, "invalid")
    assert answer_of(server, "broken") == 2
    assert http.get("/deployments/broken").json()["versions"][0]["version"] == two


def test_an_undeploy_is_undone(server: RunningServer, http: httpx.Client) -> None:
    one, two = deploy(server, "gone", 1, 2)
    server.client.undeploy("gone")
    assert http.get("/status/gone").status_code == 404
    body = http.get("/deployments/gone").json()
    assert body["state"] == "Undeployed"
    assert [(row["version"], row["is_live"]) for row in body["versions"]] == [(two, False), (one, False)]
    assert body["history"][0]["how"] == "undeploy"
    with pytest.raises(ServerRefused, match="No deployment named 'gone'"):
        server.client.status_of("gone")
    assert http.post("/rollback/gone").json()["version"] == two
    assert answer_of(server, "gone") == 2


def test_runs_under_way_end_on_the_version_they_began_with(
    server: RunningServer, http: httpx.Client, tmp_path: Path
) -> None:
    deploy(server, "drained", "old")
    gate = Gate(tmp_path)
    waiting = {"pipeline_wrapper.py": wrapper(f"{gate.waits}\nreturn 'waited'").encode()}
    server.client.deploy_files("drained", waiting, overwrite=True)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(answer_of, server, "drained")
        gate.wait()
        assert http.post("/rollback/drained").status_code == 200
        assert answer_of(server, "drained") == "old"
        gate.open()
        assert run.result() == "waited"


def test_deploys_and_rollbacks_of_one_name_at_once_leave_one_of_them_whole(
    server: RunningServer, http: httpx.Client
) -> None:
    deploy(server, "raced", 0, 1)
    with ThreadPoolExecutor(4) as pool:
        deploys = [pool.submit(deploy, server, "raced", number) for number in range(2, 8)]
        rollbacks = [pool.submit(http.post, "/rollback/raced") for _ in range(6)]
        assert {one.result().status_code for one in rollbacks} == {200}
        for one in deploys:
            one.result()
    body = http.get("/deployments/raced").json()
    (live,) = [row for row in body["versions"] if row["is_live"]]
    assert live["version"] == body["version"] == body["history"][0]["version"]
    assert contents(server.pipelines_dir / "raced") == files(answer_of(server, "raced"))
    assert len(body["history"]) == 14


# The user's own directory


def test_a_users_directory_is_never_written_and_its_versions_are_rolled_back_to(
    server: RunningServer, http: httpx.Client
) -> None:
    mine = server.pipelines_dir / "mine"
    (uploaded,) = deploy(server, "mine", "uploaded")
    write(mine, {"notes.txt": b"edited"})
    server.wait_for_log("Reloaded mine")
    before = tree(mine)
    rows = http.get("/deployments/mine").json()["versions"]
    assert [row["how"] for row in rows] == ["reload", "deploy", "start"]
    edited, _, first = (row["version"] for row in rows)
    for version, answer in ((uploaded, "uploaded"), (first, "mine"), (edited, "mine")):
        assert http.post("/rollback/mine", json={"version": version}).json()["version"] == version
        assert answer_of(server, "mine") == answer
    assert http.post("/rollback/mine", json={"version": uploaded}).status_code == 200
    assert tree(mine) == before


def test_what_was_found_at_start_is_kept_while_runs_go_on_and_things_are_deployed(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    for name in names:
        write(tmp_path / "pipelines" / name, files(name))
    source = wrapper("arrive('run')", head="from .gates import arrive")
    write(tmp_path / "pipelines" / "waits", {"pipeline_wrapper.py": source, "gates.py": GATES_MODULE})
    with (
        Gates() as gates,
        running_server(tmp_path / "pipelines", env={"GATES_URL": gates.url}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(server.client.run, "waits")
        gates.wait("run")
        deploy(server, "other", 1, 2, 3)
        end = time.monotonic() + WAIT_S
        while not all(any(row.kept for row in server.client.versions(name).versions) for name in names):
            assert time.monotonic() < end
        gates.open("run")
        call.result(WAIT_S)


def test_rollbacks_outlive_a_restart_and_so_does_who_did_what(tmp_path: Path) -> None:
    mine = write(tmp_path / "pipelines" / "mine", files("mine"))
    before = tree(mine)
    with running_server(tmp_path / "pipelines") as first:
        one, _ = deploy(first, "sent", 1, 2)
        first.client.rollback("sent")
        deploy(first, "mine", "other", "another")
        first.client.rollback("mine")
        first.client.undeploy("sent")
        first.client.rollback("sent", one)
    with running_server(tmp_path / "pipelines") as second:
        assert (answer_of(second, "sent"), answer_of(second, "mine")) == (1, "other")
        assert [row.how for row in second.client.versions("sent").versions] == ["rollback", "deploy"]
        assert [row.how for row in second.client.versions("mine").versions] == ["rollback", "deploy", "start"]
        assert second.client.rollback("mine", second.client.versions("mine").versions[2].version).name == "mine"
        assert answer_of(second, "mine") == "mine"
    assert tree(mine) == before


# Trying out


def test_a_dry_run_builds_wholly_and_changes_nothing(server: RunningServer, http: httpx.Client, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = wrapper("return 2", setup=f"open({str(mark)!r}, 'a').write('set up ')", parameters="n: int")
    source += f"\n    def teardown(self):\n        open({str(mark)!r}, 'a').write('torn down')\n"
    (one,) = deploy(server, "tried", 1)
    state = [path for path in tree(server.pipelines_dir.parent) if "responses" not in path and "state.db" not in path]
    before = http.get("/deployments/tried").json()
    body = {"name": "tried", "files": {"pipeline_wrapper.py": source}, "dry_run": True}
    assert "exists" in refused(http.post("/deploy_files", json=body), 409, "conflict")
    told = http.post("/deploy_files", json={**body, "overwrite": True}).json()
    version = Bundle("tried", {"pipeline_wrapper.py": source.encode()}).version
    sentence = "run_api: $.n of the request is new and required."
    assert told["breaking"] == [sentence]
    assert sentence in told["changes"]
    assert (told["dry_run"], told["is_new"], told["version"]) == (True, False, version)
    assert mark.read_text() == "set up torn down"
    assert http.get("/deployments/tried").json() == before
    assert answer_of(server, "tried") == 1
    assert before["version"] == one
    after = [path for path in tree(server.pipelines_dir.parent) if "responses" not in path and "state.db" not in path]
    assert after == state


def test_a_dry_run_of_a_new_name_deploys_nothing(server: RunningServer, http: httpx.Client) -> None:
    tried = server.client.try_files("fresh", files(1))
    assert (tried.is_new, tried.changes, tried.breaking) == (True, (), ())
    form = http.post(
        "/deploy_files",
        data={"name": "fresh", "dry_run": "true"},
        files=[("files", ("pipeline_wrapper.py", files(1)["pipeline_wrapper.py"], "text/x-python"))],
    )
    assert form.json()["version"] == tried.version
    assert http.get("/deployments/fresh").status_code == 404
    assert http.post("/fresh/run", json={}).status_code == 404


def test_a_dry_run_gives_the_error_that_a_deploy_gives(server: RunningServer, http: httpx.Client) -> None:
    source = wrapper(setup="raise ConnectionError('no database')")
    body = {"name": "unreachable", "files": {"pipeline_wrapper.py": source}}
    answers = [http.post("/deploy_files", json={**body, "dry_run": is_dry}) for is_dry in (True, False)]
    assert "no database" in refused(answers[0], 422, "invalid")
    assert answers[0].json() == answers[1].json()
    assert "unreachable" not in http.get("/status").json()["failed"]
    assert http.get("/deployments/unreachable").status_code == 404


YAML = """
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "Dear {{ name }}", required_variables: ["name"]}
connections: []
inputs: {%s: prompt.name}
outputs: {prompt: prompt.prompt}
"""


def test_a_yaml_is_tried_out_too(server: RunningServer, http: httpx.Client) -> None:
    assert server.client.try_yaml("letter", YAML % "name").is_new
    server.client.deploy_yaml("letter", YAML % "name")
    tried = server.client.try_yaml("letter", YAML % "who", overwrite=True)
    assert any("$.who of the request is new and required" in sentence for sentence in tried.breaking)
    assert any("$.name of the request is no longer taken" in sentence for sentence in tried.breaking)
    assert "Dear Ada" in http.post("/letter/run", json={"name": "Ada"}).text


def test_a_rollback_does_not_guess_what_a_misspelt_version_means(server: RunningServer, http: httpx.Client) -> None:
    deploy(server, "spelt", 1, 2)
    assert "body.to_version" in refused(http.post("/rollback/spelt", json={"to_version": "abcd"}), 422, "invalid")
    assert answer_of(server, "spelt") == 2


def test_a_deploy_and_a_rollback_name_what_they_break(server: RunningServer) -> None:
    server.client.deploy_files("broke", files(1, parameters="q: str, top_k: int = 3"))
    deployed = server.client.deploy_files(
        "broke", files(1, parameters="question: str, top_k: float = 3"), overwrite=True
    )
    assert sorted(deployed.breaking) == [
        "run_api: $.q of the request is no longer taken: it is ignored.",
        "run_api: $.question of the request is new and required.",
    ]
    assert set(deployed.breaking) < set(deployed.changes)
    assert "run_api: $.top_k of the request no longer takes number." not in deployed.breaking
    back = server.client.rollback("broke")
    assert "run_api: $.top_k of the request was number, is integer." in back.breaking


# The command line


def test_the_command_line_lists_rolls_back_and_tries_out(server: RunningServer, tmp_path: Path) -> None:
    one, two = deploy(server, "spoken", 1, 2)

    def hayhooks(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hayhooks", "pipeline", *arguments, "--url", server.url]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    listed = hayhooks("versions", "spoken").stdout.splitlines()
    assert listed[0].split() == ["VERSION", "LIVE", "SINCE", "BY", "HOW", "SIZE"]
    assert [line.split()[0] for line in listed[1:]] == [two[:12], one[:12]]
    assert json.loads(hayhooks("versions", "spoken", "--json").stdout)["versions"][1]["version"] == one
    assert f"Version {one[:12]} is live again: 'spoken'" in hayhooks("rollback", "spoken").stdout
    assert answer_of(server, "spoken") == 1
    unknown = hayhooks("rollback", "spoken", "beef")
    assert (unknown.returncode, "has no version 'beef'" in unknown.stderr) == (1, True)
    directory = write(tmp_path / "spoken", files(3, parameters="n: int"))
    tried = hayhooks("deploy-files", str(directory), "-o", "--dry-run")
    assert "Nothing was changed." in tried.stdout
    assert "Breaks callers:\n  run_api: $.n of the request is new and required." in tried.stderr
    assert answer_of(server, "spoken") == 1


# Kept from others


def test_versions_are_for_those_who_manage_the_server(tmp_path: Path) -> None:
    write(tmp_path / "pipelines" / "a", files(1))
    with running_server(tmp_path / "pipelines", env={"HAYHOOKS_ADMIN_KEY": "secret"}) as server:
        stranger = httpx.get(f"{server.url}/deployments/a")
        assert stranger.json()["name"] == "a"
        assert not {"versions", "history"} & set(stranger.json())
        assert httpx.post(f"{server.url}/rollback/a").status_code == 401
        manager = Client(server.url, api_key="secret")
        assert [row.how for row in manager.versions("a").versions] == ["start"]
        manager.undeploy("a")
        assert httpx.get(f"{server.url}/deployments/a").status_code == 404
        assert manager.versions("a").state == "Undeployed"
