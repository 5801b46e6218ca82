"""``hayhooks run --workers N``: several processes that serve the same, whichever of them was told."""

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from hayhooks.client import Client
from tests.support.program import Program, running
from tests.support.wrapper_source import wrapper

# Says which process answers.
SOURCE = "import os\n" + wrapper().replace("'hello ' + name", "f'{NUMBER} {os.getpid()}'")
COUNT = 2


def source(number: int) -> str:
    return SOURCE.replace("{NUMBER}", str(number))


def arguments(*more: str) -> tuple[str, ...]:
    return ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", "--workers", str(COUNT), *more)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("workers")
    (directory / "pipelines" / "first").mkdir(parents=True)
    (directory / "pipelines" / "first" / "pipeline_wrapper.py").write_text(source(0))
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Program]:
    with running(directory, *arguments()) as server:
        server.wait_for("Listening on")
        yield server
        server.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def url(server: Program) -> str:
    return server.wait_for(r"Listening on (http://\S+)")[1]


def answers(url: str, name: str, calls: int = 40) -> list[httpx.Response]:
    """Answers over connections of their own, so that every process gets some of them."""

    def one(_: int) -> httpx.Response:
        with httpx.Client(verify=False, headers={"connection": "close"}) as web:  # no TLS, no certificates to read
            return web.post(f"{url}/{name}/run", json={})

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(calls)))


def numbers_and_processes(url: str, name: str) -> tuple[set[str], set[int]]:
    found = [answer.json()["result"].split() for answer in answers(url, name)]
    return {number for number, _ in found}, {int(process) for _, process in found}


def deploy(url: str, name: str, number: int, **more: object) -> httpx.Response:
    body = {"name": name, "files": {"pipeline_wrapper.py": source(number)}, **more}
    return httpx.post(f"{url}/deploy_files", json=body, timeout=90)


def test_all_serve_what_lay_there_at_the_start(url: str) -> None:
    numbers, processes = numbers_and_processes(url, "first")
    assert numbers == {"0"}
    assert len(processes) > 1


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_deploy_answers_when_all_serve_it(url: str, is_saved: bool) -> None:
    name = f"told-{is_saved}"
    for number in range(1, 6):
        assert deploy(url, name, number, overwrite=True, save_files=is_saved).status_code == 200
        numbers, _ = numbers_and_processes(url, name)
        assert numbers == {str(number)}
    assert httpx.post(f"{url}/undeploy/{name}", timeout=90).status_code == 200
    assert {answer.status_code for answer in answers(url, name)} == {404}


def test_deploys_of_different_names_through_different_processes_all_take_effect(url: str) -> None:
    names = [f"many-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        deployed = list(pool.map(lambda name: deploy(url, name, 7), names))
    assert {answer.status_code for answer in deployed} == {200}
    for name in names:
        assert numbers_and_processes(url, name)[0] == {"7"}


def test_a_deploy_that_fails_changes_nothing_anywhere(url: str) -> None:
    body = {"name": "first", "files": {"pipeline_wrapper.py": "raise ValueError('no')"}, "overwrite": True}
    assert httpx.post(f"{url}/deploy_files", json=body, timeout=90).status_code == 422
    assert numbers_and_processes(url, "first")[0] == {"0"}


def test_undeploying_a_directory_of_the_users_undeploys_it_everywhere_and_keeps_it(url: str, directory: Path) -> None:
    assert deploy(url, "first", 1).status_code == 409
    assert httpx.post(f"{url}/undeploy/first", timeout=90).status_code == 200
    assert {answer.status_code for answer in answers(url, "first")} == {404}
    assert (directory / "pipelines" / "first" / "pipeline_wrapper.py").exists()
    assert deploy(url, "first", 2).status_code == 200
    assert numbers_and_processes(url, "first")[0] == {"2"}


def test_a_process_that_dies_is_replaced_by_one_that_serves_the_same(server: Program, url: str) -> None:
    assert deploy(url, "lasting", 3, save_files=False).status_code == 200
    _, processes = numbers_and_processes(url, "lasting")
    victim = min(processes)
    os.kill(victim, signal.SIGKILL)
    server.wait_for(f"Worker {victim} died")
    assert deploy(url, "lasting", 4, overwrite=True, save_files=False).status_code == 200  # nobody waits for the dead
    while True:
        numbers, now = numbers_and_processes(url, "lasting")
        assert numbers == {"4"}
        if now - processes:
            return


def test_unsaved_deployments_are_gone_after_a_restart_and_saved_ones_are_not(tmp_path: Path) -> None:
    for is_first in (True, False):
        with running(tmp_path, *arguments()) as server:
            url = server.wait_for(r"Listening on (http://\S+)")[1]
            if is_first:
                assert deploy(url, "saved", 1).status_code == 200
                assert deploy(url, "unsaved", 1, save_files=False).status_code == 200
            else:
                assert httpx.get(f"{url}/status").json()["pipelines"] == ["saved"]
            assert server.end(signal.SIGTERM) == 0


def test_no_process_outlives_the_one_that_started_them(tmp_path: Path) -> None:
    with running(tmp_path, *arguments()) as server:
        server.wait_for("Listening on")
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) >= COUNT
        server.process.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive


def test_all_know_the_keys_and_one_admin_key_is_made_for_all(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "greet").mkdir(parents=True)
    (tmp_path / "pipelines" / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    with running(tmp_path, *arguments("--host", "0.0.0.0")) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1].replace("0.0.0.0", "127.0.0.1")
        [admin] = re.findall(r"hay_\w+", server.output)
        made = Client(url, api_key=admin).create_key("ci", ["run"])
        assert statuses(url, made.key) == {200}  # at once, in every process
        Client(url, api_key=admin).revoke_key(made.info.id)
        revoked_s = time.monotonic()
        while statuses(url, made.key) != {401}:
            assert time.monotonic() - revoked_s < 10
        server.end(signal.SIGTERM)


def statuses(url: str, key: str) -> set[int]:
    """Those of calls with *key* over connections of their own."""
    headers = {"connection": "close", "x-api-key": key}
    with httpx.Client(verify=False, headers=headers) as web:  # no TLS, no certificates to read
        return {web.post(f"{url}/greet/run", json={}).status_code for _ in range(20)}


def test_a_worker_that_cannot_start_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif any('spawn_main' in part for part in sys.orig_argv):\n    raise SystemExit(3)\n"
    )
    with running(tmp_path, *arguments(), env={"PYTHONPATH": str(tmp_path)}) as server:
        assert server.end() != 0
        assert "A worker could not start" in server.output


def test_reload_works_in_every_worker(tmp_path: Path) -> None:
    directory = tmp_path / "pipelines" / "edited"
    directory.mkdir(parents=True)
    (directory / "pipeline_wrapper.py").write_text(source(1))
    with running(tmp_path, *arguments("--reload")) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]
        (directory / "pipeline_wrapper.py").write_text(source(2))
        while numbers_and_processes(url, "edited")[0] != {"2"}:
            pass


def test_all_workers_serve_the_same_canary_and_count_together(tmp_path: Path) -> None:
    with running(tmp_path, *arguments()) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]

        def counted(word: str) -> int:
            """How many runs are counted by now, at the latest a moment after they have ended."""
            return int(httpx.get(f"{url}/canary/tried", timeout=90).json().get(word) or 0)

        assert deploy(url, "tried", 1).status_code == 200
        assert deploy(url, "tried", 2, canary=50).status_code == 200
        found = [answer.json()["result"].split() for answer in answers(url, "tried")]
        assert {number for number, _ in found} == {"1", "2"}
        assert len({process for number, process in found if number == "2"}) == COUNT
        while counted("runs") + counted("stable_runs") < len(found):
            pass
        assert counted("runs") == [number for number, _ in found].count("2")
        assert httpx.post(f"{url}/canary/tried", json={"percent": 99}, timeout=90).status_code == 200
        assert [answer.json()["result"][0] for answer in answers(url, "tried")].count("2") >= 35
        assert httpx.post(f"{url}/canary/tried/abort", timeout=90).status_code == 200
        assert numbers_and_processes(url, "tried")[0] == {"1"}

        assert deploy(url, "tried", 3, canary=50).status_code == 200
        assert httpx.post(f"{url}/canary/tried/promote", timeout=90).status_code == 200
        assert numbers_and_processes(url, "tried")[0] == {"3"}

        failing = {"pipeline_wrapper.py": source(4).replace("return ", "raise ValueError(name) or ")}
        body = {"name": "tried", "files": failing, "canary": 50, "min_runs": 12, "max_error_percent": 50}
        assert httpx.post(f"{url}/deploy_files", json=body, timeout=90).status_code == 200
        statuses: list[int] = []
        while httpx.get(f"{url}/canary/tried", timeout=90).json()["state"] != "none":
            statuses += [answer.status_code for answer in answers(url, "tried", 8)]
        last = httpx.get(f"{url}/canary/tried", timeout=90).json()["last_outcome"]
        assert (last["state"], last["is_automatic"]) == ("aborted", True)
        assert 12 <= last["failures"] <= statuses.count(500)
        server.wait_for("Canary .* of tried was aborted by the server: ")
        while True:  # the other process has seen it, too, within a second
            if {answer.status_code for answer in answers(url, "tried")} == {200}:
                break


def test_a_canary_that_another_worker_cannot_build_is_aborted_and_the_deploy_says_so(tmp_path: Path) -> None:
    once = tmp_path / "once"
    with running(tmp_path, *arguments()) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]
        assert deploy(url, "shy", 1).status_code == 200
        shy = f"open({str(once)!r}, 'x')\n" + source(2)
        body = {"name": "shy", "files": {"pipeline_wrapper.py": shy}, "canary": 50}
        answer = httpx.post(f"{url}/deploy_files", json=body, timeout=90)
        assert answer.status_code == 422
        assert "could not be built" in answer.json()["detail"]
        server.wait_for("The canary of 'shy' could not be built")
        while numbers_and_processes(url, "shy")[0] != {"1"}:
            pass


def test_a_rollback_is_followed_by_all_and_so_is_the_undoing_of_an_undeploy(url: str) -> None:
    for number in (1, 2):
        assert deploy(url, "back", number, overwrite=True).status_code == 200
    for expected in ("1", "2", "1"):
        assert httpx.post(f"{url}/rollback/back", timeout=90).status_code == 200
        assert numbers_and_processes(url, "back")[0] == {expected}
    assert httpx.post(f"{url}/undeploy/back", timeout=90).status_code == 200
    assert {answer.status_code for answer in answers(url, "back")} == {404}
    assert httpx.post(f"{url}/rollback/back", timeout=90).status_code == 200
    assert numbers_and_processes(url, "back")[0] == {"1"}
    history = httpx.get(f"{url}/deployments/back").json()["history"]
    assert [change["how"] for change in history] == ["rollback", "undeploy", *["rollback"] * 3, "deploy", "deploy"]


def test_a_directory_of_the_users_is_rolled_back_to_in_all(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "mine").mkdir(parents=True)
    (tmp_path / "pipelines" / "mine" / "pipeline_wrapper.py").write_text(source(1))
    with running(tmp_path, *arguments()) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]
        assert deploy(url, "mine", 2, overwrite=True).status_code == 200
        assert httpx.post(f"{url}/rollback/mine", timeout=90).status_code == 200
        assert numbers_and_processes(url, "mine")[0] == {"1"}
        assert [row["how"] for row in httpx.get(f"{url}/deployments/mine").json()["history"]] == [
            "rollback", "deploy", "start",
        ]  # fmt: skip
