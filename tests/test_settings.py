"""Every variable is read, and one that cannot be is named."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hayhooks.settings import AppSettings, InvalidSettings, load

CONTRACT = {
    "HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "PORT": ("8080", "port", 8080),
    "PIPELINES_DIR": ("/srv/pipes", "pipelines_dir", "/srv/pipes"),
    "ROOT_PATH": ("/api", "root_path", "/api"),
    "ADDITIONAL_PYTHONPATH": ("/srv/a", "additional_python_path", "/srv/a"),
    "ADDITIONAL_PYTHON_PATH": ("/srv/b", "additional_python_path", "/srv/b"),
    "DISABLE_SSL": ("true", "disable_ssl", True),
    "USE_HTTPS": ("1", "use_https", True),
    "SHOW_TRACEBACKS": ("yes", "show_tracebacks", True),
    "CORS_ALLOW_ORIGINS": ('["https://a", "https://b"]', "cors_allow_origins", ["https://a", "https://b"]),
    "CORS_ALLOW_METHODS": ('["GET"]', "cors_allow_methods", ["GET"]),
    "CORS_ALLOW_HEADERS": ('["X-A"]', "cors_allow_headers", ["X-A"]),
    "CORS_ALLOW_CREDENTIALS": ("on", "cors_allow_credentials", True),
    "CORS_ALLOW_ORIGIN_REGEX": (".*", "cors_allow_origin_regex", ".*"),
    "CORS_EXPOSE_HEADERS": ('["X-B"]', "cors_expose_headers", ["X-B"]),
    "CORS_MAX_AGE": ("5", "cors_max_age", 5),
    "LOG": ("debug", "log_level", "DEBUG"),
    "LOG_LEVEL": ("Warn", "log_level", "WARNING"),
    "LOG_FORMAT": ("{message}", "log_format", "{message}"),
    "GRACEFUL_SHUTDOWN_TIMEOUT": ("9", "graceful_shutdown_timeout", 9),
    "STREAMING_COMPONENTS": ("a,b", "streaming_components", "a,b"),
    "STARTUP_DEPLOY_WORKERS": ("2", "startup_deploy_workers", 2),
    "KEPT_VERSIONS": ("3", "kept_versions", 3),
    "FILES_TO_IGNORE_PATTERNS": ('["*.log"]', "files_to_ignore_patterns", ["*.log"]),
    "STATE_DIR": ("/srv/state", "state_dir", "/srv/state"),
    "RELOAD": ("true", "reload", True),
    "YAML_RESULT": ("outputs", "yaml_result", "outputs"),
    "MAX_CONCURRENT_RUNS": ("3", "max_concurrent_runs", 3),
    "MAX_QUEUED_RUNS": ("0", "max_queued_runs", 0),
    "RUN_TIMEOUT_S": ("1.5", "run_timeout_s", 1.5),
    "WORKER_TIMEOUT_S": ("7", "worker_timeout_s", 7.0),
    "MAX_BODY_BYTES": ("10", "max_body_bytes", 10),
    "MAX_UPLOAD_BYTES": ("20", "max_upload_bytes", 20),
    "FILES_MAX_FILE_BYTES": ("30", "files_max_file_bytes", 30),
    "FILES_MAX_TOTAL_BYTES": ("40", "files_max_total_bytes", 40),
    "HEARTBEAT_S": ("2", "heartbeat_s", 2.0),
    "EVENTS": ("bare", "events", "bare"),
    "RESPONSES_MAX_COUNT": ("7", "responses_max_count", 7),
    "RESPONSES_MAX_BYTES": ("8", "responses_max_bytes", 8),
    "RESPONSES_MAX_AGE_S": ("60", "responses_max_age_s", 60),
    "JWT_ALGORITHMS": ('["ES256"]', "jwt_algorithms", ["ES256"]),
    "JWT_SCOPES_CLAIM": ("scp", "jwt_scopes_claim", "scp"),
    "JWT_SCOPE_PREFIX": ("hayhooks:", "jwt_scope_prefix", "hayhooks:"),
    "JWT_LEEWAY_S": ("5", "jwt_leeway_s", 5.0),
    "REQUIRE": ('["one", "team-*"]', "require", ["one", "team-*"]),
    "ONLY": ("one", "only", "one"),
    "DRAIN_DELAY_S": ("1.5", "drain_delay_s", 1.5),
    "LOG_RUNS": ("false", "log_runs", False),
    "ACCESS_LOG": ("true", "access_log", True),
    "MAX_TOTAL_RUNS": ("9", "max_total_runs", 9),
    "MAX_TOTAL_STREAMS": ("10", "max_total_streams", 10),
    "MAX_DELAY_S": ("0.1", "max_delay_s", 0.1),
    "MAX_HEADER_BYTES": ("1000", "max_header_bytes", 1000),
    "MAX_CONNECTIONS": ("11", "max_connections", 11),
    "SLOW_WRITER_TIMEOUT_S": ("12", "slow_writer_timeout_s", 12.0),
    "SLOW_READER_TIMEOUT_S": ("13", "slow_reader_timeout_s", 13.0),
    "MCP_HOST": ("0.0.0.0", "mcp_host", "0.0.0.0"),
    "MCP_PORT": ("8081", "mcp_port", 8081),
    "A2A_HOST": ("0.0.0.0", "a2a_host", "0.0.0.0"),
    "A2A_PORT": ("8082", "a2a_port", 8082),
    "A2A_EXTERNAL_URL": ("https://agents.example", "a2a_external_url", "https://agents.example"),
    "A2A_V0_3_COMPAT": ("false", "a2a_v0_3_compat", False),
    "A2A_TASKS_MAX_AGE_S": ("60", "a2a_tasks_max_age_s", 60.0),
    "A2A_TASKS_MAX_COUNT": ("7", "a2a_tasks_max_count", 7),
    "A2A_TASKS_MAX_BYTES": ("8", "a2a_tasks_max_bytes", 8),
    "A2A_PUSH_HOSTS": ('["hooks.example:8443"]', "a2a_push_hosts", ["hooks.example:8443"]),
    "ALLOWED_HOSTS": ('["a.example"]', "allowed_hosts", ["a.example"]),
}
TOGETHER = {  # one without the others is refused
    "HAYHOOKS_JWT_ISSUER": ("https://login.example", "jwt_issuer"),
    "HAYHOOKS_JWT_AUDIENCE": ("hayhooks", "jwt_audience"),
    "HAYHOOKS_JWT_JWKS_URL": ("https://keys.example", "jwt_jwks_url"),
}
DEFAULTS = {
    "host": "localhost", "port": 1416, "pipelines_dir": "./pipelines", "root_path": "", "additional_python_path": "",
    "disable_ssl": False, "use_https": False, "show_tracebacks": False, "cors_allow_origins": ["*"],
    "cors_allow_methods": ["*"], "cors_allow_headers": ["*"], "cors_allow_credentials": False,
    "cors_allow_origin_regex": None, "cors_expose_headers": [], "cors_max_age": 600, "graceful_shutdown_timeout": 5,
    "streaming_components": "", "startup_deploy_workers": 4, "log_level": "INFO", "admin_key": None,
    "mcp_host": "localhost", "mcp_port": 1417, "a2a_host": "localhost", "a2a_port": 1418, "a2a_external_url": "",
    "a2a_v0_3_compat": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("HAYHOOKS_") or name == "LOG":
            monkeypatch.delenv(name)
    (tmp_path / "below" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below" / "deep")


def test_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", CONTRACT)
def test_a_variable_of_the_environment_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, field, value = CONTRACT[name]
    monkeypatch.setenv(f"HAYHOOKS_{name}", text)
    assert getattr(load(), field) == value


def test_variables_that_belong_together_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (text, _) in TOGETHER.items():
        monkeypatch.setenv(name, text)
    settings = load()
    assert [getattr(settings, field) for _, field in TOGETHER.values()] == [text for text, _ in TOGETHER.values()]


def test_every_setting_is_in_this_list() -> None:
    alone = {field for _, field, _ in CONTRACT.values()}
    others = {field for _, field in TOGETHER.values()} | {"admin_key", "require_login"}
    assert alone | others == set(AppSettings.model_fields)


def test_variables_of_a_dotenv_file_in_a_directory_above_are_read(tmp_path: Path) -> None:
    lines = [f"HAYHOOKS_{name}='{text}'\n" for name, (text, _, _) in CONTRACT.items()]
    (tmp_path / ".env").write_text("".join(lines) + "OTHER=1\nHAYHOOKS_OF_ANOTHER_VERSION=1\n")
    settings = load()
    overridden = {"ADDITIONAL_PYTHONPATH", "LOG"}  # their newer spellings win
    for name in CONTRACT.keys() - overridden:
        _, field, value = CONTRACT[name]
        assert getattr(settings, field) == value


def test_the_nearest_file_counts_the_environment_wins_over_it_and_an_argument_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HAYHOOKS_PORT=1\nHAYHOOKS_HOST=far\n")
    (tmp_path / "below" / ".env").write_text("HAYHOOKS_PORT=2\n")
    assert (load().port, load().host) == (2, "localhost")
    monkeypatch.setenv("HAYHOOKS_PORT", "3")
    assert load().port == 3
    assert load(port=4, host=None).port == 4


@pytest.mark.parametrize(
    ("variables", "level"),
    [
        ({"LOG": "DEBUG"}, "DEBUG"),
        ({"HAYHOOKS_LOG": "error"}, "ERROR"),
        ({"HAYHOOKS_LOG": "ERROR", "HAYHOOKS_LOG_LEVEL": "trace"}, "TRACE"),
        ({"LOG": "ERROR", "HAYHOOKS_LOG": "WARN"}, "WARNING"),
        ({"HAYHOOKS_LOG_LEVEL": " Warning "}, "WARNING"),
    ],
    ids=str,
)
def test_the_log_level_takes_every_spelling(
    variables: Mapping[str, str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load().log_level == level


def test_a_key_is_not_shown_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "s3cret")
    settings = load()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)
    monkeypatch.setenv("HAYHOOKS_ADMIN_KEY", "")
    assert load().admin_key is None


@pytest.mark.parametrize(
    ("given", "path"), [("", ""), ("/", ""), ("api", "/api"), ("/api/", "/api"), ("//a/b//", "/a/b")]
)
def test_a_root_path_begins_with_a_slash_and_ends_without(given: str, path: str) -> None:
    assert load(root_path=given).root_path == path


BAD = {
    "PORT": "eighty",
    "CORS_ALLOW_ORIGINS": "https://a, https://b",
    "CORS_ALLOW_METHODS": '{"GET": 1}',
    "CORS_ALLOW_ORIGIN_REGEX": "(",
    "LOG_LEVEL": "LOUD",
    "SHOW_TRACEBACKS": "maybe",
    "STARTUP_DEPLOY_WORKERS": "0",
    "GRACEFUL_SHUTDOWN_TIMEOUT": "-1",
    "YAML_RESULT": "all",
    "MAX_BODY_BYTES": "10MB",
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_cannot_be_read_is_told_by_the_name_of_its_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HAYHOOKS_{name}", BAD[name])
    with pytest.raises(InvalidSettings, match=f"HAYHOOKS_{name}") as raised:
        load()
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)


def hayhooks_run(directory: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hayhooks", "run", *arguments]
    return subprocess.run(
        command, cwd=directory, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"HAYHOOKS_PORT": "eighty"},
        {"HAYHOOKS_CORS_ALLOW_ORIGINS": "*"},
        {"HAYHOOKS_LOG_LEVEL": "LOUD", "HAYHOOKS_PORT": "99999"},
    ],
    ids=str,
)
def test_the_server_says_what_is_wrong_with_a_setting_and_does_not_start(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    ended = hayhooks_run(tmp_path, **variables)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.stderr
    assert all(name in ended.stderr for name in variables)
    assert not (tmp_path / "pipelines").exists()


def test_an_option_stands_in_for_a_bad_variable(tmp_path: Path) -> None:
    taken = re.compile(r"Cannot listen on 203\.0\.113\.1:1")  # an address that is not ours: it got as far as that
    ended = hayhooks_run(tmp_path, "--port", "1", "--host", "203.0.113.1", HAYHOOKS_PORT="eighty")
    assert ended.returncode == 1
    assert taken.search(ended.stderr)
    assert "Traceback" not in ended.stderr


def test_settings_of_the_process_are_read_when_first_asked_for(tmp_path: Path) -> None:
    # Importing the package must not fail on a variable that nobody needs.
    code = (
        "import hayhooks.settings as s; hasattr(s, 'load'); "
        "import os; os.environ['HAYHOOKS_PORT'] = '7'; print(s.settings.port); print(s.settings is s.settings)"
    )
    environment = {**os.environ, "HAYHOOKS_PORT": "eighty"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.stdout.split() == ["7", "True"], ended.stderr
