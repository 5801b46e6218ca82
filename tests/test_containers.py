"""The container files hold what their pages promise, by the tools made for judging them. No engine is needed."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from hayhooks.server.main import CLOSING_S
from hayhooks.settings import AppSettings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
VARIABLES = {f"HAYHOOKS_{name.upper()}" for name in AppSettings.model_fields}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def tool(name: str) -> str:
    """The command that this environment brings."""
    return str(Path(sys.executable).with_name(name))


def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE)["services"])


def instruction(name: str) -> list[str]:
    """What follows *name* in the stage that runs, continuation lines joined."""
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", last_stage, re.MULTILINE)


def kubernetes_objects() -> list[dict[str, Any]]:
    page = (ROOT / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return [found for block in blocks for found in yaml.safe_load_all(block) if "apiVersion" in found]


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    found = run(tool("hadolint"), "--failure-threshold", "style", "Dockerfile")
    assert found.returncode == 0, found.stdout


def test_the_yaml_files_have_no_fault_that_yamllint_knows() -> None:
    found = run(tool("yamllint"), "--strict", "compose.yaml")
    assert found.returncode == 0, found.stdout


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    # Compose fills in ${NAME:-default} before it reads a file.
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE)
    project = compose_spec.PyCompose.from_yaml(filled)
    project.validate()
    assert sorted(project.service_names()) == ["hayhooks", "open-webui"]


def test_docker_compose_accepts_the_file() -> None:
    commands = [["docker", "compose"], ["docker-compose"]]
    here = [command for command in commands if shutil.which(command[0])]
    there = [command for command in here if re.match("[2-9]", run(*command, "version", "--short").stdout)]
    if not there:
        pytest.skip("no Docker Compose 2; the specification was checked above")
    found = run(*there[0], "config", "--format", "json")
    assert found.returncode == 0, found.stderr
    project = json.loads(found.stdout)
    assert sorted(project["services"]) == ["hayhooks", "open-webui"]
    assert {port["host_ip"] for service in project["services"].values() for port in service["ports"]} == {"127.0.0.1"}


def test_containers_are_reached_from_this_machine_only() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_open_webui_starts_when_hayhooks_is_healthy_and_is_wired_to_it() -> None:
    open_webui = services()["open-webui"]
    assert open_webui["depends_on"] == {"hayhooks": {"condition": "service_healthy"}}
    assert open_webui["environment"]["OPENAI_API_BASE_URL"] == "http://hayhooks:1416/v1"
    assert re.fullmatch(r"ghcr\.io/open-webui/open-webui:v\d+\.\d+\.\d+", open_webui["image"])


def test_no_key_is_written_into_an_image_or_a_file() -> None:
    environment = services()["hayhooks"]["environment"]
    assert {"HAYHOOKS_ADMIN_KEY", "OPENAI_API_KEY"} <= environment.keys()
    assert all(value is None for name, value in environment.items() if name.endswith("_KEY"))
    assert not re.search(r"^(ENV|ARG).*(KEY|TOKEN|SECRET|PASSWORD)", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


def test_the_server_in_the_image_is_not_root() -> None:
    (user,) = instruction("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_what_the_image_builds_from_exists_and_passes_dockerignore() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sources = [s for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for s in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


@pytest.mark.parametrize(
    "file", ["Dockerfile", "compose.yaml", "docs/deployment.md", "docs/open-webui.md", "docs/security.md"]
)
def test_every_variable_named_in_a_file_is_a_setting(file: str) -> None:
    for_compose = {"HAYHOOKS_UID", "HAYHOOKS_GID"}
    named = set(re.findall(r"HAYHOOKS_[A-Z_]+[A-Z]", (ROOT / file).read_text()))
    assert named - for_compose <= VARIABLES


class Status(http.server.BaseHTTPRequestHandler):
    """Answers /health/ready with the server's code."""

    def do_GET(self) -> None:
        self.send_response(self.server.code if self.path == "/health/ready" else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def status_server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("code", "is_healthy"), [(200, True), (503, False), (401, False)])
def test_the_health_check_passes_just_when_the_server_is_ready(
    status_server: http.server.HTTPServer, code: int, is_healthy: bool
) -> None:
    status_server.code = code  # type: ignore[attr-defined]
    assert health_check(status_server.server_port) is is_healthy


def test_the_health_check_fails_while_nothing_listens(status_server: http.server.HTTPServer) -> None:
    port = status_server.server_port
    status_server.server_close()
    assert not health_check(port)


def health_check(port: int) -> bool:
    (health,) = instruction("HEALTHCHECK")
    command = json.loads(health[health.index("[") :])
    assert command[0] == "python"
    # A proxy for everything else must not come between the server and its own check.
    environment = {"HAYHOOKS_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    found = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, timeout=30)
    return found.returncode == 0


def test_the_kubernetes_manifest_is_valid() -> None:
    objects = kubernetes_objects()
    assert {found["kind"] for found in objects} >= {"Deployment", "Service", "PersistentVolumeClaim"}
    for found in objects:
        kubernetes_validate.validate(found, "1.31", strict=True)


def test_kubernetes_asks_whether_the_server_lives_and_is_ready_and_waits_for_it_to_stop() -> None:
    (deployment,) = (found for found in kubernetes_objects() if found["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    asked = {"startupProbe": "live", "livenessProbe": "live", "readinessProbe": "ready"}
    for probe, what in asked.items():
        assert container[probe]["httpGet"] == {"path": f"/health/{what}", "port": "http"}
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    timeout = {variable["name"]: variable.get("value") for variable in container["env"]}
    runs_s = int(timeout["HAYHOOKS_DRAIN_DELAY_S"] or 0) + int(timeout["HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT"] or 5)
    assert grace >= runs_s + CLOSING_S
