"""Every command of the first README, and ``pipeline run``, against a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hayhooks.cli.app import cli
from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import contents, wrapper, write

YAML = """
components:
  p:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "hi {{ name }}"}
connections: []
"""
DECLARED = YAML + "inputs: {name: p.name}\noutputs: {greeting: p.prompt}\nresult: outputs\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("cli")
    write(root / "pipelines" / "broken", {"pipeline_wrapper.py": "import surely_not_installed"})
    with running_server(root / "pipelines") as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings."""
    for name in list(os.environ):
        if name.startswith("HAYHOOKS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Commands:
    """Runs ``hayhooks`` against a server."""

    def __init__(self, server: RunningServer) -> None:
        self.url = server.url

    def __call__(self, *arguments: str | Path, code: int = 0) -> Result:
        command = ["--url", self.url, *map(str, arguments)]
        result = CliRunner().invoke(cli, command, prog_name="hayhooks")
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
def hayhooks(server: RunningServer, home: Path) -> Commands:
    return Commands(server)


def test_the_command_itself_deploys_runs_and_undeploys(server: RunningServer, home: Path) -> None:
    write(home / "greet", {"pipeline_wrapper.py": wrapper("return f'Hi {name}'", parameters="name: str")})
    environment = {**os.environ, "HAYHOOKS_HOST": "127.0.0.1", "HAYHOOKS_PORT": server.url.rpartition(":")[2]}

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hayhooks", *arguments], capture_output=True, text=True, env=environment, check=True
        )
        assert done.stderr == ""
        return done.stdout

    assert command("pipeline", "deploy-files", "greet") == f"Deployed 'greet' at {server.url}/greet/run\n"
    assert "greet" in command("status")
    assert command("pipeline", "run", "greet", "-p", "name=Ada") == "Hi Ada\n"
    assert command("pipeline", "undeploy", "greet") == "Undeployed 'greet'.\n"


def test_status_shows_what_is_live_with_its_version_and_what_failed_with_its_reason(
    server: RunningServer, hayhooks: Commands, home: Path
) -> None:
    write(home / "shown", {"pipeline_wrapper.py": wrapper()})
    hayhooks("pipeline", "deploy-files", "shown")
    version = server.client.status_of("shown").raw["version"]
    output = hayhooks("status").stdout
    assert "Runs in 1 process: 0 running, 0 waiting" in output
    assert f"shown  {version[:12]}  run_api" in output
    assert "broken: Cannot load pipeline_wrapper.py: No module named 'surely_not_installed'" in output
    answer = json.loads(hayhooks("status", "--json").stdout)
    assert answer["status"] == "Up!"
    assert "shown" in answer["pipelines"]
    assert "pip install surely-not-installed" in answer["failed"]["broken"]


def test_a_directory_is_deployed_with_its_binary_files_and_without_what_tools_left(
    server: RunningServer, hayhooks: Commands, home: Path
) -> None:
    files = {
        "pipeline_wrapper.py": wrapper("return 'ok'").encode(),
        "sub/all.bin": bytes(range(256)) * 100,
        "ü.txt": b"\xff\r\n",
        "empty": b"",
    }
    others = [".git/HEAD", ".venv/x", "node_modules/x", "__pycache__/x.pyc", "a.pyc", "sub/skipped.log"]
    write(home / "binary", {**files, **dict.fromkeys(others, b"\xfe")})
    (home / ".env").write_text('HAYHOOKS_FILES_TO_IGNORE_PATTERNS=["*.log"]\n')
    output = hayhooks("pipeline", "deploy-files", "binary", "--json").stdout
    assert json.loads(output)["endpoint"] == "/binary/run"
    assert contents(server.pipelines_dir / "binary") == files
    assert hayhooks("pipeline", "run", "binary").stdout == "ok\n"


def test_names_overwriting_and_not_saving_are_options(server: RunningServer, hayhooks: Commands, home: Path) -> None:
    write(home / "dir", {"pipeline_wrapper.py": wrapper("return 1")})
    hayhooks("pipeline", "deploy-files", "dir", "-n", "named", "-s")
    assert not (server.pipelines_dir / "named").exists()
    write(home / "dir", {"pipeline_wrapper.py": wrapper("return 2")})
    taken = hayhooks("pipeline", "deploy-files", "dir", "--name", "named", code=1)
    assert "'named' exists" in taken.stderr
    assert "--overwrite" in taken.stderr
    assert taken.stdout == ""
    assert hayhooks("pipeline", "run", "named").stdout == "1\n"
    hayhooks("pipeline", "deploy-files", "dir", "-n", "named", "-o")
    assert hayhooks("pipeline", "run", "named").stdout == "2\n"
    assert (server.pipelines_dir / "named").is_dir()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "(pipeline_wrapper.py, line 1)"),
        ("import surely_not_installed", "pip install surely-not-installed"),
        (wrapper(setup="raise ValueError('boom')"), "setup() failed: ValueError: boom"),
        (wrapper().replace("run_api", "run"), "no run hook"),
    ],
)
def test_a_deploy_that_fails_says_why_on_stderr(hayhooks: Commands, home: Path, source: str, reason: str) -> None:
    write(home / "fails", {"pipeline_wrapper.py": source})
    result = hayhooks("pipeline", "deploy-files", "fails", code=1)
    assert result.stderr.startswith("Error: ")
    assert reason in result.stderr
    assert result.stdout == ""


def test_what_cannot_be_deployed_at_all_is_refused(hayhooks: Commands, home: Path) -> None:
    write(home / "no_wrapper", {"x.py": ""})
    assert "Missing required file" in hayhooks("pipeline", "deploy-files", "no_wrapper", code=1).stderr
    write(home / "good", {"pipeline_wrapper.py": wrapper()})
    assert "reserved" in hayhooks("pipeline", "deploy-files", "good", "-n", "status", code=1).stderr
    assert "letters" in hayhooks("pipeline", "deploy-files", "good", "-n", "a/b", code=1).stderr
    (home / "empty").mkdir()
    assert "no files" in hayhooks("pipeline", "deploy-files", "empty", code=1).stderr
    assert "does not exist" in hayhooks("pipeline", "deploy-files", "missing", code=1).stderr
    assert "does not exist" in hayhooks("pipeline", "deploy-yaml", "missing.yml", code=1).stderr
    assert "No deployment named 'nope'" in hayhooks("pipeline", "undeploy", "nope", code=1).stderr
    assert "nope" in hayhooks("pipeline", "run", "nope", code=1).stderr


def test_yaml_files_are_deployed_in_both_ways(server: RunningServer, hayhooks: Commands, home: Path) -> None:
    write(home, {"plain.yml": YAML, "declared.yaml": DECLARED})
    assert hayhooks("pipeline", "deploy", "plain.yml").stdout == f"Deployed 'plain' at {server.url}/plain\n"
    assert hayhooks("pipeline", "deploy", "plain.yml", code=1).stdout == ""
    refused = hayhooks("pipeline", "deploy-yaml", "plain.yml", "-o", code=1)
    assert "at least one of 'inputs' or 'outputs'" in refused.stderr
    deployed = hayhooks("pipeline", "deploy-yaml", "declared.yaml", "--description", "Greets", "--skip-mcp")
    assert deployed.stdout == f"Deployed 'declared' at {server.url}/declared/run\n"
    assert server.client.status_of("declared").raw["description"] == "Greets"
    answer = hayhooks("pipeline", "run", "declared", "-p", "name=Ada")
    assert json.loads(answer.stdout) == {"greeting": "hi Ada"}
    hayhooks("pipeline", "deploy-yaml", "declared.yaml", "-n", "other", "--no-save-file")
    assert not (server.pipelines_dir / "other.yml").exists()
    hayhooks("pipeline", "deploy-yaml", "declared.yaml", "-n", "other", "-o", "--save-file")
    assert (server.pipelines_dir / "other.yml").read_text() == DECLARED
    assert json.loads(hayhooks("pipeline", "undeploy", "plain", "--json").stdout) == {"success": True, "name": "plain"}


def test_the_schema_of_the_server_decides_what_a_parameter_is(hayhooks: Commands, home: Path) -> None:
    parameters = "q: str, n: int = 0, ratio: float = 0.5, flag: bool = False, tags: list[str] = (), more: dict = None"
    source = wrapper("return [q, n, ratio, flag, list(tags), more]", parameters=parameters)
    write(home / "typed", {"pipeline_wrapper.py": source})
    hayhooks("pipeline", "deploy-files", "typed")
    options = ["q=123", "n=7", "ratio=2", "flag=true", "tags=a", "tags=1", 'more={"k": [1]}']
    result = hayhooks("pipeline", "run", "typed", *(part for option in options for part in ("-p", option)))
    assert json.loads(result.stdout) == ["123", 7, 2, True, ["a", "1"], {"k": [1]}]
    whole = hayhooks("pipeline", "run", "typed", "-p", "q=x", "--json")
    assert json.loads(whole.stdout) == {"result": ["x", 0, 0.5, False, [], None]}
    missing = hayhooks("pipeline", "run", "typed", code=1)
    assert "q: Field required" in missing.stderr
    assert "n: " in hayhooks("pipeline", "run", "typed", "-p", "q=x", "-p", "n=seven", code=1).stderr


def test_files_go_to_the_server_and_come_back(hayhooks: Commands, home: Path) -> None:
    source = wrapper(
        """
        data = b"".join(file.file.read() for file in files)
        return Response(data, media_type="application/octet-stream")
        """,
        head="from fastapi import Response, UploadFile",
        parameters="files: list[UploadFile], note: str = ''",
    )
    write(
        home,
        {"join_files/pipeline_wrapper.py": source, "a.bin": b"\xff\x00a", "more/b.bin": b"b\r\n", "more/c/d": b"d"},
    )
    hayhooks("pipeline", "deploy-files", "join_files")
    hayhooks("pipeline", "run", "join_files", "-f", "a.bin", "-d", "more", "-p", "note=n", "-o", "out.bin")
    assert (home / "out.bin").read_bytes() == b"\xff\x00ab\r\nd"
    piped = hayhooks("pipeline", "run", "join_files", "--file", "files=a.bin", "--output", "-")
    assert piped.stdout_bytes == b"\xff\x00a"
    assert "not a file" in hayhooks("pipeline", "run", "join_files", "-f", "nope.bin", code=1).stderr


def test_streams_are_printed_and_failures_end_with_code_1(hayhooks: Commands, home: Path) -> None:
    source = wrapper("yield 'one '\nyield 'two'\nif q: 1 / 0", parameters="q: bool = False")
    write(home / "streams", {"pipeline_wrapper.py": source})
    hayhooks("pipeline", "deploy-files", "streams")
    assert hayhooks("pipeline", "run", "streams", "--stream").stdout == "one two\n"
    assert hayhooks("pipeline", "run", "streams").stdout == "one two\n"
    cut = hayhooks("pipeline", "run", "streams", "-s", "-p", "q=true", code=1)
    assert cut.stdout.startswith("one two")
    assert "connection ended" in cut.stderr
    write(home / "fails_in_a_run", {"pipeline_wrapper.py": wrapper("raise ValueError('secret')")})
    hayhooks("pipeline", "deploy-files", "fails_in_a_run")
    failed = hayhooks("pipeline", "run", "fails_in_a_run", code=1)
    assert "failed" in failed.stderr
    assert "secret" not in failed.output


def test_a_server_with_a_key_takes_it_from_the_option_and_the_environment(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "a", {"pipeline_wrapper.py": wrapper()})
    with running_server(tmp_path / "server" / "pipelines", env={"HAYHOOKS_ADMIN_KEY": "s3cret"}) as server:
        hayhooks = Commands(server)
        refused = hayhooks("pipeline", "deploy-files", "a", code=1)
        assert "--api-key" in refused.stderr
        hayhooks("pipeline", "deploy-files", "a", "--api-key", "s3cret")
        assert hayhooks("pipeline", "run", "a").stdout == "ok\n"
        monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "s3cret")
        hayhooks("pipeline", "undeploy", "a")
        monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "wrong")
        hayhooks("pipeline", "deploy-files", "a", code=1)
