"""``hayhooks mcp run`` and ``hayhooks a2a run``: the same server with one protocol, on a port of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.wrapper_source import deploy_body, wrapper


@pytest.fixture(scope="module", params=["mcp", "a2a"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp(request.param) / "pipelines"
    (directory / "greet").mkdir(parents=True)
    (directory / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    with running_server(directory, command=(request.param, "run")) as running:
        yield running


def test_it_says_how_it_is(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/health/ready").json()["status"] == "ready"
    assert httpx.get(f"{server.url}/status").status_code == 200


def test_it_serves_nothing_else(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/deploy_files", json=deploy_body("other")).status_code == 404
    assert httpx.post(f"{server.url}/greet/run", json={}).status_code == 404
    assert httpx.get(f"{server.url}/openapi.json").status_code == 404
    assert httpx.get(f"{server.url}/v1/models").status_code == 404


@pytest.mark.parametrize("protocol", ["mcp", "a2a"])
def test_without_its_packages_it_says_how_to_install_them(protocol: str, tmp_path: Path) -> None:
    hidden = f"import sys; sys.modules[{protocol!r}] = None\n"
    run = f"from hayhooks.cli import main; sys.argv = ['hayhooks', {protocol!r}, 'run', '-p', '0']; main()"
    ended = subprocess.run(
        [sys.executable, "-c", hidden + run], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert ended.returncode == 1
    assert f'pip install "hayhooks[{protocol}]"' in ended.stderr
