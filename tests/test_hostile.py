"""Requests that nobody honest sends, byte by byte; after each of them the server answers the next caller."""

import contextlib
import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.gates import WAIT_S

WRAPPER = """
from typing import Any

from fastapi import UploadFile
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    async def run_api_async(self, text: str = "", more: Any = None) -> str:
        return text

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict) -> str:
        return "said"
"""
FILES = """
from fastapi import UploadFile
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    def run_api(self, files: list[UploadFile], text: str = "") -> list[str]:
        return [file.filename for file in files]
"""
MARK = "evil-mark-7f3a"
RUN = b"POST /echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHAT = RUN.replace(b"/echo/run", b"/v1/chat/completions")
GET = b"GET /status HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    env = {
        "HAYHOOKS_SLOW_WRITER_TIMEOUT_S": "1",
        "HAYHOOKS_CORS_ALLOW_ORIGIN_REGEX": r"https://.*.*.*\.example",
        "HAYHOOKS_MAX_BODY_BYTES": str(12 * 2**20),
        "HAYHOOKS_MAX_UPLOAD_BYTES": str(12 * 2**20),
    }
    with running_server(tmp_path_factory.mktemp("hostile") / "pipelines", env=env) as server:
        server.client.deploy_files("echo", {"pipeline_wrapper.py": WRAPPER.encode()})
        server.client.deploy_files("forms", {"pipeline_wrapper.py": FILES.encode()})
        httpx.get(f"{server.url}/v1/responses/none")  # its database is opened when it is first asked for
        yield server


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer) -> Iterator[None]:
    """The server serves, and keeps neither memory nor files nor lines of the attacker's."""
    process = psutil.Process(server.process.pid)
    log, files, resident = len(server.log), process.num_fds(), process.memory_info().rss
    yield
    assert server.client.run("echo", {"text": "next"}).result == "next"
    assert process.num_fds() <= files + 3
    assert process.memory_info().rss < resident + 150 * 2**20
    written = server.log[log:]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", written)
    assert f"\n{MARK}" not in written
    assert "Traceback" not in written


def send(server: RunningServer, data: bytes, *, half_close: bool = False) -> bytes:
    """All that the server says to these bytes until it closes."""
    address = urlsplit(server.url)
    got = b""
    with (
        socket.create_connection((address.hostname, address.port), timeout=WAIT_S) as one,
        contextlib.suppress(ConnectionError),
    ):
        with contextlib.suppress(ConnectionError):
            one.sendall(data)
            if half_close:
                one.shutdown(socket.SHUT_WR)
        while part := one.recv(65536):
            got += part
    return got


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def body(data: bytes, head: bytes = RUN) -> bytes:
    return head + CLOSE + b"Content-Length: %d\r\n\r\n" % len(data) + data


SMUGGLED = b"POST /echo/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 22\r\n\r\n" + b'{"text":"smuggled-it"}'


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Content-Length: 2, 2\r\n\r\n{}",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: -1\r\n\r\n{}",
        b"Content-Length: 0x2\r\n\r\n{}",
        b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        b"Content-Length : 2\r\n\r\n{}",
        b"Content-Length: 2 2\r\n\r\n{}",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        b"X-Folded: a\r\n b\r\nContent-Length: 2 \r\n x\r\n\r\n{}",
        b"X-Null: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        b"X Space: a\r\nContent-Length: 2\r\n\r\n{}",
        b"Host: evil.example\r\nContent-Length: 2\r\n\r\n{}",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Host: evil.example\r\nContent-Length: 100000\r\n\r\n" + b" " * 99_998 + b"{}",
        b"X-Return: a\rContent-Length: 2\r\n\r\n{}",
        b"no colon here\r\nContent-Length: 2\r\n\r\n{}",
        b": no name\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_body_whose_length_is_in_doubt_lets_no_second_request_through(server: RunningServer, head: bytes) -> None:
    answer = send(server, RUN + head + SMUGGLED)
    assert b"smuggled-it" not in answer
    assert statuses(answer)[-1:] in ([400], [413], []) or statuses(answer) == [200]
    assert len(statuses(answer)) <= 2


@pytest.mark.parametrize(
    "data",
    [
        b"GET /status\r\n\r\n",
        b"GET /status HTTP/0.9\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"GET  /status  HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /a\x00b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET evil.example:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"BREW /echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"TRACE /echo/run HTTP/1.1\r\nHost: localhost\r\nX-API-Key: secret\r\nConnection: close\r\n\r\n",
        b"PROPFIND /echo/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"POST /echo/run HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: 2\n\n{}",
        b"GET //evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /%0d%0aSet-Cookie:%20evil=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_lines_that_are_no_request_of_ours_are_refused(server: RunningServer, data: bytes) -> None:
    answer = send(server, data)
    assert set(statuses(answer)) <= {200, 400, 404, 405, 421, 501, 505}
    assert b"secret" not in answer
    assert b"\r\nset-cookie" not in answer.lower()


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"evil"])
@pytest.mark.parametrize("head", [GET, RUN + b"Content-Length: 2\r\n"])
def test_an_upgrade_is_not_taken_and_what_follows_it_not_answered(
    server: RunningServer, head: bytes, upgrade: bytes
) -> None:
    data = (
        head + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade + b"\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    answer = send(server, data + (b"{}" if head != GET else b"") + SMUGGLED)
    assert statuses(answer) == [200]
    assert b"smuggled-it" not in answer


def test_requests_sent_before_the_answers_are_answered_in_order(server: RunningServer) -> None:
    texts = [f"text-{number}" for number in range(200)]
    bodies = [json.dumps({"text": text}).encode() for text in texts]
    data = b"".join(RUN + b"Content-Length: %d\r\n\r\n" % len(one) + one for one in bodies[:-1]) + body(bodies[-1])
    answer = send(server, data)
    assert re.findall(r"text-\d+", answer.decode()) == texts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GET,
        RUN + b"Content-Length: 100\r\n\r\n{",
        RUN + b"Content-Length: 2\r\n\r\n{}",
        RUN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        CHAT + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        CHAT + b"Expect: the-unexpected\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_who_closes_one_half_leaves_nothing_behind(server: RunningServer, data: bytes) -> None:
    assert set(statuses(send(server, data, half_close=True))) <= {100, 200, 400, 417}


def test_what_follows_a_body_is_not_part_of_it(server: RunningServer) -> None:
    answer = send(server, RUN + b"Content-Length: 15\r\n\r\n" + b'{"text":"body"}' + b"and more\r\n\r\n")
    assert 400 in statuses(answer)
    assert b"and more" not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 5_000_000,
        b'{"text":' * 1_000_000,
        b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"more":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"more":' + b"9" * 1_000_000 + b"}",
        b'{"more":1e999999999}',
        b'{"more":-1' + b"0" * 5_000 + b"}",
        b'{"more":NaN}',
        b'{"text":"\\ud800"}',
        b'{"text":"\\udc00\\ud800"}',
        b'{"text":"\xff\xfe"}',
        b'{"text":"\xed\xa0\x80"}',
        b'{"text":"a","text":"b"}',
        b'{"text":"\\u0000\\r\\n' + MARK.encode() + b'"}',
        b'{"' + b"n" * 10_000_000 + b'":1}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b'{"__proto__":{},"__class__":"x"}',
        b"null",
        b"",
    ],
    ids=lambda data: repr(data[:20]),
)
@pytest.mark.parametrize("head", [RUN, CHAT, CHAT.replace(b"chat/completions", b"messages"),
                                  CHAT.replace(b"chat/completions", b"responses"),
                                  CHAT.replace(b"chat/completions", b"embeddings")],
                         ids=["run", "chat", "messages", "responses", "embeddings"])  # fmt: skip
def test_json_that_is_out_of_bounds_is_the_callers_fault(server: RunningServer, head: bytes, data: bytes) -> None:
    answer = send(server, body(data, head))
    assert statuses(answer)[0] in (200, 400, 404, 413, 422)
    assert len(answer) < 20_000 or statuses(answer) == [200]


@pytest.mark.parametrize(
    "chat",
    [
        {"model": "../echo", "messages": [{"role": "user", "content": "x"}]},
        {"model": "echo\r\nX-Evil: 1", "messages": [{"role": "user", "content": "x"}]},
        {"model": "\u0435cho", "messages": [{"role": "user", "content": "x"}]},
        {"model": "m" * 1_000_000, "messages": [{"role": "user", "content": "x"}]},
        {"model": "echo", "messages": [{"role": "x" * 1_000_000, "content": {"a": [1]}}]},
        {"model": "echo", "messages": [{}] * 10_000},
        {"model": "echo", "messages": [{"role": "user", "content": "x"}], "stream": "yes"},
        {"model": ["echo"], "messages": {"role": "user"}},
    ],
)
def test_chats_of_odd_shape_are_refused_without_repeating_them(server: RunningServer, chat: object) -> None:
    answer = send(server, body(json.dumps(chat).encode(), CHAT))
    assert statuses(answer)[0] in (200, 400, 404)
    assert len(answer) < 5_000
    assert b"\r\nx-evil" not in answer.lower()


NAMES = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "....//", "%00", "%0a" + MARK, "%0d%0a" + MARK, "a" * 10_000, "CON",
         "%EF%BC%8E%EF%BC%8E", "%C3%A9", "e%CC%81", "%ff%fe", "%F0%9F%92%A3", "%u002e", "echo%00", "ECHO", "echo%20",
         "~root", "%5c..%5c", "file:%2f%2f%2fetc%2fpasswd"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_names_in_paths_lead_nowhere_else(server: RunningServer, name: str) -> None:
    paths = [
        "/{}/run", "/{}/chat", "/{}", "/draw/{}", "/status/{}", "/deployments/{}", "/undeploy/{}", "/docs/{}",
        "/v1/models/{}", "/v1/files/{}", "/v1/files/{}/content", "/v1/responses/{}", "/v1/conversations/{}",
    ]  # fmt: skip
    for path in paths:
        for method in ("GET", "POST", "DELETE"):
            line = f"{method} {path.format(name)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            answer = send(server, line.encode() + CLOSE + b"Content-Length: 2\r\n\r\n{}")
            assert statuses(answer)[0] < 500, (method, path, answer[:300])
            assert b"root:" not in answer
            assert f"\n{MARK}".encode() not in answer


@pytest.mark.parametrize(
    "header",
    [b"X-Request-ID: a\tb" + MARK.encode(), b"X-Request-ID: " + b"i" * 20_000, b"X-Request-ID: \xff\xfe",
     b"Content-Type: application/json; charset=" + b"c" * 10_000, b"Content-Type: \xff", b"Origin: null",
     b"Authorization: Bearer " + b"k" * 30_000, b"Authorization: \xff\xff", b"Cookie: " + b"a=b;" * 5_000,
     b"Accept: " + b"*/*," * 5_000, b"X-Forwarded-For: 127.0.0.1, " * 100, b"Host: evil.example",
     b"Range: bytes=" + b"0-," * 5_000, b"If-None-Match: " + b'"",' * 5_000, b"Sec-Fetch-Site: \xff"],
    ids=lambda header: repr(header[:24]),
)  # fmt: skip
def test_header_values_are_only_values(server: RunningServer, header: bytes) -> None:
    for head in (RUN, GET, b"GET /docs HTTP/1.1\r\nHost: localhost\r\n", CHAT):
        answer = send(server, head + header + b"\r\n" + CLOSE + b"Content-Length: 2\r\n\r\n{}")
        assert statuses(answer)[0] < 500, answer[:300]


def test_a_long_origin_is_not_searched_for_a_pattern_that_takes_for_ever(server: RunningServer) -> None:
    answer = send(server, body(b'{"text":"x"}', RUN + b"Origin: https://" + b"a" * 5_000 + b"!\r\n"))
    assert statuses(answer) == [200]
    assert b"access-control-allow-origin: https" not in answer


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"x-evil"])
@pytest.mark.parametrize("head", [RUN, CHAT, RUN.replace(b"/echo/", b"/forms/")], ids=["run", "chat", "form"])
def test_compressed_bodies_are_refused_not_unpacked(server: RunningServer, head: bytes, encoding: bytes) -> None:
    bomb = gzip.compress(b'{"text":"' + b"x" * 10_000_000 + b'"}')
    answer = send(server, body(bomb, head + b"Content-Encoding: " + encoding + b"\r\n"))
    assert statuses(answer) == [415]


def form(parts: bytes, boundary: bytes = b"B") -> bytes:
    head = b"POST /forms/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=" + boundary
    return body(parts, head + b"\r\n")


PART = b'--B\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    "data",
    [
        form(PART % (b"files", b"f") * 20_000 + b"--B--\r\n"),
        form(b'--B\r\nContent-Disposition: form-data; name="text"\r\n\r\nx\r\n' * 20_000 + b"--B--\r\n"),
        form(b"--B\r\n" + b"X-Header: y\r\n" * 100_000 + b"\r\nx\r\n--B--\r\n"),
        form(b"--B\r\nContent-Disposition: form-data; name=" + b"n" * 1_000_000 + b"\r\n\r\nx\r\n--B--\r\n"),
        form(b"--B\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n--C--\r\n--B--\r\n"),
        form(b"no boundary at all"),
        form(b"--B\r\n" * 10_000),
        form(b"", b""),
        form(b"--B--\r\n", b"b" * 10_000),
        form(b"--B--\r\n", b'"\xff\x00"'),
        form(b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n"),
        form(b'--B\r\nContent-Disposition: form-data; name="files"; filename="f"\r\nContent-Encoding: gzip\r\n\r\nx'),
    ],
    ids=["20,000 files", "20,000 fields", "many headers", "long name", "nested", "none", "empty parts", "no boundary",
         "long boundary", "odd boundary", "no field", "torn"],
)  # fmt: skip
def test_forms_that_are_traps_are_refused(server: RunningServer, data: bytes) -> None:
    assert statuses(send(server, data))[0] in (400, 413, 415, 422)


@pytest.mark.parametrize(
    "name",
    [b"../../etc/passwd", b"/etc/passwd", b"C:\\\\x", b"a\x00b", b"CON", b"..", b"x" * 100_000,
     "\u202egnp.exe".encode(),
     b"\xff\xfe", b"%0d%0aX: y"],
    ids=lambda name: repr(name[:16]),
)  # fmt: skip
def test_names_of_uploads_are_never_paths(server: RunningServer, name: bytes, tmp_path: Path) -> None:
    before = sorted(path for path in server.pipelines_dir.parent.rglob("*") if ".hayhooks" not in path.parts)
    answer = send(server, form(PART % (b"files", name) + b"--B--\r\n"))
    assert statuses(answer)[0] in (200, 400, 422)
    assert before == sorted(path for path in server.pipelines_dir.parent.rglob("*") if ".hayhooks" not in path.parts)


@pytest.mark.parametrize(
    "path",
    ["../out.py", "/etc/x.py", "a/../../x.py", "a\x00b.py", "dir/", "", ".", "a//b.py", "a\\..\\b.py", "a" * 5_000],
)
def test_paths_of_a_bundle_stay_inside(server: RunningServer, path: str) -> None:
    files = {"pipeline_wrapper.py": WRAPPER, path: "x"}
    data = json.dumps({"name": "escaped", "files": files}).encode()
    answer = send(server, body(data, RUN.replace(b"/echo/run", b"/deploy_files")))
    assert statuses(answer)[0] in (400, 422), answer[:300]


@pytest.mark.parametrize(
    "name", ["..", "a/b", "CON\n", "\u0435cho", "e\u0301cho", "a b", "", "x" * 1_000, "v1", "\ufeffx"]
)
def test_names_of_deployments_are_plain(server: RunningServer, name: str) -> None:
    data = json.dumps({"name": name, "files": {"pipeline_wrapper.py": WRAPPER}}).encode()
    answer = send(server, body(data, RUN.replace(b"/echo/run", b"/deploy_files")))
    assert statuses(answer)[0] in (400, 409, 422), answer[:300]


def test_no_address_that_a_caller_names_is_fetched(server: RunningServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
        image = {"type": "image_url", "image_url": {"url": url}}
        file = {"type": "input_file", "file_url": url}
        chat = {"model": "echo", "messages": [{"role": "user", "content": [image]}]}
        response = {"model": "echo", "input": [{"role": "user", "content": [file]}]}
        source = {"type": "image", "source": {"type": "url", "url": url}}
        message = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": [source]}]}
        for path, asked in ((b"chat/completions", chat), (b"responses", response), (b"messages", message)):
            answer = send(server, body(json.dumps(asked).encode(), CHAT.replace(b"chat/completions", path)))
            assert statuses(answer)[0] < 500
        with pytest.raises(TimeoutError):
            trap.accept()
