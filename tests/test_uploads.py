"""Multipart requests: files under any name, and what else a form may carry."""

import hashlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.wrappers import Wrappers

wrappers = Wrappers()
IMPORTS = """
import dataclasses, datetime, decimal, enum, hashlib, uuid
from typing import Any, Literal, Optional
from fastapi import File, Form, UploadFile
from haystack.dataclasses import ChatMessage, Document
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.datastructures import UploadFile as StarletteUploadFile
from hayhooks import SSEStream
"""
BEFORE = """
class Colour(enum.Enum):
    RED = "red"

class Model(BaseModel):
    a: int
    b: str = "b"

@dataclasses.dataclass
class Point:
    x: int

def show(file):
    if file is None:
        return None
    assert isinstance(file, UploadFile)
    content = file.file.read()
    return [file.filename, file.content_type, file.size, content.decode("latin-1")]
"""


def add(name: str, hook: str) -> None:
    wrappers.add(name, hook, imports=IMPORTS, before=BEFORE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    pipelines = tmp_path_factory.mktemp("uploads") / "pipelines"
    wrappers.write(pipelines)
    with running_server(pipelines) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def result_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def faults(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert body["kind"] == "invalid"
    return body.get("errors", [])  # type: ignore[no-any-return]


def test_every_deployment_of_this_file_is_live(client: httpx.Client) -> None:
    assert client.get("/status").json()["failed"] == {}


# -- files ----------------------------------------------------------------------------------------------------------

add("one", "def run_api(self, doc: UploadFile, q: str = 'none'):\n    return [show(doc), q]")
add("one-async", "async def run_api_async(self, doc: UploadFile):\n    return (await doc.read()).decode()")
add("several", "def run_api(self, files: list[UploadFile]):\n    return [show(file) for file in files]")
add("maybe", "def run_api(self, doc: UploadFile | None = None, q: str = 'none') -> list:\n    return [show(doc), q]")
add(
    "maybe-several",
    "def run_api(self, files: Optional[list[UploadFile]] = None):\n    return files and [show(f) for f in files]",
)
add(
    "two",
    "def run_api(self, left: UploadFile, right: list[StarletteUploadFile], n: int):\n"
    "    return [show(left), [show(f) for f in right], n]",
)
add(
    "fastapi-style",
    "def run_api(self, doc: UploadFile = File(...), more: list[UploadFile] = File(None), q: str = Form('x')):\n"
    "    return [show(doc), more, q]",
)
add(
    "streamed",
    "def run_api(self, doc: UploadFile):\n"
    "    return self.lines(doc)\ndef lines(self, doc):\n    for line in doc.file:\n        yield line",
)
add(
    "headers",
    "def run_api(self, doc: UploadFile, headers: Headers):\n    return [doc.headers['x-part'], headers['x-thing']]",
)


def test_a_file_may_have_any_parameter_name(client: httpx.Client) -> None:
    files = {"doc": ("räksmörgås.txt", b"hi\xff", "text/x-thing")}
    assert result_of(client.post("/one/run", files=files)) == [["räksmörgås.txt", "text/x-thing", 3, "hi\xff"], "none"]


def test_async_hooks_read_uploads_with_await(client: httpx.Client) -> None:
    assert result_of(client.post("/one-async/run", files={"doc": b"hello"})) == "hello"


def test_a_list_takes_one_file_or_many_in_order(client: httpx.Client) -> None:
    files = [("files", (f"{i}.txt", str(i).encode())) for i in range(100)]
    assert [name for name, *_ in result_of(client.post("/several/run", files=files))] == [
        f"{i}.txt" for i in range(100)
    ]
    assert result_of(client.post("/several/run", files=files[:1])) == [["0.txt", "text/plain", 1, "0"]]


def test_several_upload_parameters_and_fields_go_together(client: httpx.Client) -> None:
    files = [("right", ("1", b"1")), ("left", ("l", b"l")), ("right", ("2", b"2"))]
    left, right, n = result_of(client.post("/two/run", files=files, data={"n": "5"}))
    assert (left[0], [item[0] for item in right], n) == ("l", ["1", "2"], 5)


def test_an_optional_file_may_be_left_out(client: httpx.Client) -> None:
    assert result_of(client.post("/maybe/run", json={"q": "a"})) == [None, "a"]
    assert result_of(client.post("/maybe/run")) == [None, "none"]
    assert result_of(client.post("/maybe/run", data={"q": "a"})) == [None, "a"]
    assert result_of(client.post("/maybe/run", files={"q": (None, "a")})) == [None, "a"]
    assert result_of(client.post("/maybe-several/run", json={})) is None
    assert result_of(client.post("/maybe-several/run", files={"other": b"x"})) is None


def test_a_file_that_a_browser_left_empty_is_not_there(client: httpx.Client) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="doc"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert result_of(client.post("/maybe/run", content=body, headers=headers)) == [None, "none"]
    assert faults(client.post("/one/run", content=body, headers=headers))[0]["loc"] == ["body", "doc"]


def test_an_empty_file_is_a_file(client: httpx.Client) -> None:
    assert result_of(client.post("/one/run", files={"doc": ("empty", b"")}))[0][2] == 0


@pytest.mark.parametrize("name", ["one", "several"])
@pytest.mark.parametrize("how", ["other", "none", "json", "text"])
def test_a_missing_file_is_named(client: httpx.Client, name: str, how: str) -> None:
    field = "doc" if name == "one" else "files"
    if how == "other":
        answer = client.post(f"/{name}/run", files={"other": b"x"})
    elif how == "text":
        answer = client.post(f"/{name}/run", files={field: (None, "")})
    else:
        answer = client.post(f"/{name}/run", json={field: "x"} if how == "json" else None)
    assert faults(answer) == [{"loc": ["body", field], "msg": "File required", "type": "missing"}]


def test_a_file_may_come_without_a_filename(client: httpx.Client) -> None:
    every_byte = bytes(range(256))
    part = b'--b\r\nContent-Disposition: form-data; name="doc"\r\n\r\n' + every_byte + b"\r\n--b--\r\n"
    answer = client.post("/one/run", content=part, headers={"content-type": 'multipart/form-data; boundary="b"'})
    assert result_of(answer)[0] == ["", None, 256, every_byte.decode("latin-1")]
    assert result_of(client.post("/maybe/run", files={"doc": (None, "text")}))[0][3] == "text"


def test_text_of_another_form_is_no_file(client: httpx.Client) -> None:
    for name in ("one", "maybe"):
        assert faults(client.post(f"/{name}/run", data={"doc": "text"})) == [
            {"loc": ["body", "doc"], "msg": "A file comes as a part of multipart/form-data", "type": "file_type"}
        ]


def test_text_beside_files_is_read_in_its_charset(client: httpx.Client) -> None:
    for charset, said in (("", "h\u00e9llo \N{GRINNING FACE}"), ("; charset=latin-1", "h\u00e9llo")):
        text = said.encode("latin-1" if charset else "utf-8")
        part = b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\n' + text + b"\r\n--b--\r\n"
        headers = {"content-type": f"multipart/form-data; boundary=b{charset}"}
        assert result_of(client.post("/maybe/run", content=part, headers=headers)) == [None, said]


def test_files_for_parameters_that_do_not_exist_are_ignored(client: httpx.Client) -> None:
    assert result_of(client.post("/one/run", files={"doc": b"x", "other": b"y"}))[1] == "none"


def test_the_last_of_two_files_for_one_parameter_counts(client: httpx.Client) -> None:
    files = [("doc", ("1", b"1")), ("doc", ("2", b"2"))]
    assert result_of(client.post("/one/run", files=files))[0][0] == "2"


def test_fastapis_markers_as_defaults_mean_what_they_mean_there(client: httpx.Client) -> None:
    assert result_of(client.post("/fastapi-style/run", files={"doc": ("a", b"a")}))[1:] == [None, "x"]
    assert faults(client.post("/fastapi-style/run", data={"q": "a"}))[0]["loc"] == ["body", "doc"]


def test_a_stream_may_read_the_upload_while_it_is_sent(client: httpx.Client) -> None:
    text = "".join(f"line {i}\n" for i in range(10_000))
    assert client.post("/streamed/run", files={"doc": text.encode()}).text == text


def test_headers_of_the_part_and_of_the_request_are_there(client: httpx.Client) -> None:
    files = {"doc": ("a", b"a", "text/plain", {"X-Part": "p"})}
    assert result_of(client.post("/headers/run", files=files, headers={"X-Thing": "t"})) == ["p", "t"]


def test_an_endpoint_without_files_refuses_forms(client: httpx.Client) -> None:
    add_name = "no-files"
    assert faults(client.post(f"/{add_name}/run", files={"q": b"x"}))[0]["loc"] == ["header", "content-type"]


add("no-files", "def run_api(self, q: str = ''):\n    return q")


# -- fields ---------------------------------------------------------------------------------------------------------

FIELDS: list[tuple[str, str, Any, Any]] = [
    ("str", "str", "123", "123"),
    ("str-json", "str", '{"a": 1}', '{"a": 1}'),
    ("str-quoted", "str", '"x"', '"x"'),
    ("str-empty", "str", "", ""),
    ("str-optional", "Optional[str]", "null", "null"),
    ("literal", "Literal['1', 'b']", "1", "1"),
    ("int", "int", "5", 5),
    ("int-optional", "int | None", "5", 5),
    ("int-null", "int | None", "null", None),
    ("float", "float", "1e3", 1000.0),
    ("bool", "bool", "true", True),
    ("bool-on", "bool", "on", True),
    ("bool-zero", "bool", "0", False),
    ("dict", "dict", '{"a": [1]}', {"a": [1]}),
    ("dict-any", "dict[str, Any] | None", '{"a": null}', {"a": None}),
    ("model", "Model", '{"a": 1}', {"a": 1, "b": "b"}),
    ("dataclass", "Point", '{"x": 1}', {"x": 1}),
    ("document", "Document", '{"id": "1", "content": "x"}', None),
    ("messages", "list[ChatMessage]", '[{"role": "user", "content": "x"}]', None),
    ("date", "datetime.date", "2024-01-02", "2024-01-02"),
    ("date-quoted", "datetime.date", '"2024-01-02"', "2024-01-02"),
    ("datetime", "datetime.datetime", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
    ("uuid", "uuid.UUID", "12345678-1234-5678-1234-567812345678", "12345678-1234-5678-1234-567812345678"),
    ("decimal", "decimal.Decimal", "1.10", "1.10"),
    ("enum", "Colour", "red", "red"),
    ("list-json", "list[str]", '["a", "b"]', ["a", "b"]),
    ("list-one", "list[str]", "a", ["a"]),
    ("list-repeated", "list[str]", ["a", "1"], ["a", "1"]),
    ("list-ints", "list[int]", ["1", "2"], [1, 2]),
    ("list-ints-json", "list[int]", "[1, 2]", [1, 2]),
    ("list-models", "list[Model]", ['{"a": 1}', '{"a": 2}'], [{"a": 1, "b": "b"}, {"a": 2, "b": "b"}]),
    ("list-optional", "Optional[list[int]]", "3", [3]),
    ("set", "set[int]", ["1", "1"], [1]),
    ("any-text", "Any", "hello", "hello"),
    ("any-json", "Any", '{"a": 1}', {"a": 1}),
    ("union", "int | str", "hello", "hello"),
    ("union-int", "int | str", "5", 5),
    ("repeated", "str", ["a", "b"], "b"),
    ("constrained", "int", "7", 7),
]
for case, annotation, _, _ in FIELDS:
    add(f"f-{case}", f"def run_api(self, v: {annotation}, doc: UploadFile | None = None):\n    return v")


@pytest.mark.parametrize(("case", "sent", "shown"), [(case, sent, shown) for case, _, sent, shown in FIELDS])
@pytest.mark.parametrize("form", ["multipart", "urlencoded"])
def test_fields_beside_files_are_read_as_their_types_say(
    client: httpx.Client, case: str, sent: Any, shown: Any, form: str
) -> None:
    texts = sent if isinstance(sent, list) else [sent]
    if form == "multipart":
        answer = client.post(f"/f-{case}/run", files=[("v", (None, text)) for text in texts])
    else:
        answer = client.post(f"/f-{case}/run", data={"v": sent})
    result = result_of(answer)
    if shown is not None or "null" in case:
        assert result == shown


@pytest.mark.parametrize(
    ("case", "sent"),
    [("int", "x"), ("int", ""), ("bool", "maybe"), ("dict", "a=1"), ("model", '{"a": "1"}'),
     ("model", "5"), ("date", "soon"),
     ("list-ints", "x"), ("enum", "green"), ("literal", "c"), ("document", "x")],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_and_named(client: httpx.Client, case: str, sent: str) -> None:
    assert faults(client.post(f"/f-{case}/run", files={"v": (None, sent)}))[0]["loc"][:2] == ["body", "v"]


def test_a_missing_field_is_named(client: httpx.Client) -> None:
    assert faults(client.post("/f-int/run", files={"doc": b"x"})) == [
        {"loc": ["body", "v"], "msg": "Field required", "type": "missing"}
    ]


add(
    "defaults",
    """
    def run_api(
        self, doc: UploadFile, n: int = 3, f: int = Field(default=4), made: list = Field(default_factory=list),
        items: list[int] = [1],
    ):
        items.append(2)
        made.append(1)
        return [n, f, made, items]
    """,
)
add("extra", "def run_api(self, doc: UploadFile, **more):\n    return more")


def test_fields_that_are_not_sent_have_their_defaults(client: httpx.Client) -> None:
    for _ in range(2):
        assert result_of(client.post("/defaults/run", files={"doc": b"x"})) == [3, 4, [1], [1, 2]]


def test_a_hook_with_kwargs_gets_the_other_fields_as_text(client: httpx.Client) -> None:
    answer = client.post("/extra/run", files={"doc": b"x"}, data={"a": "1", "self": "2"})
    assert result_of(answer) == {"a": "1"}


def test_a_json_body_works_where_no_file_is_required(client: httpx.Client) -> None:
    assert result_of(client.post("/f-int/run", json={"v": 5})) == 5
    assert faults(client.post("/f-int/run", json={"v": "5"}))[0]["loc"] == ["body", "v"]


# -- odd forms ------------------------------------------------------------------------------------------------------

MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"--b\r\n", "multipart/form-data"),
        (b"garbage", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="v"\r\n\r\n' + b"x" * 10, "multipart/form-data; boundary=b"),
        (b"--b--\r\n", "multipart/form-data; boundary=" + "b" * 5000),
        (b"--b\r\n" + b"X-A: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
    ],
    ids=range(8),
)
def test_a_broken_form_is_refused(client: httpx.Client, content: bytes, kind: str) -> None:
    answer = client.post("/f-int/run", content=content, headers={"content-type": kind})
    assert answer.status_code == 422, answer.text
    assert answer.json()["kind"] == "invalid"


def test_an_unknown_charset_harms_nobody(client: httpx.Client) -> None:
    content = b'--b\r\nContent-Disposition: form-data; name="v"\r\n\r\n5\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b; charset=klingon"}
    assert result_of(client.post("/f-int/run", content=content, headers=headers)) == 5


@pytest.mark.parametrize("kind", ["field", "file"])
def test_too_many_parts_are_refused(client: httpx.Client, kind: str) -> None:
    name = b'; filename="a"' if kind == "file" else b""
    part = b'--b\r\nContent-Disposition: form-data; name="doc"' + name + b"\r\n\r\nx\r\n"
    answer = client.post("/one/run", content=part * 10_001 + b"--b--\r\n", headers=MULTIPART)
    assert answer.status_code == 422
    assert "Too many" in answer.json()["detail"]


def test_a_filename_is_only_a_name(client: httpx.Client) -> None:
    content = b'--b\r\nContent-Disposition: form-data; name="doc"; filename="../../etc/passwd"\r\n\r\nx\r\n--b--\r\n'
    (name, *_), _ = result_of(client.post("/one/run", content=content, headers=MULTIPART))
    assert name == "../../etc/passwd"  # as the caller sent it: nothing here opens it


def test_a_form_above_the_limit_is_refused(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    few = Wrappers()
    few.add("one", "def run_api(self, doc: UploadFile):\n    return doc.size", imports=IMPORTS)
    few.write(pipelines)
    with running_server(
        pipelines, env={"HAYHOOKS_MAX_UPLOAD_BYTES": "1000000", "HAYHOOKS_MAX_BODY_BYTES": "10"}
    ) as server:
        assert result_of(httpx.post(f"{server.url}/one/run", files={"doc": bytes(900_000)})) == 900_000
        answer = httpx.post(f"{server.url}/one/run", files={"doc": bytes(1_100_000)})
        assert (answer.status_code, answer.json()["kind"]) == (413, "too_large")


def test_a_caller_who_leaves_while_uploading_leaves_nothing_in_the_log(server: RunningServer) -> None:
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    connection.putrequest("POST", "/one/run")
    connection.putheader("Content-Type", MULTIPART["content-type"])
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b'--b\r\nContent-Disposition: form-data; name="doc"; filename="a"\r\n\r\nhalf a file')
    connection.close()
    assert result_of(httpx.post(f"{server.url}/no-files/run", json={"q": "alive"})) == "alive"
    assert "ClientGone" not in server.log


def test_the_document_describes_the_form(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/two/run"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    fields, files = content["multipart/form-data"]["schema"]["allOf"]
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    assert files["properties"] == {"left": file, "right": {"type": "array", "items": file}}
    assert files["required"] == ["left", "right"]
    request = document["components"]["schemas"][fields["$ref"].rpartition("/")[2]]
    assert list(request["properties"]) == ["n"]
    assert set(document["paths"]["/maybe/run"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
    }


# -- memory ---------------------------------------------------------------------------------------------------------

add(
    "digest",
    """
    def run_api(self, doc: UploadFile):
        digest = hashlib.sha256()
        while block := doc.file.read(1 << 16):
            digest.update(block)
        return [doc.size, digest.hexdigest()]
    """,
)


def peak_rss_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_half_a_gigabyte_uploaded_lies_on_disk_not_in_memory(server: RunningServer) -> None:
    block = bytes(range(256)) * 4096  # 1 MiB
    count = 500
    head = b'--b\r\nContent-Disposition: form-data; name="doc"; filename="big"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    expected = hashlib.sha256()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            expected.update(block)
            yield block
        yield tail

    httpx.post(f"{server.url}/digest/run", files={"doc": block}).raise_for_status()
    before = peak_rss_bytes(server.process.pid)
    headers = {**MULTIPART, "content-length": str(len(head) + count * len(block) + len(tail))}
    answer = httpx.post(f"{server.url}/digest/run", content=body(), headers=headers, timeout=120)
    assert result_of(answer) == [count * len(block), expected.hexdigest()]
    assert peak_rss_bytes(server.process.pid) - before < 50 * 1024 * 1024
