"""Changes with ``--workers N`` are made in all processes or in none, whatever happens to one of them meanwhile."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from hayhooks.core.bundle import Bundle
from hayhooks.server.workers import restart_delay_s
from hayhooks.store.disk import DiskStore
from tests.support.deployments import Gate
from tests.support.worker_pool import Pool, source, worker_pool

# The first process builds it, every other fails.
ONLY_ONCE = "try:\n    open({path!r}, 'x')\nexcept FileExistsError:\n    raise ValueError('only one of me') from None"
# The first process says who it is, every other waits.
SECOND_WAITS = "try:\n    open({path!r}, 'x').write(str(os.getpid()))\nexcept FileExistsError:\n{waits}"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    directory = tmp_path_factory.mktemp("agree")
    with worker_pool(directory, env={"HAYHOOKS_WORKER_TIMEOUT_S": "8"}) as pool:
        yield pool


@pytest.mark.parametrize("is_saved", [True, False])
def test_what_one_worker_cannot_build_is_live_in_none_and_the_caller_is_told_which_and_why(
    pool: Pool, tmp_path: Path, is_saved: bool
) -> None:
    name = f"picky-{is_saved}"
    refused = pool.deploy(name, source(1, ONLY_ONCE.format(path=str(tmp_path / "1"))), save_files=is_saved)
    assert refused.status_code == 500
    told = refused.json()["detail"]
    assert "nothing was changed" in told
    assert "only one of me" in told
    assert any(f"worker {pid}:" in told for pid in pool.workers)
    assert pool.numbers(name) == {None}
    assert pool.deploy(name, source(2), save_files=is_saved).status_code == 200
    refused = pool.deploy(name, source(3, ONLY_ONCE.format(path=str(tmp_path / "3"))), save_files=is_saved)
    assert refused.status_code == 500
    assert pool.numbers(name) == {2}
    assert pool.deploy(name, source(4), save_files=is_saved).status_code == 200
    assert pool.numbers(name) == {4}


def test_a_directory_of_the_users_stays_live_when_one_worker_cannot_build_what_is_to_replace_it(
    pool: Pool, tmp_path: Path
) -> None:
    pool.write("own", source(1))
    assert pool.deploy("own", source(2)).status_code == 200
    assert pool.deploy("own", source(3, ONLY_ONCE.format(path=str(tmp_path / "own")))).status_code == 500
    assert pool.numbers("own") == {2}


def test_nothing_changes_while_a_worker_does_not_answer(pool: Pool) -> None:
    assert pool.deploy("steady", source(1)).status_code == 200
    victim = min(pool.workers)
    os.kill(victim, signal.SIGSTOP)
    try:
        answer = pool.deploy("steady", source(2))
        assert answer.status_code == 504
        assert f"worker {victim} did not answer" in answer.json()["detail"]
    finally:
        os.kill(victim, signal.SIGCONT)
    assert pool.numbers("steady") == {1}
    assert pool.deploy("steady", source(3)).status_code == 200
    assert pool.numbers("steady") == {3}


def test_a_worker_that_is_killed_while_others_build_for_it_leaves_the_version_from_before(
    pool: Pool, tmp_path: Path
) -> None:
    assert pool.deploy("half", source(1)).status_code == 200
    gate, first = Gate(tmp_path), tmp_path / "first"
    waits = "\n".join(f"    {line}" for line in gate.waits.splitlines())
    waiting = source(2, SECOND_WAITS.format(path=str(first), waits=waits))

    def deploy() -> None:
        with pytest.raises(httpx.HTTPError):
            pool.deploy("half", waiting)

    thread = threading.Thread(target=deploy)
    thread.start()
    gate.wait()
    os.kill(int(first.read_text()), signal.SIGKILL)
    thread.join()
    gate.open()
    assert pool.numbers("half") == {1}
    assert pool.deploy("half", source(3)).status_code == 200
    assert pool.numbers("half") == {3}


def test_of_changes_of_one_name_at_the_same_time_the_last_wins_everywhere(pool: Pool) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda number: pool.deploy("raced", source(number)), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(pool.numbers("raced")) == 1
    with ThreadPoolExecutor(4) as threads:
        statuses = sorted(answer.status_code for answer in threads.map(lambda _: pool.undeploy("raced"), range(4)))
    assert statuses == [200, 404, 404, 404]
    assert pool.numbers("raced") == {None}


def test_all_follow_another_program_that_changes_the_same_state(pool: Pool) -> None:
    assert pool.deploy("foreign", source(1)).status_code == 200
    store = DiskStore(pool.directory / "pipelines", pool.directory / ".hayhooks" / "pipelines")
    try:
        store.set_live(store.put(Bundle("foreign", {"pipeline_wrapper.py": source(2).encode()})), save=True)
        while pool.numbers("foreign") != {2}:
            pass
        store.set_undeployed("foreign")
        while pool.numbers("foreign") != {None}:
            pass
    finally:
        store.close()


def test_what_the_workers_are_doing_adds_up_and_the_runs_of_the_dead_still_count(pool: Pool) -> None:
    assert pool.deploy("counted", source(1)).status_code == 200
    while (before := _workers(pool))["count"] != 2:  # one may be starting in the place of another
        pass
    pool.answers("counted", 10)
    while _workers(pool)["runs"] != before["runs"] + 10:
        pass
    told = _workers(pool)
    assert told["count"] == 2
    assert {worker["pid"] for worker in told["each"]} == pool.workers
    assert sum(worker["runs"] for worker in told["each"]) <= told["runs"]
    victim = min(pool.workers)
    os.kill(victim, signal.SIGKILL)
    pool.program.wait_for(f"Worker {victim} died")
    while _workers(pool)["runs"] != before["runs"] + 10:
        pass
    while len(ready := [worker for worker in _workers(pool)["each"] if worker["is_ready"]]) != 2:
        pass
    assert victim not in {worker["pid"] for worker in ready}


def test_a_directory_that_was_edited_is_served_by_all_when_a_worker_that_starts_later_finds_it(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "edited").mkdir(parents=True)
    (tmp_path / "pipelines" / "edited" / "pipeline_wrapper.py").write_text(source(1))
    with worker_pool(tmp_path) as pool:
        pool.write("edited", source(2))
        assert pool.numbers("edited") == {1}
        victim = min(pool.workers)
        os.kill(victim, signal.SIGKILL)
        pool.program.wait_for("edited was edited since the other workers started")
        assert pool.numbers("edited") == {2}
        # One that dies again and again is not started at once each time.
        for _ in range(2):
            victim = max(pool.workers, key=lambda pid: psutil.Process(pid).create_time())
            os.kill(victim, signal.SIGKILL)
            pool.program.wait_for(f"Worker {victim} died")
            assert pool.numbers("edited") == {2}


@pytest.mark.parametrize(("quick_ends", "delay_s"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (20, 30)])
def test_a_worker_that_dies_soon_after_its_start_is_replaced_later_each_time(quick_ends: int, delay_s: float) -> None:
    assert restart_delay_s(quick_ends) == delay_s


def test_an_edit_in_reload_mode_that_one_worker_cannot_build_is_live_in_none(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "edited").mkdir(parents=True)
    (tmp_path / "pipelines" / "edited" / "pipeline_wrapper.py").write_text(source(1))
    with worker_pool(tmp_path, "--reload") as pool:
        pool.write("edited", source(2, ONLY_ONCE.format(path=str(tmp_path / "once"))))
        pool.program.wait_for("edited.* could not be reloaded; its previous version stays live")
        assert pool.numbers("edited") == {1}
        pool.write("edited", source(3))
        while pool.numbers("edited") != {3}:
            pass


def _workers(pool: Pool) -> Any:
    return httpx.get(f"{pool.url}/status", headers={"connection": "close"}).json()["workers"]
