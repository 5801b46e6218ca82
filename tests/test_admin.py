"""Managing a server over HTTP: deploying, overwriting, undeploying, looking."""

import hashlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import contents, tree, wrapper, write


def with_attribute(line: str) -> str:
    return wrapper().replace("    def setup", f"    {line}\n    def setup")


PIPELINE = """
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
"""
DRAWN = wrapper(
    "return self.pipeline.run({'prompt': {'name': 'Ada'}})['prompt']['prompt']",
    setup="self.pipeline = Pipeline()\nself.pipeline.add_component('prompt', PromptBuilder('Hi {{ name }}'))",
    head=PIPELINE,
)
READS_BACK = wrapper(
    "return {str(p.relative_to(ROOT)): p.read_bytes().hex() for p in sorted(ROOT.rglob('*')) if p.is_file()}",
    head="from pathlib import Path\nROOT = Path(__file__).parent",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("admin")
    write(root / "pipelines" / "mine", {"pipeline_wrapper.py": wrapper("return 'mine'"), "notes.txt": b"mine"})
    with running_server(root / "pipelines", env={"HAYHOOKS_MAX_BODY_BYTES": "300000"}) as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def deploy(http: httpx.Client, name: str, source: str | dict[str, str], **options: Any) -> httpx.Response:
    files = {"pipeline_wrapper.py": source} if isinstance(source, str) else source
    return http.post("/deploy_files", json={"name": name, "files": files, **options})


def deploy_form(http: httpx.Client, name: str, files: list[tuple[str, bytes]], **fields: str) -> httpx.Response:
    parts = [("files", (path, content, "application/octet-stream")) for path, content in files]
    return http.post("/deploy_files", data={"name": name, **fields}, files=parts)


def run(http: httpx.Client, name: str, **arguments: Any) -> Any:
    answer = http.post(f"/{name}/run", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    """The detail of an error in the one shape."""
    body = answer.json()
    assert (answer.status_code, body["kind"]) == (status, kind), body
    assert set(body) <= {"detail", "kind", "errors"}
    assert isinstance(body["detail"], str)
    return str(body["detail"])


# Deploying


def test_text_files_are_deployed_and_read_back_byte_for_byte(server: RunningServer, http: httpx.Client) -> None:
    files = {"pipeline_wrapper.py": READS_BACK, "sub/ü.txt": "a\r\nb\n\ufeff", "empty": "", ".env": "X=1"}
    answer = deploy(http, "texts", files)
    assert answer.status_code == 200
    body = answer.json()
    assert {key: body[key] for key in ("name", "success", "endpoint")} == {
        "name": "texts", "success": True, "endpoint": "/texts/run",
    }  # fmt: skip
    sent = {path: text.encode() for path, text in files.items()}
    assert {path: bytes.fromhex(data) for path, data in run(http, "texts").items()} == sent
    assert contents(server.pipelines_dir / "texts") == sent


def test_binary_files_are_deployed_as_a_form_and_read_back_byte_for_byte(
    server: RunningServer, http: httpx.Client
) -> None:
    files = [
        ("pipeline_wrapper.py", READS_BACK.encode()),
        ("sub/deep/all.bin", bytes(range(256)) * 300),
        ("not-utf-8.txt", b"\xff\xfe\r\n\x00--boundary\r\n"),
        ("empty", b""),
    ]
    assert deploy_form(http, "bytes", files, overwrite="false", save_files="true").status_code == 200
    assert {path: bytes.fromhex(data) for path, data in run(http, "bytes").items()} == dict(files)
    assert contents(server.pipelines_dir / "bytes") == dict(files)


def test_a_name_that_is_taken_is_a_conflict_and_the_old_version_stays(http: httpx.Client) -> None:
    assert deploy(http, "taken", wrapper("return 1")).status_code == 200
    assert "'taken' exists" in refused(deploy(http, "taken", wrapper("return 2")), 409, "conflict")
    assert run(http, "taken") == 1
    assert deploy(http, "taken", wrapper("return 2"), overwrite=True).status_code == 200
    assert run(http, "taken") == 2
    assert deploy_form(http, "taken", [("pipeline_wrapper.py", b"")]).status_code == 409
    form = deploy_form(http, "taken", [("pipeline_wrapper.py", wrapper("return 3").encode())], overwrite="true")
    assert form.status_code == 200
    assert run(http, "taken") == 3


def test_overwriting_what_does_not_exist_deploys_it(http: httpx.Client) -> None:
    assert deploy(http, "fresh", wrapper(), overwrite=True).status_code == 200


def test_the_version_is_the_digest_of_the_bytes(http: httpx.Client) -> None:
    versions = []
    for n in (1, 2, 1):
        deploy(http, "digest", wrapper(f"return {n}"), overwrite=True)
        versions.append(http.get("/deployments/digest").json()["version"])
    assert versions[0] == versions[2] != versions[1]
    assert len(bytes.fromhex(versions[0])) == hashlib.sha256().digest_size


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "letters, digits"), ("a/b", "letters, digits"), ("a b", "letters"), ("é", "letters"), ("..", "letters"),
        (".hidden", "letters"), ("dot.", "letters"), ("x" * 65, "1 to 64"), ("a\n", "letters"), ("a\\b", "letters"),
        ("status", "reserved"), ("v1", "reserved"), ("Docs", "reserved"), ("deploy_files", "reserved"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused_with_the_rule(http: httpx.Client, name: str, reason: str) -> None:
    assert reason in refused(deploy(http, name, wrapper()), 422, "invalid")


@pytest.mark.parametrize("name", ["a", "A-b_c.d", "x" * 64, "1", "_", "status.x", "été".encode().hex()])
def test_names_that_keep_the_rule_are_taken(http: httpx.Client, name: str) -> None:
    assert deploy(http, name, wrapper()).status_code == 200
    assert run(http, name) == "ok"
    assert http.post(f"/undeploy/{name}").json() == {"success": True, "name": name}


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a\\b",
        "C:/x",
        "",
        "./x",
        "a//b",
        "a/",
        "a\x00b",
        "x" * 300,
        "a/" * 300 + "x",
        "a\nb",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(server: RunningServer, http: httpx.Client, path: str) -> None:
    files = {"pipeline_wrapper.py": wrapper(), path: "evil"}
    assert "cannot be a file of a deployment" in refused(deploy(http, "evil", files), 422, "invalid")
    assert not (server.pipelines_dir / "evil").exists()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_a_path_of_a_form_that_leads_elsewhere_is_refused(http: httpx.Client, path: str) -> None:
    answer = deploy_form(http, "evil", [("pipeline_wrapper.py", wrapper().encode()), (path, b"evil")])
    assert "cannot be a file of a deployment" in refused(answer, 422, "invalid")


def test_a_file_that_is_a_directory_too_is_refused(http: httpx.Client) -> None:
    answer = deploy(http, "evil", {"pipeline_wrapper.py": wrapper(), "a": "", "a/b": ""})
    assert "both a file and a directory" in refused(answer, 422, "invalid")


def test_a_file_that_is_sent_twice_is_refused(http: httpx.Client) -> None:
    answer = deploy_form(http, "evil", [("pipeline_wrapper.py", b"1"), ("pipeline_wrapper.py", b"2")])
    assert "sent twice" in refused(answer, 422, "invalid")


def test_too_many_bytes_are_refused_as_too_large(http: httpx.Client) -> None:
    big = "x" * 400_000
    refused(deploy(http, "big", {"pipeline_wrapper.py": wrapper(), "big": big}), 413, "too_large")
    form = deploy_form(http, "big", [("pipeline_wrapper.py", wrapper().encode()), ("big", big.encode())])
    refused(form, 413, "too_large")
    assert http.get("/status/big").status_code == 404


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ""), (b"{", ""), (b"[]", ""), (b"null", ""), (b"{}", "name"), (b'{"name": "a"}', "files"),
        (b'{"name": 1, "files": {}}', "name"), (b'{"name": "a", "files": []}', "files"),
        (b'{"name": "a", "files": {"x": 1}}', "files.x"),
        (b'{"name": "a", "files": {}, "overwrite": "yes"}', "overwrite"),
        (b'{"name": "a", "files": {"x": "\\ud800"}}', ""), (b'\xff', ""),
    ],
)  # fmt: skip
def test_a_body_that_is_no_deploy_is_refused_with_the_place(http: httpx.Client, body: bytes, where: str) -> None:
    answer = http.post("/deploy_files", content=body, headers={"content-type": "application/json"})
    assert where in refused(answer, 422, "invalid")
    assert answer.json()["errors"]


def test_other_kinds_of_bodies_and_methods_are_refused(http: httpx.Client) -> None:
    body = json.dumps({"name": "a", "files": {"pipeline_wrapper.py": wrapper()}}).encode()
    plain = http.post("/deploy_files", content=body, headers={"content-type": "text/plain"})
    assert "application/json" in refused(plain, 422, "invalid")
    assert http.get("/deploy_files").status_code == 405
    assert http.post("/status").status_code == 405
    assert refused(http.post("/deploy_files/x", json={}), 404, "not_found")
    torn = http.post("/deploy_files", content=b"--x\r\n", headers={"content-type": "multipart/form-data"})
    assert torn.status_code == 422
    assert "overwrite" in refused(deploy_form(http, "a", [("x", b"")], overwrite="perhaps"), 422, "invalid")
    wrong = http.post("/deploy_files", data={"name": "a"}, files=[("file", ("pipeline_wrapper.py", b""))])
    assert "named 'files'" in refused(wrong, 422, "invalid")


SOURCES: dict[str, tuple[str | dict[str, str], list[str]]] = {
    "no wrapper": ({"other.py": ""}, ["Missing required file: pipeline_wrapper.py"]),
    "nothing": ({}, ["Missing required file: pipeline_wrapper.py"]),
    "wrapper below": ({"sub/pipeline_wrapper.py": ""}, ["Missing required file: pipeline_wrapper.py"]),
    "no class": ("x = 1", ["does not define a class named PipelineWrapper"]),
    "no subclass": ("class PipelineWrapper: pass", ["derived from hayhooks.BasePipelineWrapper"]),
    "a function": ("def PipelineWrapper(): pass", ["derived from hayhooks.BasePipelineWrapper"]),
    "no setup": (
        wrapper().replace("def setup", "def set_up"), ["must define setup()"],
    ),
    "no hook": (wrapper().replace("run_api", "run"), ["no run hook", "run_api", "run_chat_completion"]),
    "syntax": ("x = 1\ndef f(:\n", ["invalid syntax", "pipeline_wrapper.py, line 2"]),
    "syntax in a helper": (
        {"pipeline_wrapper.py": "import helper", "helper.py": "\n\nx = ("}, ["never closed", "helper.py, line 3"],
    ),
    "null byte": ("x = '\x00'", ["null bytes"]),
    "encoding": ("# coding: nonsense\n", ["nonsense"]),
    "raises on import": ("\n1 / 0\n", ["ZeroDivisionError: division by zero", "pipeline_wrapper.py, line 2"]),
    "raises in setup": (
        wrapper(setup="x = 1\nraise ValueError('boom')"),
        ["setup() failed: ValueError: boom", "pipeline_wrapper.py, line 7"],
    ),
    "raises in a helper": (
        {"pipeline_wrapper.py": wrapper(setup="from .h import f; f()"), "h.py": "def f():\n    raise KeyError('k')"},
        ["setup() failed: KeyError: 'k'", "h.py, line 2"],
    ),
    "exits": (wrapper(setup="import sys; sys.exit(3)"), ["setup() failed: SystemExit: 3"]),
    "interrupts": (wrapper(setup="raise KeyboardInterrupt"), ["setup() failed: KeyboardInterrupt"]),
    "raises no exception": (wrapper(setup="class Odd(BaseException): ...\nraise Odd('odd')"), ["Odd: odd"]),
    "stops iteration": (wrapper(setup="next(iter([]))"), ["StopIteration"]),
    "missing dependency": (
        "import surely_not_installed.sub",
        ["No module named 'surely_not_installed'", "pipeline_wrapper.py, line 1", "pip install surely-not-installed"],
    ),
    "missing in setup": (wrapper(setup="import cv2"), ["No module named 'cv2'", "pip install opencv-python"]),
    "missing integration": (
        "import haystack_integrations.components.retrievers.qdrant", ["pip install qdrant-haystack"],
    ),
    "missing part": ("import haystack.surely_not", ["No module named 'haystack.surely_not'"]),
    "missing helper": ("from .helpr import x", ["No module named 'helpr'"]),
    "missing name": ({"pipeline_wrapper.py": "from .h import y", "h.py": ""}, ["cannot import name 'y' from 'h'"]),
    "missing key": (
        wrapper(
            setup="self.pipeline = Pipeline()\nself.pipeline.add_component('llm', OpenAIChatGenerator(KEY))",
            head=(
                "from haystack import Pipeline\nfrom haystack.utils import Secret\n"
                "KEY = Secret.from_env_var('NO_SUCH_KEY')\n"
                "from haystack.components.generators.chat import OpenAIChatGenerator"
            ),
        ),
        ["NO_SUCH_KEY"],
    ),
    "no signature": (wrapper(parameters="q: object()"), ["run_api", "'q'"]),
    "positional": (wrapper(parameters="q, /"), ["positional-only"]),
    "concurrent": (with_attribute("max_concurrent_runs = 0"), ["max_concurrent_runs", "not 0"]),
    "queued": (with_attribute("max_queued_runs = 1.5"), ["max_queued_runs", "not 1.5"]),
    "timeout": (with_attribute("run_timeout_s = '5'"), ["run_timeout_s", "'5'"]),
    "description": (with_attribute("description = 5"), ["description must be text"]),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_what_is_wrong_with_a_wrapper_is_said_and_the_old_version_serves(http: httpx.Client, case: str) -> None:
    files, words = SOURCES[case]
    assert deploy(http, "steady", wrapper("return 'old'"), overwrite=True).status_code == 200
    detail = refused(deploy(http, "steady", files, overwrite=True), 422, "invalid")
    assert [word for word in words if word not in detail] == [], detail
    assert "_hayhooks_" not in detail
    assert "/versions/" not in detail
    assert run(http, "steady") == "old"
    refused(deploy(http, "new-" + case.replace(" ", "-"), files), 422, "invalid")


def test_a_server_survives_wrappers_that_fail(server: RunningServer, http: httpx.Client) -> None:
    assert server.process.poll() is None
    assert http.get("/status").json()["status"] == "Up!"


# Undeploying


def test_what_is_undeployed_is_gone_with_its_files(server: RunningServer, http: httpx.Client) -> None:
    deploy(http, "gone", wrapper())
    assert (server.pipelines_dir / "gone").is_dir()
    assert http.post("/undeploy/gone").json() == {"success": True, "name": "gone"}
    assert http.post("/gone/run", json={}).status_code == 404
    assert not (server.pipelines_dir / "gone").exists()
    assert "'gone'" in refused(http.post("/undeploy/gone"), 404, "not_found")


@pytest.mark.parametrize("name", ["nope", "", "a/b", "%2e%2e", "status", "mine/"])
def test_undeploying_what_is_not_there_is_not_found(http: httpx.Client, name: str) -> None:
    assert http.post(f"/undeploy/{name}").status_code == 404
    assert run(http, "mine") == "mine"


# Looking


def test_status_lists_what_is_live(http: httpx.Client) -> None:
    deploy(http, "listed", wrapper("return q", parameters="q: str"), overwrite=True)
    body = http.get("/status").json()
    assert body["status"] == "Up!"
    assert {"listed", "mine"} <= set(body["pipelines"])
    assert body["pipelines"] == sorted(body["pipelines"])
    assert [row["name"] for row in body["deployments"]] == body["pipelines"]
    assert http.get("/status/listed").json() == {"status": "Up!", "pipeline": "listed"}
    one = http.get("/deployments/listed").json()
    assert one["request_schema"]["required"] == ["q"]
    assert one["name"] in [row["name"] for row in http.get("/deployments").json()]
    assert "'nope'" in refused(http.get("/status/nope"), 404, "not_found")


def test_a_pipeline_is_drawn_as_a_png(http: httpx.Client) -> None:
    deploy(http, "drawn", DRAWN, overwrite=True)
    answer = http.get("/draw/drawn")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(BytesIO(answer.content)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 50
    assert run(http, "drawn") == "Hi Ada"


def test_what_has_no_pipeline_or_does_not_exist_cannot_be_drawn(http: httpx.Client) -> None:
    assert "no pipeline" in refused(http.get("/draw/mine"), 404, "not_found")
    assert "'nope'" in refused(http.get("/draw/nope"), 404, "not_found")
    refused(http.get("/draw/"), 404, "not_found")


# Restarts


def test_a_restart_serves_what_was_live_and_leaves_what_is_the_users(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    for name in ("kept", "removed", "replaced", "edited", "again"):
        write(pipelines / name, {"pipeline_wrapper.py": wrapper("return 'users'"), "data/x.bin": b"\xff"})
    before = tree(pipelines)
    with running_server(pipelines) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        for name in ("removed", "again"):
            assert http.post(f"/undeploy/{name}").status_code == 200
        for name in ("replaced", "edited"):
            assert deploy(http, name, wrapper("return 'uploaded'"), overwrite=True).status_code == 200
            assert run(http, name) == "uploaded"
        assert deploy(http, "again", wrapper("return 'again'")).status_code == 200
        assert tree(pipelines) == before
        assert deploy(http, "saved", wrapper("return 'saved'")).status_code == 200
        assert deploy(http, "unsaved", wrapper("return 'unsaved'"), save_files=False).status_code == 200
        assert not (pipelines / "unsaved").exists()
        assert run(http, "unsaved") == "unsaved"
        assert deploy(http, "failing", wrapper("return 'good'")).status_code == 200
        assert deploy(http, "failing", "1 / 0", overwrite=True).status_code == 422
        assert deploy(http, "failing", "1 / 0", overwrite=True, save_files=False).status_code == 422
        write(pipelines, {"saved/mine.txt": b"mine"})
    write(pipelines, {"edited/pipeline_wrapper.py": wrapper("return 'edited'")})
    now = {path: found for path, found in tree(pipelines).items() if path not in (".", "edited/pipeline_wrapper.py")}
    with running_server(pipelines) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.get("/status").json()["pipelines"] == ["again", "edited", "failing", "kept", "replaced", "saved"]
        answers = {name: run(http, name) for name in http.get("/status").json()["pipelines"]}
        assert answers == {
            "again": "again", "edited": "edited", "failing": "good",
            "kept": "users", "replaced": "uploaded", "saved": "saved",
        }  # fmt: skip
        assert {path: found for path, found in tree(pipelines).items() if path in now} == now
        assert http.post("/undeploy/saved").status_code == 200
        assert contents(pipelines / "saved") == {"mine.txt": b"mine"}
        for path, found in before.items():
            if path not in (".", "edited/pipeline_wrapper.py"):
                assert tree(pipelines)[path] == found


def test_all_at_once_of_one_name_ends_with_one_of_them(http: httpx.Client, server: RunningServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        sources = [wrapper(f"return {n}") for n in range(8)]
        first = list(pool.map(lambda source: deploy(http, "race", source).status_code, sources))
        assert sorted(first) == [200] + [409] * 7
        codes = list(pool.map(lambda source: deploy(http, "race", source, overwrite=True).status_code, sources))
    assert codes == [200] * 8
    number = run(http, "race")
    assert (server.pipelines_dir / "race" / "pipeline_wrapper.py").read_text() == sources[number]
