"""The Files API, as the OpenAI SDK, hooks and hostile clients use it."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from hayhooks import read_input_file
from hayhooks.core.errors import InvalidRequest
from hayhooks.core.files import safe_filename
from hayhooks.testing import RunningServer, running_server
from tests.support.wrappers import Wrappers

MAX_FILE, MAX_TOTAL = 3_000_000, 5_000_000
wrappers = Wrappers()
READERS = """
from hayhooks import current_run, get_input_files, read_input_file, read_input_file_async
"""
SHOW = """
def show(file):
    return f"{file.filename} {file.content_type} {file.content.decode()}"
"""
wrappers.add(
    "reader",
    """
    def run_chat_completion(self, model, messages, body):
        for part in get_input_files(messages):
            yield show(read_input_file(part))
    """,
    imports=READERS, before=SHOW,
)  # fmt: skip
wrappers.add(
    "reader_async",
    """
    async def run_chat_completion_async(self, model, messages, body):
        files = [await read_input_file_async(part) for part in get_input_files(messages)]
        return "".join(map(show, files))
    """,
    imports=READERS, before=SHOW,
)  # fmt: skip
wrappers.add(
    "responder",
    """
    def run_response(self, model, input_items, body):
        return "".join(show(read_input_file(part)) for part in get_input_files(input_items))
    """,
    imports=READERS, before=SHOW,
)  # fmt: skip
TAKER = """
def run_file_upload(self, filename, content_type, content, purpose):
    return {"id": "file-own", "filename": f"{filename} {content_type} {content.decode()} {purpose}", "extra": 1}
"""
taker = Wrappers()
taker.add("taker", TAKER)
taker.add("other", "def run_chat_completion(self, model, messages, body): return 'hi'")
takers = Wrappers()
takers.add("first", TAKER)
takers.add("async", "async def run_file_upload_async(self, filename, content_type, content, purpose): return {}")
takers.add(
    "wrong",
    """
    def run_file_upload(self, filename, content_type, content, purpose):
        if filename == "raise":
            raise ValueError("secret")
        return "file-secret"
    """,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("files") / "pipelines"
    wrappers.write(directory)
    limits = {"HAYHOOKS_FILES_MAX_FILE_BYTES": str(MAX_FILE), "HAYHOOKS_FILES_MAX_TOTAL_BYTES": str(MAX_TOTAL)}
    with running_server(directory, env=limits) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client
        for file in client.files.list(limit=3):
            client.files.delete(file.id)


@pytest.fixture
def web(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as web:
        yield web


def upload(web: httpx.Client, name: str = "a.txt", content: bytes = b"content", **more: Any) -> httpx.Response:
    kind = more.pop("kind", "text/plain")
    return web.post("/v1/files", files={"file": (name, content, kind)}, data={"purpose": "user_data", **more})


# The OpenAI SDK -------------------------------------------------------------------------------------------------------


def test_a_file_is_uploaded_described_read_and_deleted(client: OpenAI) -> None:
    content = bytes(range(256)) * 8000  # larger than what is spooled in memory
    made = client.files.create(file=("data.bin", content), purpose="user_data")
    assert (made.bytes, made.filename, made.object) == (len(content), "data.bin", "file")
    assert (made.purpose, made.status, made.expires_at) == ("user_data", "processed", None)
    assert made.id.startswith("file-")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    with client.files.with_streaming_response.content(made.id) as streamed:
        assert hashlib.sha256(b"".join(streamed.iter_bytes())).digest() == hashlib.sha256(content).digest()
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object") as refused:
            call(made.id)
        assert (refused.value.param, refused.value.type) == ("id", "invalid_request_error")


async def test_the_async_sdk_uploads_too(server: RunningServer, client: OpenAI, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes")
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as async_client:
        made = await async_client.files.create(file=tmp_path / "notes.md", purpose="assistants")
        assert (await async_client.files.content(made.id)).text == "# Notes"


def test_files_are_listed_page_by_page_the_newest_first_unless_asked_otherwise(client: OpenAI) -> None:
    ids = [client.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]
    other = client.files.create(file=("other.txt", b"x"), purpose="batch").id
    assert [file.id for file in client.files.list()] == [other, *reversed(ids)]
    assert [file.id for file in client.files.list(limit=2)] == [other, *reversed(ids)]
    assert [file.id for file in client.files.list(limit=2, order="asc", purpose="user_data")] == ids
    page = client.files.list(limit=2, order="asc", after=ids[0])
    assert ([file.id for file in page.data], page.has_more) == (ids[1:3], True)
    last = client.files.list(limit=3, order="asc", after=ids[2])
    assert ([file.id for file in last.data], last.has_more) == ([*ids[3:], other], False)


def test_who_deletes_what_a_page_shows_can_go_on_to_the_next(client: OpenAI) -> None:
    for n in range(5):
        client.files.create(file=(f"{n}.txt", b"x"), purpose="user_data")
    deleted = [client.files.delete(file.id).id for file in client.files.list(limit=2)]
    assert len(deleted) == 5
    assert client.files.list().data == []


def test_a_file_may_expire(client: OpenAI) -> None:
    after = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=("a.txt", b"x"), purpose="user_data", expires_after=after)  # type: ignore[arg-type]
    assert made.expires_at == made.created_at + 3600
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a.txt", b"x"), purpose="user_data", expires_after={**after, "seconds": 9})  # type: ignore[arg-type]
    assert refused.value.param == "expires_after.seconds"


# Reading them in a hook -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["reader", "reader_async"])
def test_hooks_read_uploaded_files_and_files_that_come_with_the_message(client: OpenAI, model: str) -> None:
    made = client.files.create(file=("a.txt", b"uploaded"), purpose="user_data")
    data = base64.b64encode(b"sent along").decode()
    parts: list[Any] = [
        {"type": "file", "file": {"file_id": made.id}},
        {"type": "file", "file": {"file_data": data, "filename": "b.txt"}},
        {"type": "file", "file": {"file_data": f"data:text/csv;base64,{data}", "filename": "c.csv"}},
    ]
    completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    answer = completion.choices[0].message.content
    assert answer == "a.txt text/plain uploadedb.txt None sent alongc.csv text/csv sent along"


@pytest.mark.parametrize("model", ["reader", "reader_async", "responder"])
def test_files_in_the_input_of_responses_are_read_too(client: OpenAI, model: str) -> None:
    made = client.files.create(file=("a.txt", b"uploaded"), purpose="user_data")
    parts: list[Any] = [
        {"type": "input_file", "file_id": made.id},
        {"type": "input_file", "file_data": f"data:text/csv;base64,{base64.b64encode(b'sent along').decode()}"},
    ]
    response = client.responses.create(model=model, input=[{"role": "user", "content": parts}])
    assert response.output_text == "a.txt text/plain uploadedNone text/csv sent along"
    missing: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": "file-nope"}]}]
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.responses.create(model=model, input=missing)


@pytest.mark.parametrize("model", ["reader", "reader_async"])
def test_a_file_that_is_not_there_or_is_no_data_is_the_callers_mistake(client: OpenAI, model: str) -> None:
    def ask(**file: str) -> None:
        part: Any = {"type": "file", "file": file}
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [part]}])

    with pytest.raises(openai.NotFoundError, match="No such File object"):
        ask(file_id="file-nope")
    with pytest.raises(openai.BadRequestError, match="not base64"):
        ask(file_data="no base64!")
    with pytest.raises(openai.BadRequestError, match="not fetched"):
        ask(file_url="http://127.0.0.1/secret")
    with pytest.raises(openai.BadRequestError, match="needs a"):
        ask(filename="a.txt")


def test_data_of_a_part_is_read_outside_of_a_run_an_uploaded_file_is_not() -> None:
    assert read_input_file({"type": "input_file", "file_data": "data:text/plain,a%20b"}).content == b"a b"
    assert read_input_file({"type": "input_file", "file_data": " YQ ==\n"}).content == b"a"
    with pytest.raises(LookupError):
        read_input_file({"type": "input_file", "file_id": "file-1"})
    with pytest.raises(InvalidRequest):
        read_input_file({"type": "input_file", "file_data": "data:"})


# Limits and hostile input ---------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_413_and_leaves_nothing(client: OpenAI, server: RunningServer) -> None:
    made = client.files.create(file=("fits", b"x" * MAX_FILE), purpose="user_data")
    for size in (MAX_FILE + 1, MAX_FILE + 2_000_000):
        with pytest.raises(openai.APIStatusError, match=f"larger than {MAX_FILE} bytes") as refused:
            client.files.create(file=("a", b"x" * size), purpose="user_data")
        assert refused.value.status_code == 413
    assert [file.id for file in client.files.list()] == [made.id]
    assert [path.name for path in contents(server)] == [made.id]


def test_a_file_for_which_there_is_no_room_is_413_until_another_is_deleted(client: OpenAI) -> None:
    made = client.files.create(file=("a", b"x" * MAX_FILE), purpose="user_data")
    with pytest.raises(openai.APIStatusError, match="no room") as refused:
        client.files.create(file=("b", b"x" * MAX_FILE), purpose="user_data")
    assert refused.value.status_code == 413
    client.files.delete(made.id)
    client.files.create(file=("b", b"x" * MAX_FILE), purpose="user_data")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\a.txt", "a.txt"),
        ("..", "file"),
        ("a\x00b\x1b\n.txt", "ab.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("Größe 数据 🐋.txt", "Größe 数据 🐋.txt"),
        ('"; filename="b.txt', '"; filename="b.txt'),
        ("x" * 2000 + ".tar", "x" * 251 + ".tar"),
        ("数" * 2000, "数" * 85),
        ("\ud800", "file"),
        ("", "file"),
    ],
)
def test_names_are_made_safe_to_show_and_to_write(name: str, kept: str) -> None:
    assert safe_filename(name) == kept


@pytest.mark.parametrize("name", ["../../../../tmp/evil", "/etc/passwd", "a\x01b.txt", "Größe 数据.txt", "x" * 3000])
def test_a_name_never_leads_to_a_path(client: OpenAI, web: httpx.Client, server: RunningServer, name: str) -> None:
    made = upload(web, name).json()
    assert [path.name for path in contents(server)] == [made["id"]]
    answer = web.get(f"/v1/files/{made['id']}/content")
    assert answer.content == b"content"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')


@pytest.mark.parametrize(
    ("kind", "answered"),
    [("text/html", "text/html"), ("text/html\nX-Evil: 1", None), ("x" * 500, None), ("", None), ("päge/x", None)],
)
def test_a_file_is_data_whatever_type_it_claims_to_have(
    client: OpenAI, web: httpx.Client, kind: str, answered: str | None
) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: '
        + kind.encode().replace(b"\n", b"\r\n")
        + b"\r\n\r\n<script>1</script>\r\n--b--\r\n"
    )
    made = web.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert made.status_code == 200, made.text
    answer = web.get(f"/v1/files/{made.json()['id']}/content")
    expected = "text/html" if "html" in kind else answered
    assert answer.headers["content-type"] == (expected or "application/octet-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    ("files", "data", "param"),
    [
        ({"file": ("a", b"x")}, {}, "purpose"),
        ({"file": ("a", b"x")}, {"purpose": "no such\x00purpose"}, "purpose"),
        ({"other": ("a", b"x")}, {"purpose": "user_data"}, "file"),
        ({"other": ("a", b"x")}, {"purpose": "user_data", "file": "text"}, "file"),
        ([("file", ("a", b"x")), ("file", ("b", b"x"))], {"purpose": "user_data"}, "file"),
        (None, {"purpose": "user_data"}, "file"),
        ({"file": ("a", b"x")}, {"purpose": "user_data", "expires_after[anchor]": "now"}, "expires_after.anchor"),
        ({"file": ("a", b"x")}, {"purpose": "user_data", "model": "nope"}, "model"),
        ({"file": ("a", b"x")}, {"purpose": "user_data", "model": "reader"}, "model"),
    ],
)
def test_a_bad_upload_says_where(web: httpx.Client, files: Any, data: dict[str, str], param: str) -> None:
    answer = web.post("/v1/files", files=files, data=data)
    assert answer.status_code == (404 if param == "model" else 400)
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")],
)
def test_a_bad_question_for_a_list_says_where(web: httpx.Client, query: str, param: str) -> None:
    answer = web.get(f"/v1/files?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_ids_that_are_no_ids_are_not_found(web: httpx.Client) -> None:
    for path in ("x", "..%2F..%2Fetc%2Fpasswd", "file-%00", "file-" + "0" * 31 + "/content", "a/b/c", "%F0"):
        for method in ("GET", "DELETE"):
            answer = web.request(method, f"/v1/files/{path}")
            assert answer.status_code in (404, 405), path
    assert web.put("/v1/files").status_code == 405
    assert web.post("/files/file-1/content").headers["allow"] == "GET, HEAD"


def test_paths_without_v1_and_head_work(client: OpenAI, web: httpx.Client) -> None:
    made = web.post("/files", files={"file": ("a.txt", b"abc")}, data={"purpose": "vision"}).json()
    assert web.get("/files").json() == {
        "object": "list", "data": [made], "first_id": made["id"], "last_id": made["id"], "has_more": False,
    }  # fmt: skip
    assert web.get(f"/files/{made['id']}").json() == made
    head = web.head(f"/files/{made['id']}/content")
    assert (head.headers["content-length"], head.content) == ("3", b"")


# A wrapper that takes uploads over ------------------------------------------------------------------------------------


def test_the_only_deployment_with_the_hook_takes_uploads_over(tmp_path: Path) -> None:
    taker.write(tmp_path / "pipelines")
    with running_server(tmp_path / "pipelines") as server, httpx.Client(base_url=server.url) as web:
        answer = upload(web, "../a.txt").json()
        assert answer.pop("created_at") > 0
        assert answer == {
            "id": "file-own", "object": "file", "filename": "a.txt text/plain content user_data", "bytes": 7,
            "purpose": "user_data", "status": "processed", "extra": 1,
        }  # fmt: skip
        assert web.get("/v1/files").json()["data"] == []
        assert upload(web, model="other").status_code == 404


def test_of_several_the_one_that_is_named_takes_an_upload_over(tmp_path: Path) -> None:
    takers.write(tmp_path / "pipelines")
    with running_server(tmp_path / "pipelines") as server, httpx.Client(base_url=server.url) as web:
        kept = upload(web).json()
        assert [file["id"] for file in web.get("/v1/files").json()["data"]] == [kept["id"]]
        assert upload(web, model="first").json()["id"] == "file-own"
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            made = client.files.create(
                file=("b.txt", b"12"), purpose="user_data", extra_query={"model": "async"}
            )  # fmt: skip
            assert (made.filename, made.bytes, made.status) == ("b.txt", 2, "processed")
            assert made.id.startswith("file-")
        for name in ("raise", "wrong"):
            failed = upload(web, name, model="wrong")
            assert (failed.status_code, failed.json()["error"]["code"]) == (500, "run_failed")
            assert "secret" not in failed.text


# After a restart ------------------------------------------------------------------------------------------------------


def test_files_are_there_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with running_server(tmp_path / "pipelines") as server, httpx.Client(base_url=server.url) as web:
            listed = web.get("/v1/files").json()["data"]
            if not listed:
                upload(web, content=b"stays")
    assert [web_file["bytes"] for web_file in listed] == [5]


def contents(server: RunningServer) -> list[Path]:
    """The files of the server's store, as they lie on disk."""
    return sorted((server.pipelines_dir.parent / ".hayhooks" / "pipelines" / "files" / "content").iterdir())


@pytest.mark.parametrize(
    ("asked", "sent", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("Bytes=4-4", b"4", "bytes 4-4/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-9999999999", b"56789", "bytes 5-9/10"),
    ],
)
def test_a_part_of_a_file_is_sent_to_those_who_ask_for_it(
    client: OpenAI, asked: str, sent: bytes, content_range: str
) -> None:
    answer = httpx.get(content_of(client, b"0123456789"), headers={"range": asked})
    assert (answer.status_code, answer.content) == (206, sent)
    assert answer.headers["content-range"] == content_range
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("asked", ["bytes=3-1", "bytes=0-1,4-5", "bytes=", "bytes=x-y", "lines=0-1", "bytes=-", "5"])
def test_a_range_that_is_none_is_passed_over(client: OpenAI, asked: str) -> None:
    url = content_of(client, b"0123456789")
    whole = httpx.get(url, headers={"range": asked})
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["accept-ranges"] == "bytes"
    unsure = httpx.get(url, headers={"range": "bytes=0-1", "if-range": '"some"'})
    assert unsure.content == b"0123456789"
    head = httpx.head(url, headers={"range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10")


@pytest.mark.parametrize(("content", "asked"), [(b"0123456789", "bytes=10-"), (b"01", "bytes=-0"), (b"", "bytes=0-")])
def test_a_range_beyond_a_file_is_refused(client: OpenAI, content: bytes, asked: str) -> None:
    answer = httpx.get(content_of(client, content), headers={"range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


def content_of(client: OpenAI, content: bytes) -> str:
    made = client.files.create(file=("a", content), purpose="user_data")
    return f"{client.base_url}files/{made.id}/content"
