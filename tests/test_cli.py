"""The command line, as a person and a script use it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import dotenv
import pytest
from click.testing import CliRunner, Result

from hayhooks._version import __version__
from hayhooks.cli.app import cli
from hayhooks.cli.environment import Environment, InvalidEnvironment, read_environment
from hayhooks.cli.params import InvalidParam, param_values, upload_params
from hayhooks.cli.sources import ALWAYS_IGNORED, UnusableDirectory, directory_files
from hayhooks.core import bundle
from hayhooks.settings import load
from tests.contract_server import REQUEST_SCHEMA, ContractServer

# What no client command may import: each alone takes longer than the command.
SLOW_MODULES = {
    "dotenv", "fastapi", "haystack", "httpx", "httpx2", "loguru", "msgspec", "openai", "pydantic", "pydantic_settings",
    "requests", "rich", "starlette", "typer", "urllib.request", "uvicorn", "yaml",
}  # fmt: skip


class Hayhooks(Protocol):
    """Runs ``hayhooks`` with these arguments."""

    def __call__(self, *arguments: str | Path) -> Result: ...


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("HAYHOOKS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as running:
        yield running


@pytest.fixture
def hayhooks(server: ContractServer, monkeypatch: pytest.MonkeyPatch) -> Hayhooks:
    """The command line, pointed at *server* by its environment."""
    monkeypatch.setenv("HAYHOOKS_HOST", "127.0.0.1")
    monkeypatch.setenv("HAYHOOKS_PORT", str(server.port))
    return command


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="hayhooks")


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """A directory with a wrapper and what usually lies around it."""
    directory = tmp_path / "greet"
    for path in ("pipeline_wrapper.py", "lib/helper.py", "__pycache__/x.pyc", ".git/HEAD", ".venv/bin/python", "a.pyc"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"# {path}\n")
    return directory


# Speed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["status"],
        ["pipeline", "run", "echo", "-p", "q=1"],
        ["keys", "create", "--help"],
    ],
    ids=" ".join,
)
def test_a_command_imports_nothing_slow(server: ContractServer, tmp_path: Path, arguments: list[str]) -> None:
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr))\n"
        "from hayhooks.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "HAYHOOKS_HOST": "127.0.0.1", "HAYHOOKS_PORT": str(server.port)},
    )
    modules = set(done.stderr.partition("MODULES ")[2].split())
    assert "click" in modules
    assert not modules & SLOW_MODULES


# Help, version, completion


def test_every_command_has_help_and_every_option_says_what_it_does() -> None:
    import click

    def commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        for name, found in group.commands.items():
            yield (*path, name), found
            if isinstance(found, click.Group):
                yield from commands(found, (*path, name))

    for path, found in commands(cli, ()):
        result = command(*path, "--help")
        assert result.exit_code == 0
        assert "\\b" not in result.stdout
        assert found.short_help, path
        for parameter in found.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (path, parameter.name)


def test_the_version_is_printed() -> None:
    assert command("--version").stdout == f"hayhooks {__version__}\n"


def test_a_wrong_option_is_a_usage_error() -> None:
    result = command("status", "--nope")
    assert result.exit_code == 2
    assert "--nope" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script_and_names_of_deployments(server: ContractServer, tmp_path: Path, shell: str) -> None:
    assert "_HAYHOOKS_COMPLETE" in command("completion", shell).stdout
    environment = {
        **os.environ,
        "HAYHOOKS_PORT": str(server.port),
        "_HAYHOOKS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "hayhooks pipeline undeploy ",
        "COMP_CWORD": "3" if shell != "fish" else "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "hayhooks.cli"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "echo" in done.stdout


def test_completing_a_name_without_a_server_gives_nothing_and_no_error() -> None:
    environment = {**os.environ, "HAYHOOKS_PORT": "1", "_HAYHOOKS_COMPLETE": "bash_complete"}
    environment |= {"COMP_WORDS": "hayhooks pipeline run ", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-m", "hayhooks.cli"], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# Talking to the server


def test_status_prints_what_is_live_and_what_failed(server: ContractServer, hayhooks: Hayhooks) -> None:
    server.failed = {"broken": "SyntaxError: invalid syntax\npipeline_wrapper.py, line 3"}
    result = hayhooks("status")
    assert result.exit_code == 0
    assert f"Hayhooks 3.0.0 is up at {server.origin}" in result.stdout
    assert "echo  0123456789ab  run_api" in result.stdout
    assert "broken: SyntaxError: invalid syntax\n    pipeline_wrapper.py, line 3\n" in result.stdout


def test_status_as_json_is_the_servers_answer(hayhooks: Hayhooks) -> None:
    answer = json.loads(hayhooks("status", "--json").stdout)
    assert answer["pipelines"] == ["echo"]
    assert answer["deployments"]["echo"]["entries"] == ["run_api"]


def test_status_says_what_to_do_when_nothing_is_deployed(server: ContractServer, hayhooks: Hayhooks) -> None:
    server.names = []
    assert "pipeline deploy-files" in hayhooks("status").stdout


def test_without_a_server_the_reason_is_on_stderr_and_the_code_is_1() -> None:
    result = command("--url", "http://127.0.0.1:1", "status")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Cannot reach Hayhooks at http://127.0.0.1:1: nothing listens there." in result.stderr
    assert "hayhooks run" in result.stderr


def test_url_and_key_count_before_and_after_the_command_and_after_wins(server: ContractServer) -> None:
    assert command("--url", server.origin, "--api-key", "one", "status").exit_code == 0
    assert server.last.headers["authorization"] == "Bearer one"
    result = command(
        "--url", "http://127.0.0.1:1", "--api-key", "one", "status", "--url", server.origin, "--api-key", "two"
    )
    assert result.exit_code == 0
    assert server.last.headers["authorization"] == "Bearer two"


def test_managing_uses_the_admin_key_and_running_the_api_key(
    server: ContractServer, hayhooks: Hayhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "admin")
    hayhooks("pipeline", "run", "echo")
    assert server.last.headers["authorization"] == "Bearer admin"
    monkeypatch.setenv("HAYHOOKS_API_KEY", "api")
    hayhooks("pipeline", "run", "echo")
    assert server.last.headers["authorization"] == "Bearer api"
    hayhooks("status")
    assert server.last.headers["authorization"] == "Bearer admin"


def test_a_setting_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAYHOOKS_PORT", "many")
    result = command("status")
    assert result.exit_code == 1
    assert "HAYHOOKS_PORT is 'many', not a number." in result.stderr


# Deploying


def test_a_directory_is_deployed_under_its_name_without_what_tools_left_in_it(
    server: ContractServer, hayhooks: Hayhooks, wrapper: Path
) -> None:
    result = hayhooks("pipeline", "deploy-files", wrapper)
    assert result.exit_code == 0, result.output
    assert server.last.json["name"] == "greet"
    assert set(server.last.json["files"]) == {"pipeline_wrapper.py", "lib/helper.py"}
    assert (server.last.json["overwrite"], server.last.json["save_files"]) == (False, True)
    assert f"Deployed 'greet' at {server.origin}/greet/run" in result.stdout


def test_deploy_options_reach_the_server(server: ContractServer, hayhooks: Hayhooks, wrapper: Path) -> None:
    result = hayhooks("pipeline", "deploy-files", wrapper, "-n", "echo", "-o", "-s", "--json")
    assert json.loads(result.stdout) == {"name": "echo", "success": True, "endpoint": "/echo/run"}
    assert (server.last.json["overwrite"], server.last.json["save_files"]) == (True, False)


def test_a_name_that_is_taken_ends_with_code_1_and_a_way_out(hayhooks: Hayhooks, wrapper: Path) -> None:
    result = hayhooks("pipeline", "deploy-files", wrapper, "-n", "echo")
    assert result.exit_code == 1
    assert "A deployment named 'echo' exists." in result.stderr
    assert "--overwrite" in result.stderr


def test_binary_files_are_deployed_as_they_are(server: ContractServer, hayhooks: Hayhooks, wrapper: Path) -> None:
    (wrapper / "lib/weights.bin").write_bytes(b"\xff\x00\xfe")
    assert hayhooks("pipeline", "deploy-files", wrapper).exit_code == 0
    assert ("files", "lib/weights.bin", b"\xff\x00\xfe") in server.last.files


def test_ignore_patterns_of_the_environment_are_kept_back(
    server: ContractServer, hayhooks: Hayhooks, wrapper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAYHOOKS_FILES_TO_IGNORE_PATTERNS", '["lib/*"]')
    assert hayhooks("pipeline", "deploy-files", wrapper).exit_code == 0
    assert set(server.last.json["files"]) == {"pipeline_wrapper.py"}


def test_a_link_out_of_the_directory_is_refused_by_name(
    server: ContractServer, hayhooks: Hayhooks, wrapper: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s")
    (wrapper / "lib/link").symlink_to(tmp_path / "secret")
    result = hayhooks("pipeline", "deploy-files", wrapper)
    assert result.exit_code == 1
    assert "lib/link is a link to" in result.stderr
    assert server.requests == []


def test_yaml_files_are_deployed_in_both_ways(server: ContractServer, hayhooks: Hayhooks, tmp_path: Path) -> None:
    (tmp_path / "rag.yml").write_text("components: {}\n")
    assert hayhooks("pipeline", "deploy", "rag.yml").exit_code == 0
    assert (server.last.path, server.last.json["name"]) == ("/deploy", "rag")
    options = ["-n", "rag2", "-o", "--description", "d", "--skip-mcp", "--no-save-file"]
    assert hayhooks("pipeline", "deploy-yaml", "rag.yml", *options).exit_code == 0
    assert server.last.json == {
        "name": "rag2",
        "source_code": "components: {}\n",
        "overwrite": True,
        "description": "d",
        "skip_mcp": True,
        "save_file": False,
    }


def test_undeploying_says_so_or_why_not(hayhooks: Hayhooks) -> None:
    assert hayhooks("pipeline", "undeploy", "echo").stdout == "Undeployed 'echo'.\n"
    result = hayhooks("pipeline", "undeploy", "echo")
    assert (result.exit_code, result.stderr) == (1, "Error: No deployment named 'echo'.\n")


# Running


def test_the_schema_decides_what_a_parameter_is(server: ContractServer, hayhooks: Hayhooks, tmp_path: Path) -> None:
    (tmp_path / "filters.json").write_text('{"year": 2026}')
    options = ["-p", "q=123", "-p", "n=123", "-p", "tags=a", "-p", "tags=2", "-p", "filters=@filters.json"]
    result = hayhooks("pipeline", "run", "echo", *options)
    assert result.exit_code == 0, result.output
    assert server.last.json == {"q": "123", "n": 123, "tags": ["a", "2"], "filters": {"year": 2026}}


def test_a_server_without_request_schemas_is_asked_for_openapi(server: ContractServer, hayhooks: Hayhooks) -> None:
    server.has_request_schema = False
    hayhooks("pipeline", "run", "echo", "-p", "q=123")
    assert server.last.json == {"q": "123"}
    hayhooks("pipeline", "run", "other", "-p", "q=123")
    assert server.last.json == {"q": 123}


def test_files_go_to_the_parameter_that_takes_them_or_is_named(
    server: ContractServer, hayhooks: Hayhooks, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "more/sub").mkdir(parents=True)
    (tmp_path / "more/sub/b.txt").write_text("b")
    hayhooks("pipeline", "run", "echo", "-f", "a.pdf", "-f", "other=a.pdf", "-d", "more", "-p", "n=5")
    assert server.last.files == [("doc", "a.pdf", b"%PDF"), ("other", "a.pdf", b"%PDF"), ("doc", "sub/b.txt", b"b")]
    assert server.last.fields == {"n": "5"}


@pytest.mark.parametrize(
    "options",
    [["-p", "q"], ["-p", "q=1", "-p", "q=2"], ["-p", "filters={"], ["-p", "q=@gone"], ["-f", "gone"], ["-d", "gone"]],
    ids=" ".join,
)
def test_values_that_cannot_be_read_are_errors(server: ContractServer, hayhooks: Hayhooks, options: list[str]) -> None:
    assert hayhooks("pipeline", "run", "echo", *options).exit_code == 1
    assert all(request.path != "/echo/run" for request in server.requests)


def test_what_is_not_there_cannot_be_deployed(hayhooks: Hayhooks) -> None:
    for command in ("deploy-files", "deploy-yaml"):
        answer = hayhooks("pipeline", command, "gone")
        assert answer.exit_code == 1
        assert "gone" in answer.stderr


def test_options_that_exclude_each_other_are_usage_errors(hayhooks: Hayhooks) -> None:
    assert hayhooks("pipeline", "run", "echo", "-s", "--json").exit_code == 2


def test_an_answer_is_printed_for_people_or_as_json(hayhooks: Hayhooks) -> None:
    assert json.loads(hayhooks("pipeline", "run", "echo").stdout) == {"json": {}, "fields": {}, "files": []}
    assert "result" in json.loads(hayhooks("pipeline", "run", "echo", "--json").stdout)
    assert hayhooks("pipeline", "run", "stream").stdout == "Grüße, café\n"
    assert json.loads(hayhooks("pipeline", "run", "stream", "--json").stdout) == {"result": "Grüße, café"}


def test_events_are_printed_as_text_and_objects_on_lines_of_their_own(hayhooks: Hayhooks) -> None:
    assert hayhooks("pipeline", "run", "events", "--stream").stdout == 'Hello wor\nld\n{"a": 1}\n'


def test_a_stream_is_printed_while_it_arrives(server: ContractServer, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "hayhooks.cli", "--url", server.origin, "pipeline", "run", "halves", "--stream"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"first "
        assert server.loop is not None
        server.loop.call_soon_threadsafe(server.go_on.set)
        assert process.stdout.read() == b"second\n"
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["cut", "failing-events", "invalid", "missing", "not-ours"])
def test_a_failed_run_ends_with_code_1_and_the_reason_on_stderr(hayhooks: Hayhooks, name: str) -> None:
    result = hayhooks("pipeline", "run", name, "-p", "q=1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_file_answer_is_written_to_the_output_or_to_a_pipe(hayhooks: Hayhooks, tmp_path: Path) -> None:
    assert hayhooks("pipeline", "run", "file").stdout_bytes == b"\x00\x01\xff"
    (tmp_path / "kept.bin").write_bytes(b"old")
    assert hayhooks("pipeline", "run", "file", "-o", "kept.bin").exit_code == 0
    assert (tmp_path / "kept.bin").read_bytes() == b"\x00\x01\xff"
    assert hayhooks("pipeline", "run", "csv").stdout_bytes == b"a,b\r\n1,2\r\n"
    hayhooks("pipeline", "run", "stream", "-o", "text.txt")
    assert (tmp_path / "text.txt").read_text(encoding="utf-8") == "Grüße, café"


def test_an_answer_that_breaks_leaves_the_old_output_file(hayhooks: Hayhooks, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("old")
    assert hayhooks("pipeline", "run", "cut", "-o", "kept.txt").exit_code == 1
    assert (tmp_path / "kept.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_output_that_cannot_be_written_is_named(hayhooks: Hayhooks) -> None:
    result = hayhooks("pipeline", "run", "file", "-o", "gone/kept.bin")
    assert (result.exit_code, result.stderr) == (1, "Error: Cannot write gone/kept.bin: No such file or directory.\n")
    assert hayhooks("pipeline", "run", "file", "-o", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()


def test_binary_is_not_written_to_a_terminal(server: ContractServer, tmp_path: Path) -> None:
    ours, terminal = pty.openpty()
    try:
        arguments = [sys.executable, "-m", "hayhooks.cli", "--url", server.origin, "pipeline", "run", "file"]
        done = subprocess.run(arguments, stdout=terminal, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    finally:
        os.close(terminal)
        os.close(ours)
    assert done.returncode == 1
    assert "'answer.bin' (application/octet-stream), not for a terminal" in done.stderr
    assert "--output" in done.stderr


def test_a_terminal_sees_that_a_deploy_is_waiting_and_then_only_its_end(
    server: ContractServer, wrapper: Path, tmp_path: Path
) -> None:
    ours, terminal = pty.openpty()
    try:
        arguments = [
            sys.executable,
            "-m",
            "hayhooks.cli",
            "--url",
            server.origin,
            "pipeline",
            "deploy-files",
            str(wrapper),
        ]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=terminal, text=True, cwd=tmp_path)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(terminal)
        os.close(ours)
    assert "Deploying 'greet': 2 files" in shown
    assert shown.endswith("\r\x1b[K")
    assert done.stdout == f"Deployed 'greet' at {server.origin}/greet/run\n"


# Parameters and schemas


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "123", "123"),
        ({"type": "string"}, '"quoted"', '"quoted"'),
        ({"type": "string"}, "", ""),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", "null"),
        ({"type": "integer"}, "123", 123),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "integer"}, "abc", "abc"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "true", "true"),
        ({"type": ["string", "integer"]}, "x", "x"),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "array", "items": {"type": "string"}}, '["a", "b"]', ["a", "b"]),
        ({"type": "array", "items": {"type": "string"}}, "https://a.example", ["https://a.example"]),
        ({"type": "array", "items": {"type": "string"}}, "5", ["5"]),
        ({"type": "array", "items": {"type": "integer"}}, "5", [5]),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"enum": ["a", 1]}, "1", 1),
        ({"const": "5"}, "5", "5"),
        ({"$ref": "#/$defs/Colour"}, "5", "5"),
        ({"allOf": [{"$ref": "#/$defs/Colour"}]}, "5", "5"),
        ({"$ref": "#/$defs/Gone"}, "5", 5),
        ({}, "5", 5),
        ({}, "five", "five"),
        ({}, "NaN", "NaN"),
    ],
)
def test_a_parameter_becomes_what_its_schema_says(schema: object, text: str, value: object) -> None:
    root = {"properties": {"x": schema}, "$defs": {"Colour": {"enum": ["5", "red"], "type": "string"}}}
    found = param_values([f"x={text}"], root)["x"]
    assert (found, type(found)) == (value, type(value))


def test_a_schema_that_refers_to_itself_ends() -> None:
    root = {"properties": {"x": {"$ref": "#/$defs/Loop"}}, "$defs": {"Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}]}}}
    assert param_values(["x=1"], root) == {"x": 1}


def test_without_a_schema_what_reads_as_json_is_json() -> None:
    assert param_values(["a=1", "b=x=y", 'c=["d"]'], None) == {"a": 1, "b": "x=y", "c": ["d"]}


def test_a_list_that_is_not_json_says_how_to_write_it() -> None:
    root = {"properties": {"x": {"type": "array", "items": {"type": "string"}}}}
    with pytest.raises(InvalidParam, match="'x' takes JSON"):
        param_values(["x=[a"], root)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string", "format": "binary"}},
        {"anyOf": [{"type": "array", "items": {"contentMediaType": "application/octet-stream"}}, {"type": "null"}]},
    ],
)
def test_parameters_that_take_files_are_found_lists_first(schema: object) -> None:
    root = {"properties": {"one": REQUEST_SCHEMA["properties"]["doc"], "all": schema, "q": {"type": "string"}}}  # type: ignore[index]
    assert upload_params(root) == ["all", "one"]


# Directories


def test_the_client_leaves_out_what_the_server_leaves_out() -> None:
    assert ALWAYS_IGNORED == bundle.ALWAYS_IGNORED


def test_links_within_a_directory_are_followed_to_files_only(wrapper: Path) -> None:
    (wrapper / "link.py").symlink_to(wrapper / "pipeline_wrapper.py")
    assert set(directory_files(wrapper)) == {"lib/helper.py", "link.py", "pipeline_wrapper.py"}
    (wrapper / "again").symlink_to(wrapper / "lib")
    with pytest.raises(UnusableDirectory, match=r"again is a link to .*, which is no file"):
        directory_files(wrapper)
    assert "again" not in directory_files(wrapper, ["again"])


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableDirectory, match="no files"):
        directory_files(tmp_path)


# Settings of client commands


def test_the_environment_wins_over_the_nearest_dotenv_file_upward(tmp_path: Path) -> None:
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    (tmp_path / ".env").write_text("HAYHOOKS_HOST=far\n")
    (tmp_path / "a/.env").write_text(
        "# settings\nexport HAYHOOKS_HOST='near' # quoted\nHAYHOOKS_PORT=1\nhayhooks_use_https=yes\n"
        'HAYHOOKS_ADMIN_KEY="k#1"\nHAYHOOKS_FILES_TO_IGNORE_PATTERNS=["*.log"]\nOTHER=1\n'
    )
    assert dotenv.dotenv_values(tmp_path / "a/.env")["HAYHOOKS_ADMIN_KEY"] == "k#1"
    found = read_environment({"HAYHOOKS_PORT": "2"}, below)
    assert found == Environment(
        host="near", port=2, use_https=True, admin_key="k#1", files_to_ignore_patterns=("*.log",)
    )
    assert found.url == "https://near:2"


def test_client_commands_read_the_settings_as_the_server_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {"host", "port", "use_https", "disable_ssl"}
    plain, server = Environment(), load()
    assert all(getattr(plain, name) == getattr(server, name) for name in names)
    (tmp_path / ".env").write_text(
        "HAYHOOKS_HOST='far' # there\nHAYHOOKS_PORT=${BASE}7\nBASE=1\nHAYHOOKS_DISABLE_SSL=t\n"
    )
    monkeypatch.setenv("HAYHOOKS_USE_HTTPS", "Yes")
    monkeypatch.setenv("BASE", "8")
    monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "k")
    found, settings = read_environment(), load()
    assert [getattr(found, name) for name in sorted(names)] == [getattr(settings, name) for name in sorted(names)]
    assert found.port == 87
    assert settings.admin_key is not None
    assert found.admin_key == settings.admin_key.get_secret_value()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1416"),
        ("::", "http://[::1]:1416"),
        ("::1", "http://[::1]:1416"),
        ("localhost", "http://localhost:1416"),
    ],
)
def test_a_server_that_listens_everywhere_is_called_on_this_machine(host: str, url: str, tmp_path: Path) -> None:
    assert read_environment({"HAYHOOKS_HOST": host}, tmp_path).url == url


@pytest.mark.parametrize(
    "variables",
    [{"HAYHOOKS_PORT": "x"}, {"HAYHOOKS_USE_HTTPS": "perhaps"}, {"HAYHOOKS_FILES_TO_IGNORE_PATTERNS": "*.log"}],
)
def test_a_value_that_cannot_be_read_names_its_variable(variables: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match=next(iter(variables))):
        read_environment(variables, tmp_path)
