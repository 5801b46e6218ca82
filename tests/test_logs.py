"""The log: one line for each run, text or JSON, with no bodies, no secrets, and nothing that a caller could forge."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.core.names import printable
from hayhooks.log_lines import json_line
from hayhooks.surfaces._http import trace_of
from hayhooks.testing import RunningServer, running_server

WRAPPER = """
import logging
from fastapi import HTTPException
from haystack.dataclasses import StreamingChunk
from hayhooks import BasePipelineWrapper, current_run, log

class PipelineWrapper(BasePipelineWrapper):
    max_concurrent_runs = 1
    max_queued_runs = 0

    def setup(self):
        self.pipeline = None

    def run_api(self, how: str = "ok") -> str:
        if how == "raise":
            raise ValueError("broken for all")
        if how == "missing":
            raise HTTPException(404, "no such thing")
        if how == "say":
            log.info("said by the hook\\nand more")
            logging.getLogger("somebody").warning("by the standard library")
        return current_run().request_id

    async def run_chat_completion_async(self, model, messages, body):
        return self.words()

    async def words(self):
        meta = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
        yield StreamingChunk("word", meta=meta)
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
CHAT = {"model": "logged", "messages": [{"role": "user", "content": "secret words"}], "stream": True}


def write(directory: Path) -> Path:
    (directory / "pipelines" / "logged").mkdir(parents=True)
    (directory / "pipelines" / "logged" / "pipeline_wrapper.py").write_text(WRAPPER)
    return directory / "pipelines"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environment = {"HAYHOOKS_LOG_FORMAT": "json", "HAYHOOKS_ACCESS_LOG": "true", "HAYHOOKS_RUN_TIMEOUT_S": "30"}
    with running_server(write(tmp_path_factory.mktemp("server")), env=environment) as server:
        yield server


def run(server: RunningServer, how: str = "ok", **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/logged/run?key=s3cret", json={"how": how}, headers=headers)


def entry(server: RunningServer, request_id: str) -> dict[str, Any]:
    """The line of the run that answered to that id."""
    server.wait_for_log(rf'"message":"run",.*"request_id":"{re.escape(request_id)}"')
    found = [json.loads(line) for line in server.log.splitlines() if f'"request_id":"{request_id}"' in line]
    (line,) = (line for line in found if line["message"] == "run")
    return dict(line)


def test_a_run_is_one_line_with_typed_fields(server: RunningServer) -> None:
    headers = {"x-request-id": "call-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = run(server, **headers)
    assert answer.headers["x-request-id"] == answer.json()["result"] == "call-1"
    line = entry(server, "call-1")
    version = httpx.get(f"{server.url}/deployments/logged").json()["version"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert (type(line.pop("queue_ms")), type(line.pop("run_ms"))) == (float, float)
    assert line.pop("run_id") != "call-1"
    assert line == {
        "level": "INFO", "message": "run", "request_id": "call-1", "trace_id": TRACE, "deployment": "logged",
        "version": version[:12], "entry": "run_api", "via": "rest", "caller": "anonymous", "caller_id": "anonymous",
        "status": "ok", "streamed": False,
    }  # fmt: skip


def test_a_stream_counts_its_tokens(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers={"x-request-id": "call-2"})
    assert "word" in answer.text
    line = entry(server, "call-2")
    assert (line["via"], line["entry"], line["streamed"]) == ("openai", "run_chat_completion", True)


@pytest.mark.parametrize(
    ("how", "code", "status"), [("raise", 500, "failed"), ("missing", 404, "not_found"), (7, 422, "invalid")]
)
def test_how_a_run_ended_is_a_word(server: RunningServer, how: Any, code: int, status: str) -> None:
    answer = run(server, how, **{"x-request-id": f"ended-{status}"})
    assert answer.status_code == code
    assert answer.headers["x-request-id"] == f"ended-{status}"
    line = entry(server, f"ended-{status}")
    assert line["status"] == status


def test_an_error_names_its_run_and_carries_the_traceback_of_the_users_code(server: RunningServer) -> None:
    run_id = run(server, "raise").headers["x-request-id"]
    server.wait_for_log(f"Run {run_id} of logged .* failed")
    line = next(json.loads(line) for line in server.log.splitlines() if f"Run {run_id}" in line)
    assert line["level"] == "ERROR"
    assert line["run_id"] == run_id
    assert "ValueError: broken for all" in line["exception"]


def test_what_hooks_and_libraries_log_is_json_and_says_in_which_run(server: RunningServer) -> None:
    run(server, "say", **{"x-request-id": "call-3"})
    entry(server, "call-3")
    lines = [json.loads(line) for line in server.log.splitlines()]
    said = next(line for line in lines if line["message"] == "said by the hook\nand more")
    assert (said["request_id"], said["deployment"]) == ("call-3", "logged")
    passed = next(line for line in lines if line["message"] == "by the standard library")
    assert (passed["level"], passed["logger"], passed["request_id"]) == ("WARNING", "somebody", "call-3")


def test_every_line_is_json_whatever_a_caller_sends_and_tells_no_query_and_no_body(server: RunningServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:  # no request at all
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    forged = "%0a%7B%22level%22:%22FORGED%22%7D%1b%5B2J"
    for path in (f"/logged/run{forged}", f"/{forged}", f"/v1/models/{forged}", f"/status/{forged}"):
        httpx.get(f"{server.url}{path}?key=s3cret")
    httpx.post(f"{server.url}/v1/chat/completions", json={**CHAT, "model": 'x\n{"level":"FORGED"}'})
    run(server, **{"x-request-id": 'x" y\t{"level":"FORGED"}'})
    run(server, **{"x-request-id": "last"})
    entry(server, "last")
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert "FORGED" not in {line["level"] for line in lines}
    assert "s3cret" not in server.log
    assert "secret words" not in server.log
    requests = [line for line in lines if line.get("path") == "/logged/run" and line["http_status"] == 200]
    assert requests[0]["method"] == "POST"


def test_as_text_it_is_one_line_and_the_line_of_a_refusal_says_why(tmp_path: Path) -> None:
    with running_server(write(tmp_path)) as server:
        with httpx.Client(base_url=server.url) as web:
            first = web.post("/logged/run", json={}).headers["x-request-id"]
            web.post("/logged/run", json={"how": "raise"}, headers={"x-request-id": "abc"})
            web.get("/logged/run%0aFORGED")
            web.post("/unknown%0aFORGED/run", json={})
        ok = server.wait_for_log(rf"run={first} .*")[0]
        assert re.fullmatch(
            rf"run={first} deployment=logged version=[0-9a-f]{{12}} entry=run_api via=rest caller=anonymous status=ok "
            r"queue_ms=[0-9.]+ run_ms=[0-9.]+", ok,
        )  # fmt: skip
        server.wait_for_log("status=failed .* request_id=abc")
        server.stop()
        assert not [line for line in server.log.splitlines() if line.startswith("FORGED")]
        assert "unknown" not in server.log  # names that lead nowhere are not logged
        # Nothing that waited was lost, and it came in order.
        assert len(re.findall("run=.* status=", server.log)) == 2
        assert server.log.index("status=ok") < server.log.index("broken for all") < server.log.index("status=failed")


def test_the_line_can_be_left_out(tmp_path: Path) -> None:
    with running_server(write(tmp_path), env={"HAYHOOKS_LOG_RUNS": "false"}) as server:
        assert run(server).status_code == 200
        server.stop()
        assert "status=" not in server.log
        assert "POST" not in server.log


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"call-1", True), (b"a" * 128, True), (b"00-ab:cd/ef+gh=@~_.", True),
        (b"", False), (b"a" * 129, False), (b"a b", False), (b"a\nb", False), (b'a"b', False), (b"caf\xc3\xa9", False),
        (b"\x1b[2J", False), (b"a\r\nset-cookie: x", False), (b"<b>", False), (b"{x}", False), (b"a%0ab", False),
    ],
)  # fmt: skip
def test_which_request_ids_are_kept(given: bytes, kept: bool) -> None:
    found = trace_of({"headers": [(b"x-request-id", given)]}).request_id
    assert found == (given.decode() if kept else None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", True), (f"01-{TRACE}-b7ad6b7169203331-01-more", True),
        (f"ff-{TRACE}-b7ad6b7169203331-01", False), (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False), (f"00-{TRACE.upper()}-b7ad6b7169203331-01", False), ("", False),
        (f"00-{TRACE}-b7ad6b7169203331", False), (f"00-{TRACE}-b7ad6b7169203331-01\n", False),
    ],
)  # fmt: skip
def test_which_traces_are_kept(given: str, kept: bool) -> None:
    found = trace_of({"headers": [(b"traceparent", given.encode())]}).trace_id
    assert found == (TRACE if kept else None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name", "plain name"), ("café", "café"), ("a\nb", "a\\nb"), ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
        ("a\u2028b", "a\\u2028b"), ("a\u202eb", "a\\u202eb"), ("a\x85b", "a\\x85b"), ("x" * 300, "x" * 200),
    ],
)  # fmt: skip
def test_text_of_callers_cannot_begin_a_line(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("fields", [{"key": "\udcff"}, {"key": {1: object()}}, {"\udcff": float("nan")}])
def test_no_value_breaks_a_line_of_json(fields: dict[str, Any]) -> None:
    line = json_line("INFO", "text\nmore", fields)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line)["level"] == "INFO"
    line.encode(sys.stderr.encoding or "utf-8")
