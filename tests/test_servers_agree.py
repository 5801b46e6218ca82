"""Servers that were started one by one and serve the same directories: a change by any of them is made by all."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hayhooks.client import ServerRefused
from hayhooks.testing import RunningServer, running_server
from tests.support.worker_pool import source


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers") / "pipelines"


@pytest.fixture(scope="module")
def servers(pipelines: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    with running_server(pipelines) as one, running_server(pipelines) as other:
        yield one, other


def deploy(server: RunningServer, name: str, text: str, **more: bool) -> None:
    files = {"pipeline_wrapper.py": text.encode()}
    server.client.deploy_files(name, files, overwrite=True, **more)


def number(server: RunningServer, name: str) -> int:
    return int(str(server.client.run(name).result).split()[0])


@pytest.mark.parametrize("is_saved", [True, False])
def test_each_serves_what_the_other_has_deployed_rolled_back_or_undeployed_when_that_is_answered(
    servers: tuple[RunningServer, RunningServer], is_saved: bool
) -> None:
    name = f"saved-{is_saved}"
    for count, (teller, asked) in enumerate([servers, servers[::-1], servers]):
        deploy(teller, name, source(count), save_files=is_saved)
        assert number(asked, name) == count
    servers[1].client.rollback(name)
    assert number(servers[0], name) == 1
    servers[1].client.undeploy(name)
    assert name not in servers[0].client.status().names


def test_what_cannot_be_built_in_one_of_them_is_deployed_in_none(
    servers: tuple[RunningServer, RunningServer],
) -> None:
    deploy(servers[0], "picky", source(1))
    mine = f"assert os.getpid() == {servers[0].process.pid}, 'not in this one'"
    with pytest.raises(ServerRefused, match="not in this one"):
        deploy(servers[0], "picky", source(2, mine))
    assert [number(server, "picky") for server in servers] == [1, 1]


def test_nobody_waits_for_one_that_was_killed_and_one_that_starts_serves_what_the_others_do(
    servers: tuple[RunningServer, RunningServer], pipelines: Path
) -> None:
    with ExitStack() as stack:
        third = stack.enter_context(running_server(pipelines))
        deploy(servers[0], "kept", source(1), save_files=False)
        assert number(third, "kept") == 1
        third.stop(signal.SIGKILL)
        deploy(servers[0], "kept", source(2), save_files=False)
        fourth = stack.enter_context(running_server(pipelines))
        assert [number(server, "kept") for server in (*servers, fourth)] == [2, 2, 2]


def test_what_was_not_saved_is_forgotten_when_the_last_has_ended(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    with running_server(pipelines) as server:
        deploy(server, "saved", source(1))
        deploy(server, "unsaved", source(1), save_files=False)
        server.stop(signal.SIGKILL)
    with running_server(pipelines) as server:
        assert server.client.status().names == ("saved",)
