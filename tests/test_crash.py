"""A server that is killed: at every step of its store, and at any moment of a deploy."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hayhooks.client import BrokenAnswer, ServerUnreachable
from hayhooks.core.bundle import Bundle
from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import Gate, wrapper, write
from tests.support.killed_store import SCENARIOS

ROUNDS = int(os.environ.get("HAYHOOKS_CRASH_ROUNDS", "4"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_the_step_at_which_a_store_is_cut_short_a_restart_finds_the_old_version_or_the_new(name: str) -> None:
    scenario = SCENARIOS[name]
    command = [sys.executable, "-m", "tests.support.killed_store", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    cuts = [json.loads(line) for line in done.stdout.splitlines()]
    users = {path: content.decode() for path, content in scenario.users.items()}
    old, new = (
        None if files is None else {path: files[path].decode() for path in sorted(files)}
        for files in (scenario.old, scenario.new)
    )
    versions = {
        is_new: None if files is None else Bundle("a", files).version
        for is_new, files in ((True, scenario.new), (False, scenario.old))
    }
    assert len(cuts) > 5
    assert sum("last" in cut for cut in cuts) > len(cuts) / 4
    for cut in cuts:
        first, second = cut["found"]
        assert first in (old, new), cut
        assert second == first, cut
        assert {path: cut["shown"].get(path) for path in users} == users, cut
        if "last" in cut:
            assert cut["last"], cut
            assert cut["undeployed"] is None, cut
            assert (cut["left"], cut["stray"]) == (users, []), cut
        if first == new:
            assert cut["history"] == versions[True], cut
        elif cut["history"] is not None:
            assert cut["history"] == versions[False], cut
    assert [cut["found"][0] for cut in cuts if cut["is_complete"]] == [new]
    order = [cut["found"][0] == new for cut in cuts]
    assert order == sorted(order), "once the new version is found it stays so"


def _files(number: int) -> dict[str, bytes]:
    """Version *number*: its answer is read from several files, so that a mixture shows."""
    head = "from pathlib import Path\nfrom .part import NUMBER\n"
    run = "return [NUMBER, int((Path(__file__).parent / 'data' / 'number.bin').read_bytes()), self.number]"
    source = wrapper(run, setup=f"self.number = {number}", head=head)
    files = {"pipeline_wrapper.py": source, "part.py": f"NUMBER = {number}\n", "data/number.bin": str(number)}
    # Many small files, so that there is much to be interrupted.
    return {
        path: text.encode() for path, text in {**files, **{f"more/{n}.txt": f"{number}" for n in range(20)}}.items()
    }


def _overwrite_until_killed(server: RunningServer, number: int, answered: list[int]) -> None:
    """Deploy version after version; *answered* gets those that the server said are live."""
    client = server.client
    while True:
        try:
            client.deploy_files("a", _files(number), overwrite=True)
        except (BrokenAnswer, ServerUnreachable):
            return
        answered.append(number)
        number += 1


def test_a_server_that_is_killed_while_it_deploys_serves_the_last_good_version_after_a_restart(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    mine = write(pipelines / "mine", {"pipeline_wrapper.py": wrapper("return 'mine'")})
    before = (mine / "pipeline_wrapper.py").read_bytes()
    chance = random.Random(20261122)
    answered = [0]
    for round_ in range(ROUNDS + 1):
        with running_server(pipelines) as server:
            if round_ == 0:
                server.client.deploy_files("a", _files(0))
            numbers = server.client.run("a").result
            assert numbers[0] in (answered[-1], answered[-1] + 1), f"round {round_}: {numbers}, answered {answered[-1]}"
            assert numbers == [numbers[0]] * 3
            assert server.client.status().failed == {}
            assert server.client.run("mine").result == "mine"
            answered = [numbers[0]]
            deploying = threading.Thread(target=_overwrite_until_killed, args=(server, numbers[0] + 1, answered))
            deploying.start()
            threading.Event().wait(chance.uniform(0.0, 0.25))  # the random moment itself
            server.stop(signal.SIGKILL)
            deploying.join()
    assert (mine / "pipeline_wrapper.py").read_bytes() == before


def _roll_back_until_killed(server: RunningServer) -> None:
    while True:
        try:
            server.client.rollback("a")
        except (BrokenAnswer, ServerUnreachable):
            return


def test_a_server_that_is_killed_while_it_rolls_back_serves_the_old_version_or_the_new_after_a_restart(
    tmp_path: Path,
) -> None:
    chance = random.Random(20261124)
    for round_ in range(max(2, ROUNDS // 3) + 1):
        with running_server(tmp_path / "pipelines") as server:
            if round_ == 0:
                for number in (1, 2):
                    server.client.deploy_files("a", _files(number), overwrite=True)
            numbers = server.client.run("a").result
            assert numbers in ([1] * 3, [2] * 3)
            live = Bundle("a", _files(numbers[0])).version
            assert server.client.versions("a").raw["history"][0]["version"] == live
            assert {row.version: row.kept for row in server.client.versions("a").versions} == {
                Bundle("a", _files(number)).version: True for number in (1, 2)
            }
            thread = threading.Thread(target=_roll_back_until_killed, args=(server,))
            thread.start()
            threading.Event().wait(chance.uniform(0.0, 0.25))  # the random moment itself
            server.stop(signal.SIGKILL)
            thread.join()


def test_a_deploy_that_is_killed_before_it_is_built_leaves_the_previous_version(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    pipelines = tmp_path / "pipelines"
    waiting = {"pipeline_wrapper.py": wrapper(setup=gate.waits).encode()}
    with running_server(pipelines) as server:
        server.client.deploy_files("a", _files(1))

        def deploy() -> None:
            with pytest.raises(BrokenAnswer):
                server.client.deploy_files("a", waiting, overwrite=True)

        thread = threading.Thread(target=deploy)
        thread.start()
        gate.wait()
        assert server.client.run("a").result == [1, 1, 1]
        server.stop(signal.SIGKILL)
        thread.join()
    with running_server(pipelines) as server:
        assert server.client.run("a").result == [1, 1, 1]
