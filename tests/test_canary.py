"""A canary takes its share of the runs beside the live version, until it is promoted, aborted, or fails too often."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from hayhooks.cli.app import cli
from hayhooks.client import ServerRefused
from hayhooks.testing import RunningServer, running_server
from tests.support.gates import WAIT_S, Gates
from tests.test_replace import HELD, call, expected, held, whole

# Answers with its version by every surface, and fails as it is told.
SOURCE = """
import json

from fastapi import HTTPException

from hayhooks import BasePipelineWrapper, current_run

VERSION = {version!r}


class PipelineWrapper(BasePipelineWrapper):
    {attributes}

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self, how: str = "well") -> str:
        if how in ("fail", VERSION):
            raise RuntimeError("as told")
        if how == "answer":
            raise HTTPException(418, "as told")
        return VERSION

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict):
        yield VERSION

    def run_embedding(self, model, inputs, body):
        return [[float(VERSION == "new")] for _ in inputs]

    def run_file_upload(self, filename, content_type, content, purpose):
        return {{"filename": VERSION}}
"""


def files(version: str, attributes: str = "pass") -> dict[str, bytes]:
    return {"pipeline_wrapper.py": SOURCE.format(version=version, attributes=attributes).encode()}


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("canary") / "pipelines", env={"GATES_URL": gates.url}) as server:
        yield server


@pytest.fixture
def web(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=WAIT_S) as web:
        yield web


def begin(server: RunningServer, name: str, percent: int = 10, **plan: Any) -> None:
    """Deploy ``old``, and ``new`` beside it."""
    server.client.deploy_files(name, files("old"), overwrite=True)
    server.client.deploy_files(name, files("new"), canary=percent, **plan)


def results(web: httpx.Client, name: str, count: int, how: str = "well", **headers: str) -> list[str]:
    """What *count* runs answer: a version, or a status."""
    answers = [web.post(f"/{name}/run", json={"how": how}, headers=headers) for _ in range(count)]
    return [answer.json()["result"] if answer.status_code == 200 else str(answer.status_code) for answer in answers]


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_a_canary_gets_its_share_of_the_runs(server: RunningServer, web: httpx.Client, percent: int) -> None:
    name = f"share-{percent}"
    begin(server, name, percent)
    counts = Counter(results(web, name, 400))
    assert abs(counts["new"] - 4 * percent) <= 4
    assert counts["old"] == 400 - counts["new"]
    status = server.client.canary(name)
    assert (status.state, status.percent) == ("running", percent)
    assert (status.runs, status.stable_runs, status.failures) == (counts["new"], counts["old"], 0)


def test_callers_who_take_turns_each_get_their_share(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "turns", 25)
    answers = results(web, "turns", 240)
    for period in (2, 3, 4, 5, 10):
        for place in range(period):
            share = answers[place::period].count("new") / len(answers[place::period])
            assert 0.1 < share < 0.4, (period, place)


def test_a_session_stays_on_its_version_also_after_a_restart(tmp_path: Path) -> None:
    seen: list[dict[str, set[str]]] = []
    for is_first in (True, False):
        with (
            running_server(tmp_path / "pipelines") as server,
            httpx.Client(base_url=server.url, timeout=WAIT_S) as web,
        ):
            if is_first:
                begin(server, "stays", 50)
            sessions = [f"chat-{number}" for number in range(12)]
            seen.append({chat: set(results(web, "stays", 50, **{"x-openwebui-chat-id": chat})) for chat in sessions})
            server.client.change_canary("stays", 99 if is_first else 50)
            server.client.change_canary("stays", 50)
    assert seen[0] == seen[1]
    assert all(len(versions) == 1 for versions in seen[0].values())
    assert {version for versions in seen[0].values() for version in versions} == {"old", "new"}


def test_a_session_of_a_canary_stays_on_it_when_its_share_grows(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "grows", 30)
    sessions = [{"x-openwebui-user-id": f"user-{number}"} for number in range(40)]
    before = [results(web, "grows", 1, **session) for session in sessions]
    assert server.client.change_canary("grows", 60).percent == 60
    after = [results(web, "grows", 1, **session) for session in sessions]
    assert before.count(["new"]) < after.count(["new"]) < len(sessions)
    assert all(new == ["new"] for old, new in zip(before, after, strict=True) if old == ["new"])


def said(web: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = web.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_surface_goes_through_a_canary(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "doors", 50)
    chat = {"model": "doors", "messages": [{"role": "user", "content": "?"}]}

    def plain() -> str:
        return str(said(web, "/v1/chat/completions", chat)["choices"][0]["message"]["content"])

    def streamed() -> str:
        lines = web.post("/doors/chat", json={**chat, "stream": True}).text.splitlines()
        parts = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return "".join(choice["delta"].get("content") or "" for part in parts for choice in part["choices"])

    def anthropic() -> str:
        return str(said(web, "/v1/messages", {**chat, "max_tokens": 9})["content"][0]["text"])

    def response() -> str:
        return str(said(web, "/v1/responses", {"model": "doors", "input": "?"})["output"][0]["content"][0]["text"])

    def background() -> str:
        body = said(web, "/v1/responses", {"model": "doors", "input": "?", "background": True})
        events = web.get(f"/v1/responses/{body['id']}?stream=true").text
        return next(version for version in ("old", "new") if f'"text":"{version}"' in events)

    def embedding() -> str:
        vector = said(web, "/v1/embeddings", {"model": "doors", "input": "?"})["data"][0]["embedding"]
        return "new" if vector == [1.0] else "old"

    def upload() -> str:
        data = {"purpose": "user_data", "model": "doors"}
        return str(web.post("/v1/files", data=data, files={"file": ("a", b"a")}).json()["filename"])

    runs = 0
    for door in (plain, streamed, anthropic, response, background, embedding, upload):
        seen: set[str] = set()
        while seen != {"old", "new"}:
            seen.add(door())
            runs += 1
            assert runs < 700, (door.__name__, seen)
    status = server.client.canary("doors")
    assert status.runs + status.stable_runs == runs


def test_a_conversation_that_goes_on_keeps_its_version(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "talks", 50)
    versions = set()
    for _ in range(8):
        previous: dict[str, str] = {}
        talk = []
        for _ in range(4):
            body = said(web, "/v1/responses", {"model": "talks", "input": "?", **previous})
            previous = {"previous_response_id": body["id"]}
            talk.append(body["output"][0]["content"][0]["text"])
        # The response that begins it has a session of its own, which all that follow go on with.
        assert len(set(talk)) == 1
        versions |= set(talk)
        conversation = said(web, "/v1/conversations", {})["id"]
        body = {"model": "talks", "input": "?", "conversation": conversation}
        assert len({said(web, "/v1/responses", body)["output"][0]["content"][0]["text"] for _ in range(3)}) == 1
    assert versions == {"old", "new"}


def test_a_canary_that_fails_is_aborted_and_callers_see_few_of_its_failures(
    server: RunningServer, web: httpx.Client
) -> None:
    begin(server, "fails", 50, min_runs=5, max_error_percent=20)
    counts = Counter(results(web, "fails", 200, how="new"))
    assert counts == {"500": 5, "old": 195}
    server.wait_for_log(r"ERROR.*Canary \w{12} of fails was aborted by the server: 5 of 5 runs failed \(100\.0 %")
    last = server.client.canary("fails").last_outcome
    assert last is not None
    assert (last["state"], last["is_automatic"], last["runs"], last["failures"]) == ("aborted", True, 5, 5)
    assert "5 of 5 runs failed" in last["reason"]
    about = web.get("/deployments/fails").json()
    assert about["canary"] is None
    assert about["last_canary"] == last


def test_a_canary_that_times_out_is_aborted(server: RunningServer, web: httpx.Client) -> None:
    server.client.deploy_files("late", files("old"))
    late = files("new", "run_timeout_s = 0.05")["pipeline_wrapper.py"].replace(
        b"return VERSION", b"import time; time.sleep(0.3); return VERSION"
    )
    server.client.deploy_files("late", {"pipeline_wrapper.py": late}, canary=99, min_runs=2)
    counts = Counter(results(web, "late", 12))
    assert counts["504"] == 2
    server.wait_for_log(r"Canary \w{12} of late was aborted by the server")
    assert server.client.canary("late").state == "none"


def test_a_canary_goes_on_when_the_live_version_fails_as_often(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "both", 50, min_runs=5)
    assert set(results(web, "both", 60, how="fail")) == {"500"}
    status = server.client.canary("both")
    assert status.state == "running"
    assert status.failures == status.runs
    assert status.stable_failures == status.stable_runs > 0


def test_what_callers_get_wrong_and_what_hooks_answer_is_no_failure(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "wrong", 99, min_runs=3)
    results(web, "wrong", 3)
    for _ in range(10):
        assert web.post("/wrong/run", json={"how": 7}).status_code == 422
    assert set(results(web, "wrong", 10, how="answer")) == {"418"}
    status = server.client.canary("wrong")
    assert (status.state, status.failures, status.stable_failures) == ("running", 0, 0)
    assert status.runs + status.stable_runs == 13


async def test_a_canary_is_promoted_under_load_without_a_lost_call_or_a_mixed_one(server: RunningServer) -> None:
    await asyncio.to_thread(server.client.deploy_files, "load", whole(0))
    answered: Counter[int] = Counter()
    is_over, changed = asyncio.Event(), asyncio.Condition()

    async def keep_calling(web: httpx.AsyncClient) -> None:
        while not is_over.is_set():
            answer = await web.post("/load/run", json={})
            assert answer.status_code == 200, answer.text
            versions = set(answer.json()["result"])
            assert len(versions) == 1, f"mixed: {versions}"
            answered[versions.pop()] += 1
            async with changed:
                changed.notify_all()

    async def reached(version: int, count: int) -> None:
        async with changed:
            await changed.wait_for(lambda: answered[version] >= count)

    async def keep_trying() -> None:
        for version in range(1, 21):
            await asyncio.to_thread(server.client.deploy_files, "load", whole(version), canary=50)
            before = answered[version]
            await reached(version, before + 3)
            if version % 3:
                await asyncio.to_thread(server.client.promote, "load")
            else:
                await asyncio.to_thread(server.client.abort, "load")
        is_over.set()

    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_S) as web, asyncio.TaskGroup() as group:
        group.create_task(keep_trying())
        for _ in range(8):
            group.create_task(keep_calling(web))
    assert set(answered) == {*range(21)}
    assert server.client.run("load").result == [20] * 11


@pytest.mark.parametrize("how", ["abort", "promote", "undeploy", "overwrite", "another"])
def test_runs_of_both_versions_end_on_the_one_they_began_with(server: RunningServer, gates: Gates, how: str) -> None:
    name, old, new = f"drains-{how}", f"old-{how}", f"new-{how}"
    server.client.deploy_files(name, held(old))
    server.client.deploy_files(name, held(new), canary=50)
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(call, server, name, "plain") for _ in range(8)]
        gates.wait(f"plain-{old}", 3)
        gates.wait(f"plain-{new}", 3)
        while gates.count(f"plain-{old}") + gates.count(f"plain-{new}") < len(runs):
            pass  # a call that has not begun yet would find what comes now
        match how:
            case "abort":
                server.client.abort(name)
            case "promote":
                server.client.promote(name)
            case "undeploy":
                server.client.undeploy(name)
            case "overwrite":
                server.client.deploy_files(name, held("third"), overwrite=True)
            case "another":
                server.client.deploy_files(name, held("third"), canary=50)
        assert (gates.count(f"teardown-{old}"), gates.count(f"teardown-{new}")) == (0, 0)
        gates.open(f"plain-{old}")
        gates.open(f"plain-{new}")
        answers = Counter(run.result(WAIT_S) for run in runs)
    assert set(answers) == {expected("plain", old), expected("plain", new)}
    gone = {"abort": [new], "promote": [old], "undeploy": [old, new], "overwrite": [old, new], "another": [new]}[how]
    for version in gone:
        gates.wait(f"teardown-{version}")
    assert [gates.count(f"teardown-{version}") for version in (old, new)] == [int(v in gone) for v in (old, new)]
    if how not in ("undeploy", "another"):
        assert server.client.canary(name).state == "none"


def test_the_deployment_that_is_live_and_its_canary_are_both_shown(server: RunningServer, web: httpx.Client) -> None:
    begin(server, "shown", 20, max_error_percent=5, min_runs=50)
    row = next(row for row in web.get("/status").json()["deployments"] if row["name"] == "shown")
    body = web.get("/canary/shown").json()
    assert row["canary"] == {"version": body["version"], "percent": 20}
    assert row["version"] == body["stable_version"] != body["version"]
    assert (body["max_error_percent"], body["min_runs"], body["last_outcome"]) == (5, 50, None)
    assert server.client.promote("shown").version == body["version"]
    assert web.get("/deployments/shown").json()["version"] == body["version"]
    last = web.get("/canary/shown").json()["last_outcome"]
    assert (last["state"], last["version"]) == ("promoted", body["version"])
    server.wait_for_log("Canary .* of shown was promoted")


OLD, NEW = (files(version)["pipeline_wrapper.py"].decode() for version in ("old", "new"))
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"canary": 0}, 422, "greater than or equal to 1"),
    ({"canary": 100}, 422, "less than or equal to 99"),
    ({"canary": 10.5}, 422, "valid integer"),
    ({"canary": "10"}, 422, "valid integer"),
    ({"canary": 10, "max_error_percent": 101}, 422, "less than or equal to 100"),
    ({"canary": 10, "min_runs": 0}, 422, "greater than or equal to 1"),
    ({"min_runs": 5}, 422, "is for a canary"),
    ({"canary": 10, "save_files": False}, 422, "without saving"),
    ({"canary": 10, "name": "nowhere"}, 409, "needs a live version"),
    ({"canary": 10, "files": {"pipeline_wrapper.py": OLD}}, 409, "live already"),
    ({"canary": 10, "files": {"pipeline_wrapper.py": "raise ValueError('no')"}}, 422, "no"),
    ({"canary": 10, "files": {"pipeline_wrapper.py": HELD.format(version="x"), "gates.py": ""}}, 422, "run_embedding"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "status", "why"), REFUSED)
def test_a_canary_that_cannot_be_is_refused_and_says_why(
    server: RunningServer, web: httpx.Client, more: dict[str, Any], status: int, why: str
) -> None:
    server.client.deploy_files("firm", files("old"), overwrite=True)
    body = {"name": "firm", "files": {"pipeline_wrapper.py": NEW}, **more}
    answer = web.post("/deploy_files", json=body)
    assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.text
    tried = web.post("/deploy_files", json={**body, "dry_run": True})
    assert (tried.status_code, tried.json()) == (status, answer.json())
    assert server.client.canary("firm").state == "none"
    assert results(web, "firm", 3) == ["old"] * 3


def test_a_form_may_ask_for_a_canary(server: RunningServer, web: httpx.Client) -> None:
    server.client.deploy_files("form", files("old"))
    server.client.deploy_files("form", {**files("new"), "x.bin": b"\xff"}, canary=30, max_error_percent=2.5, min_runs=9)
    body = web.get("/canary/form").json()
    assert (body["percent"], body["max_error_percent"], body["min_runs"]) == (30, 2.5, 9)
    for field, value in (("canary", "many"), ("canary", "1e1"), ("min_runs", "true")):
        form = {"name": "form", "canary": "5", field: value}
        answer = web.post("/deploy_files", data=form, files={"files": ("pipeline_wrapper.py", b"x")})
        assert answer.status_code == 422, (field, value)


def test_the_command_line_begins_shows_changes_and_ends_canaries(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hayhooks(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["pipeline", "--url", server.url, *arguments])
        return done.exit_code, done.output

    monkeypatch.chdir(tmp_path)
    server.client.deploy_files("typed", files("old"))
    (tmp_path / "typed").mkdir()
    (tmp_path / "typed" / "pipeline_wrapper.py").write_bytes(files("new")["pipeline_wrapper.py"])
    assert hayhooks("canary", "typed") == (0, "'typed' has no canary.\n")
    code, said = hayhooks("deploy-files", "typed", "--min-runs", "5")
    assert (code, "--canary 10" in said) == (1, True)
    code, said = hayhooks("rollback", "typed")
    assert (code, "no other version" in said, "--overwrite" in said) == (1, True, False)
    code, said = hayhooks("deploy-files", "typed", "--canary", "10", "--dry-run")
    assert (code, "would be a canary with 10 % of the runs. Nothing was changed." in said) == (0, True), said
    code, said = hayhooks("deploy-files", "typed", "--canary", "10", "--max-error-percent", "5", "--min-runs", "50")
    assert (code, "as a canary with 10 % of the runs" in said) == (0, True), said
    code, said = hayhooks("canary", "typed", "--percent", "20")
    assert "more than 5 % of at least 50 runs" in said
    assert [line.split()[2] for line in said.splitlines() if line.startswith(("canary", "live"))] == ["20", "80"]
    code, said = hayhooks("abort", "typed")
    assert (code, "gets no more runs" in said) == (0, True), said
    assert "was aborted at" in hayhooks("canary", "typed")[1]
    code, said = hayhooks("promote", "typed", "--json")
    assert (code, "has no canary" in said) == (1, True)
    assert server.client.run("typed").result == "old"


def test_what_is_no_canary_can_be_neither_promoted_nor_aborted_nor_changed(
    server: RunningServer, web: httpx.Client
) -> None:
    server.client.deploy_files("plain", files("old"), overwrite=True)
    for path in ("/canary/plain/promote", "/canary/plain/abort", "/canary/nowhere/abort", "/canary/plain/other"):
        assert web.post(path).status_code == 404, path
    assert web.post("/canary/plain", json={"percent": 5}).status_code == 404
    assert web.post("/canary/plain", json={}).status_code == 422
    assert "body.min_run:" in web.post("/canary/plain", json={"percent": 5, "min_run": 50}).json()["detail"]
    assert web.get("/canary/nowhere").status_code == 404
    assert web.get("/canary/plain/promote").status_code == 405
    with pytest.raises(ServerRefused, match="has no canary"):
        server.client.promote("plain")


def test_a_server_that_is_killed_serves_the_canary_again_with_its_counts(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    mine = pipelines / "mine"
    mine.mkdir(parents=True)
    (mine / "pipeline_wrapper.py").write_bytes(files("old")["pipeline_wrapper.py"])
    for step in ("begin", "promote", "check"):
        with (
            running_server(pipelines) as server,
            httpx.Client(base_url=server.url, timeout=WAIT_S) as web,
        ):
            match step:
                case "begin":
                    server.client.deploy_files("mine", files("new"), canary=40, min_runs=7)
                    results(web, "mine", 50)
                    assert server.client.canary("mine").runs == 20  # asking stores what was counted
                case "promote":
                    status = server.client.canary("mine")
                    assert (status.state, status.percent, status.raw["min_runs"]) == ("running", 40, 7)
                    assert (status.runs, status.stable_runs) == (20, 30)
                    assert set(results(web, "mine", 20)) == {"old", "new"}
                    server.client.promote("mine")
                case "check":
                    assert server.client.canary("mine").state == "none"
                    assert set(results(web, "mine", 20)) == {"new"}
            server.stop(signal.SIGKILL)
    assert (mine / "pipeline_wrapper.py").read_bytes() == files("old")["pipeline_wrapper.py"]


def test_a_canary_that_cannot_be_built_at_a_start_is_aborted_and_the_live_version_serves(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    needs = files("new")["pipeline_wrapper.py"] + f"\nopen({str(flag)!r})\n".encode()
    with running_server(tmp_path / "pipelines") as server:
        server.client.deploy_files("needs", files("old"))
        server.client.deploy_files("needs", {"pipeline_wrapper.py": needs}, canary=50)
    flag.unlink()
    with running_server(tmp_path / "pipelines") as server:
        last = server.client.canary("needs").last_outcome
        assert last is not None
        assert (last["state"], last["is_automatic"]) == ("aborted", True)
        assert server.client.run("needs").result == "old"
        assert server.client.status().failed == {}


def test_a_live_version_that_was_edited_while_no_server_ran_has_no_canary(tmp_path: Path) -> None:
    with running_server(tmp_path / "pipelines") as server:
        begin(server, "edited", 50)
    (tmp_path / "pipelines" / "edited" / "pipeline_wrapper.py").write_bytes(files("mended")["pipeline_wrapper.py"])
    with running_server(tmp_path / "pipelines") as server:
        status = server.client.canary("edited")
        assert (status.state, status.last_outcome and status.last_outcome["state"]) == ("none", "replaced")
        assert [server.client.run("edited").result for _ in range(4)] == ["mended"] * 4
