"""MCP clients of other projects, and the protocol's conformance suite. Part of ``pytest -m clients``."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.mcp.suite import HERE, NOT_OURS, PIPELINES, SUITES, run_suite

from hayhooks.testing import RunningServer, running_server
from tests.support.clients import ClientProgram, NoNpm, node_environment
from tests.support.deployments import wrapper, write
from tests.support.readme import ROOT
from tests.test_mcp import GREET

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # what a client needs is installed first


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("mcp") / "pipelines"
    shutil.copytree(PIPELINES, directory, ignore=shutil.ignore_patterns("__pycache__"))
    write(directory / "greet", {"pipeline_wrapper.py": GREET})
    write(directory / "count", {"pipeline_wrapper.py": wrapper("for n in range(3):\n    yield f'{n} '")})
    with running_server(directory) as running:
        yield running


@pytest.mark.parametrize(("package", "revision"), SUITES)
def test_the_conformance_suite_finds_nothing_wrong(server: RunningServer, package: str, revision: str) -> None:
    try:
        verdict = run_suite(package, revision, f"{server.url}/mcp")
    except NoNpm as missing:
        pytest.skip(str(missing))
    assert verdict.complaints == []
    assert verdict.passed >= 20


def test_the_manual_lists_what_of_the_suite_does_not_apply() -> None:
    manual = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    assert [name for name in NOT_OURS if f"`{name}`" not in manual] == []


def test_fastmcp_sees_and_calls_what_is_deployed_while_it_is_connected(server: RunningServer) -> None:
    facts = ClientProgram("fastmcp_tools.py", "fastmcp.txt").run(f"{server.url}/mcp")
    assert "fast" not in facts["before"]
    assert facts["deployed"] is True
    assert "fast" in facts["after"]
    assert facts["answers"] == ["old", True, "new"]
    assert facts["greeting"] == ["hello Ada", {"result": "hello Ada"}]
    assert facts["wrong"] == [True, "name: Field required"]
    assert facts["counted"] == ["0 1 2 ", "0 1 2 "]
    assert "hayhooks://deployments/greet/schema" in facts["resources"]


def test_haystacks_toolset_calls_deployments(server: RunningServer) -> None:
    script = ROOT / "tests" / "clients" / "haystack_mcp_tools.py"
    command = [sys.executable, str(script), f"{server.url}/mcp"]  # the project's own environment has it
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["names"] == ["count", "greet"]
    assert facts["required"] == ["name"]
    assert "hello Ada" in facts["greeting"]


def test_the_inspector_lists_and_calls(server: RunningServer) -> None:
    def inspect(*arguments: str) -> Any:
        try:
            modules = node_environment(HERE / "package.json") / "node_modules"
        except NoNpm as missing:
            pytest.skip(str(missing))
        node = modules / "node" / "bin" / "node"
        program = modules / ".bin" / "mcp-inspector"
        command = [str(node), str(program), "--cli", f"{server.url}/mcp", "--transport", "http", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    assert "greet" in [tool["name"] for tool in inspect("--method", "tools/list")["tools"]]
    called = inspect("--method", "tools/call", "--tool-name", "greet", "--tool-arg", "name=Ada")
    assert called["structuredContent"] == {"result": "hello Ada"}
