"""Deploying is running code: who may manage the server, and which pages may call what."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from hayhooks import create_app
from hayhooks.server.guard import is_loopback
from hayhooks.settings import AppSettings
from hayhooks.testing import RunningServer, running_server
from tests.support.wrapper_source import deploy_body, wrapper

KEY = "correct horse battery staple"
web = httpx.Client()  # one for all: each would read the certificates of the machine anew


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    with web:
        yield


def pipelines(directory: Path) -> Path:
    (directory / "pipelines" / "greet").mkdir(parents=True)
    (directory / "pipelines" / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    (directory / "pipelines" / "broken").mkdir()
    (directory / "pipelines" / "broken" / "pipeline_wrapper.py").write_text("import secret_library_of_ours")
    return directory / "pipelines"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(pipelines(tmp_path_factory.mktemp("local"))) as server:
        yield server


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(pipelines(tmp_path_factory.mktemp("exposed")), host="0.0.0.0") as server:
        yield server


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environment = {"HAYHOOKS_ADMIN_KEY": KEY}
    with running_server(pipelines(tmp_path_factory.mktemp("keyed")), host="0.0.0.0", env=environment) as server:
        yield server


def names(server: RunningServer) -> list[str]:
    found: list[str] = web.get(f"{server.url}/status").json()["pipelines"]
    return found


def own_port(server: RunningServer) -> str:
    return server.url.rpartition(":")[2]


BAD_HOSTS = [
    "evil.test",
    "evil.test:{port}",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "10.0.0.1:{port}",
    "[::2]",
    "",
]
FOREIGN = [
    {"origin": "http://evil.test"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},  # another port is another origin
    {"origin": "http://127.0.0.1.evil.test"},
    {"origin": ""},
    {"origin": "file://"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of this machine
]
CHANGES = [
    ("/deploy_files", deploy_body("intruder")),
    ("/deploy-yaml", {"name": "intruder", "source_code": "components: {}\nconnections: []\ninputs: {}\n"}),
    ("/deploy", {"name": "intruder", "source_code": "components: {}\nconnections: []\n"}),
    ("/undeploy/greet", {}),
]


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_a_foreign_host_header_changes_nothing(local: RunningServer, host: str, path: str, body: object) -> None:
    answer = web.post(local.url + path, json=body, headers={"host": host.format(port=own_port(local))})
    assert answer.status_code in (400, 421)  # an empty one is refused by the HTTP parser
    if answer.status_code == 421:
        assert answer.json()["kind"] == "misdirected"
        assert "HAYHOOKS_ALLOWED_HOSTS" in answer.json()["detail"]
    assert names(local) == ["greet"]


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("path", ["/status", "/status/greet", "/draw/greet"])
def test_a_foreign_host_header_reads_no_status(local: RunningServer, host: str, path: str) -> None:
    answer = web.get(local.url + path, headers={"host": host.format(port=own_port(local))})
    assert answer.status_code in (400, 421)
    assert "hello" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:{port}", "app.localhost", "127.0.0.1", "127.8.8.8", "[::1]:{port}"]
)
def test_every_name_of_this_machine_will_do(local: RunningServer, host: str) -> None:
    assert web.get(f"{local.url}/status", headers={"host": host.format(port=own_port(local))}).status_code == 200


def test_a_configured_host_name_will_do(tmp_path: Path) -> None:
    settings = AppSettings(pipelines_dir=str(tmp_path / "p"), allowed_hosts=["Hooks.example"])
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        allowed = client.post("/deploy_files", json=deploy_body("a"), headers={"host": "hooks.example:8443"})
        assert allowed.status_code == 200
        assert client.post("/undeploy/a", headers={"host": "other.example"}).status_code == 421


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_a_page_of_another_origin_changes_nothing(
    local: RunningServer, headers: dict[str, str], path: str, body: object
) -> None:
    answer = web.post(local.url + path, json=body, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["kind"] == "forbidden"
    assert "access-control-allow-origin" not in answer.headers
    assert names(local) == ["greet"]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/status", "/status/greet", "/draw/greet"])
def test_a_page_of_another_origin_reads_no_status(local: RunningServer, headers: dict[str, str], path: str) -> None:
    answer = web.get(local.url + path, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/deploy_files", "/deploy-yaml", "/deploy", "/undeploy/greet", "/status", "/draw/greet"]
)
def test_no_preflight_opens_management(local: RunningServer, path: str) -> None:
    asks = {"origin": "http://evil.test", "access-control-request-method": "POST"}
    answer = web.options(local.url + path, headers=asks)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_path_spelled_otherwise_is_guarded_or_unknown(local: RunningServer) -> None:
    for path in (
        "/%64eploy_files",
        "/deploy_files/",
        "//deploy_files",
        "/./deploy_files",
        "/DEPLOY_FILES",
        "/deploy_files?x=1",
    ):
        answer = web.post(local.url + path, json=deploy_body("intruder"), headers={"origin": "http://evil.test"})
        assert answer.status_code in (403, 404), path
    assert names(local) == ["greet"]


def test_a_page_of_the_server_itself_manages_it(local: RunningServer) -> None:
    own = {"origin": local.url, "sec-fetch-site": "same-origin"}
    try:
        assert web.post(f"{local.url}/deploy_files", json=deploy_body("own"), headers=own).status_code == 200
        assert web.get(f"{local.url}/status", headers={"sec-fetch-site": "none"}).json()["pipelines"] == [
            "greet",
            "own",
        ]
    finally:
        assert web.post(f"{local.url}/undeploy/own", headers=own).status_code == 200


@pytest.mark.parametrize(
    "body_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_body_that_browsers_send_without_asking_is_no_deploy(local: RunningServer, body_type: str) -> None:
    body = b'{"name": "intruder", "files": {"pipeline_wrapper.py": ""}}'
    answer = web.post(f"{local.url}/deploy_files", content=body, headers={"content-type": body_type})
    assert 400 <= answer.status_code < 500
    assert names(local) == ["greet"]


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"]
)
def test_what_comes_through_a_proxy_needs_a_key(local: RunningServer, header: str) -> None:
    answer = web.post(f"{local.url}/undeploy/greet", headers={header: "203.0.113.7"})
    assert answer.status_code == 403
    assert "HAYHOOKS_ADMIN_KEY" in answer.json()["detail"]
    assert web.get(f"{local.url}/status", headers={header: "203.0.113.7"}).json()["failed"] == {
        "broken": "It failed to load."
    }


@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_beyond_loopback_without_a_key_changes_are_refused(exposed: RunningServer, path: str, body: object) -> None:
    for headers in ({}, {"authorization": "Bearer"}, {"x-api-key": ""}, {"x-api-key": "None"}):
        answer = web.post(exposed.url + path, json=body, headers=headers)
        assert answer.status_code == 401
        assert "Management needs a key" in answer.json()["detail"]
    assert names(exposed) == ["greet"]


def test_beyond_loopback_without_a_key_the_server_makes_one_and_runs_are_answered(exposed: RunningServer) -> None:
    made = exposed.wait_for_log(r"hay_\w+")[0]
    failed = web.get(f"{exposed.url}/status", headers={"x-api-key": made}).json()["failed"]
    assert "secret_library_of_ours" in failed["broken"]
    assert web.post(f"{exposed.url}/greet/run", json={"name": "x"}).json() == {"result": "hello x"}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY},
        {"authorization": "Bearer sk-any", "x-api-key": KEY},
    ],
    ids=str,
)
def test_the_key_opens_management(keyed: RunningServer, headers: dict[str, str]) -> None:
    assert web.post(f"{keyed.url}/deploy_files", json=deploy_body("mine"), headers=headers).status_code == 200
    assert web.post(f"{keyed.url}/undeploy/mine", headers=headers).status_code == 200
    # The holder of the key may use any name for the server, as behind a proxy.
    named = {**headers, "host": "hooks.example", "x-forwarded-for": "203.0.113.7"}
    assert web.get(f"{keyed.url}/status", headers=named).json()["failed"]["broken"].count("secret_library_of_ours")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"x-api-key": KEY.upper()},
        {"x-api-key": "clé"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_without_the_right_key_management_is_refused(
    keyed: RunningServer, headers: dict[str, str], path: str, body: object
) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    answer = web.post(keyed.url + path, json=body, headers=encoded)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["kind"] == "unauthorized"
    assert KEY not in answer.text
    assert names(keyed) == ["greet"]


def test_reasons_are_told_to_those_who_may_manage_only(
    local: RunningServer, exposed: RunningServer, keyed: RunningServer
) -> None:
    assert "secret_library_of_ours" in web.get(f"{local.url}/status").json()["failed"]["broken"]
    assert "secret_library_of_ours" in web.get(f"{local.url}/status/broken").json()["detail"]
    for server in (exposed, keyed):
        assert web.get(f"{server.url}/status").json()["failed"] == {"broken": "It failed to load."}
        for path in ("/status/broken", "/status/no-such"):
            answer = web.get(server.url + path)
            assert answer.status_code == 404
            assert answer.json()["detail"] == f"No deployment named {path[8:]!r}."
    assert "secret_library_of_ours" in keyed.client.status().failed["broken"]


def test_the_log_never_carries_the_key(keyed: RunningServer) -> None:
    web.post(f"{keyed.url}/undeploy/none", headers={"x-api-key": KEY})
    assert KEY not in keyed.log


def test_a_page_of_another_origin_reads_no_status_whatever_the_settings(
    exposed: RunningServer, keyed: RunningServer
) -> None:
    for server in (exposed, keyed):
        assert web.get(f"{server.url}/status", headers={"origin": "http://evil.test"}).status_code == 403


def test_an_app_that_listens_wider_than_its_settings_say_asks_for_a_key(tmp_path: Path) -> None:
    settings = AppSettings(pipelines_dir=str(tmp_path / "p"), host="localhost")
    # The address on which the request came in decides, as under `uvicorn --host 0.0.0.0 app:hayhooks`.
    with TestClient(create_app(settings), base_url="http://192.0.2.1") as client:
        answer = client.post("/deploy_files", json=deploy_body("a"))
        assert answer.status_code == 403
        assert "HAYHOOKS_ADMIN_KEY" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("a.localhost", True), ("127.0.0.1", True), ("127.1.2.3", True),
        ("::1", True), ("[::1]", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("", False),
        ("localhost.evil.test", False), ("evillocalhost", False), ("127.0.0.1.nip.io", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_which_names_can_only_mean_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


class TestCors:
    """CORS settings are about runs."""

    @pytest.fixture
    def client(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TestClient]:
        settings = AppSettings(pipelines_dir=str(pipelines(tmp_path)), **getattr(request, "param", {}))
        with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
            yield client

    RUNS = ("/greet/run", "/v1/chat/completions", "/v1/models", "/openapi.json", "/nobody/run")

    def test_runs_are_open_to_every_page_by_default(self, client: TestClient) -> None:
        for path in self.RUNS:
            asks = {
                "origin": "https://app.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type,x-mine",
            }
            preflight = client.options(path, headers=asks)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == "*"
            assert "POST" in preflight.headers["access-control-allow-methods"]
            assert "x-mine" in preflight.headers["access-control-allow-headers"]
            assert preflight.headers["access-control-max-age"] == "600"
            assert "access-control-allow-credentials" not in preflight.headers
        answer = client.post("/greet/run", json={}, headers={"origin": "https://app.example"})
        assert answer.json() == {"result": "hello world"}
        assert answer.headers["access-control-allow-origin"] == "*"

    def test_answers_to_programs_carry_no_cors_headers(self, client: TestClient) -> None:
        answer = client.post("/greet/run", json={})
        assert not [name for name in answer.headers if name.startswith("access-control")]

    @pytest.mark.parametrize(
        "client",
        [
            {
                "cors_allow_origins": ["https://app.example"],
                "cors_allow_origin_regex": r"https://.*\.trusted\.example",
                "cors_allow_methods": ["POST"],
                "cors_allow_headers": ["X-Mine"],
                "cors_allow_credentials": True,
                "cors_expose_headers": ["X-Request-Id"],
                "cors_max_age": 5,
            }
        ],
        indirect=True,
    )
    def test_settings_narrow_them(self, client: TestClient) -> None:
        for origin in ("https://app.example", "https://one.trusted.example"):
            answer = client.post("/greet/run", json={}, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["access-control-expose-headers"] == "X-Request-Id"
            assert "origin" in answer.headers["vary"].lower()
            asks = {"origin": origin, "access-control-request-method": "POST"}
            preflight = client.options("/greet/run", headers=asks)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-max-age"] == "5"
        for refused in ("https://evil.test", "null", "https://trusted.example.evil.test"):
            answer = client.post("/greet/run", json={}, headers={"origin": refused})
            assert "access-control-allow-origin" not in answer.headers
            asks = {"origin": refused, "access-control-request-method": "POST"}
            assert client.options("/greet/run", headers=asks).status_code == 400
        asks = {"origin": "https://app.example", "access-control-request-method": "DELETE"}
        assert client.options("/greet/run", headers=asks).status_code == 400

    @pytest.mark.parametrize(
        "client", [{"cors_allow_origins": ["https://app.example"], "cors_allow_credentials": True}], indirect=True
    )
    def test_an_origin_that_may_run_may_not_manage(self, client: TestClient) -> None:
        for method, path in (("POST", "/undeploy/greet"), ("GET", "/status"), ("OPTIONS", "/deploy_files")):
            answer = client.request(method, path, headers={"origin": "https://app.example"})
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]


# What callers left here


def test_pages_of_other_origins_get_nothing_that_callers_left(local: RunningServer) -> None:
    secret = {"file": ("secret.txt", b"secret")}
    uploaded = web.post(f"{local.url}/v1/files", files=secret, data={"purpose": "user_data"})
    file_id = uploaded.json()["id"]
    kept = [f"/v1/files/{file_id}/content", "/v1/files", "/files/", "/v1/responses/resp_1", "/v1/conversations/conv_1"]
    for path in kept:
        for page in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = web.get(local.url + path, headers=page)
            assert answer.status_code == 403, (path, page)
            assert answer.json()["error"]["type"] == "permission_error"
        assert web.get(local.url + path, headers={"Host": "rebound.example"}).status_code == 421, path
    assert web.delete(f"{local.url}/v1/files/{file_id}", headers={"Origin": "https://evil.example"}).status_code == 403
    assert web.post(f"{local.url}/v1/conversations", headers={"Origin": "https://evil.example"}).status_code == 403
    own = {"Origin": local.url, "Sec-Fetch-Site": "same-origin"}
    assert web.get(f"{local.url}/v1/files/{file_id}/content", headers=own).content == b"secret"
    assert web.get(f"{local.url}/v1/files/{file_id}/content").content == b"secret"


def test_a_named_origin_may_read_what_callers_left(tmp_path: Path) -> None:
    environment = {
        "HAYHOOKS_CORS_ALLOW_ORIGINS": '["https://app.example"]',
        "HAYHOOKS_CORS_ALLOW_ORIGIN_REGEX": r"https://\w+\.team\.example",
    }
    with running_server(tmp_path / "pipelines", env=environment) as server:
        for origin in ("https://app.example", "https://red.team.example"):
            answer = web.get(f"{server.url}/v1/files", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == origin
        assert web.get(f"{server.url}/v1/files", headers={"Origin": "https://evil.example"}).status_code == 403
