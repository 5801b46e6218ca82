"""Hooks that stream: plain text and server-sent events, from generators of every kind."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.wrappers import Wrappers

wrappers = Wrappers()
SECRET = "xyzzy-secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    pipelines = tmp_path_factory.mktemp("streams") / "pipelines"
    wrappers.write(pipelines)
    with running_server(pipelines, env={"HAYHOOKS_HEARTBEAT_S": "0.2"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_every_deployment_of_this_file_is_live(http: httpx.Client) -> None:
    assert http.get("/status").json()["failed"] == {}


IMPORTS = """
import asyncio, datetime, functools, sys, threading, time
from collections.abc import AsyncGenerator, Generator
from typing import Any
import numpy as np
from fastapi import HTTPException
from haystack.dataclasses import StreamingChunk
from hayhooks import SSEStream, log
from hayhooks.events import create_notification_event, create_status_event
from pydantic import BaseModel
"""
BEFORE = """
def decorated(hook):
    @functools.wraps(hook)
    def wrapper(*args, **kwargs):
        return hook(*args, **kwargs)
    return wrapper

class Model(BaseModel):
    a: int

EVERYTHING = [
    "text", StreamingChunk("chunk"), create_status_event("unseen"), {"k": 1}, [1, "a"], 5, 1.5, None, True, b"bytes",
    Model(a=1), datetime.date(2024, 1, 2), np.float32(1.5), "",
    "two\\nlines", "\\r\\nwindows\\rmac", "é€😀", "data: x\\n\\nevent: y",
    create_notification_event("unseen"), StreamingChunk(""),
]

def items_of(what):
    if what == "everything":
        return EVERYTHING
    if what == "nothing":
        return []
    if what == "many":
        return [f"{i} " for i in range(20_000)]
    return ["begun", None]

def fail(what):
    if what in ("first", "midway"):
        raise ValueError("xyzzy-secret")
    if what.startswith("exit"):
        sys.exit("xyzzy-secret")
    if what.startswith("interrupt"):
        raise KeyboardInterrupt
    if what.startswith("cancel"):
        raise asyncio.CancelledError
    if what.startswith("generatorexit"):
        raise GeneratorExit
    if what == "http":
        raise HTTPException(418, {"a": "tea"}, {"X-Thing": "b"})
    if what.startswith("object"):
        return object()

def generate(what):
    if what in ("first", "http", "exit", "interrupt", "cancel", "generatorexit"):
        fail(what)
    if what == "object":
        yield object()
    for item in items_of(what):
        if item is None and what != "everything":
            yield "more"
            odd = fail(what)
            if odd is not None:
                yield odd
        else:
            yield item

async def agenerate(what):
    for item in generate(what):
        await asyncio.sleep(0)
        yield item

class Counter:
    def __init__(self, what):
        self.items = generate(what)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.items)
"""
KINDS = {
    "generator": "def run_api(self, what: str):\n    yield from generate(what)",
    "async-generator": (
        "async def run_api_async(self, what: str):\n    async for item in agenerate(what):\n        yield item"
    ),
    "returned": "def run_api(self, what: str) -> Generator:\n    return generate(what)",
    "iterator": "def run_api(self, what: str):\n    return Counter(what)",
    "mapped": "def run_api(self, what: str):\n    return map(lambda item: item, generate(what))",
    "sync-async": "def run_api(self, what: str) -> AsyncGenerator:\n    return agenerate(what)",
    "async-sync": "async def run_api_async(self, what: str) -> Generator[Any, None, None]:\n    return generate(what)",
    "async-async": "async def run_api_async(self, what: str) -> Any:\n    return agenerate(what)",
    "decorated": "@decorated\nasync def run_api_async(self, what: str):\n    return agenerate(what)",
    "decorated-generator": (
        "@decorated\n"
        "async def run_api_async(self, what: str):\n    async for item in agenerate(what):\n        yield item"
    ),
}
SSE_KINDS = {
    "sse-generator": "def run_api(self, what: str) -> SSEStream:\n    return SSEStream(generate(what))",
    "sse-iterator": "def run_api(self, what: str):\n    return SSEStream(Counter(what))",
    "sse-sync-async": "def run_api(self, what: str) -> Any:\n    return SSEStream(agenerate(what))",
    "sse-async-sync": "async def run_api_async(self, what: str) -> SSEStream:\n    return SSEStream(generate(what))",
    "sse-async-async": (
        "async def run_api_async(self, what: str) -> Generator | SSEStream:\n    return SSEStream(agenerate(what))"
    ),
}
for kind, hook in {**KINDS, **SSE_KINDS}.items():
    wrappers.add(kind, hook, imports=IMPORTS, before=BEFORE)

TEXT = 'textchunk{"k":1}[1,"a"]51.5truebytes{"a":1}"2024-01-02"1.5two\nlines\r\nwindows\rmacé€😀data: x\n\nevent: y'
EVENTS = [
    "text", "chunk", '{"k":1}', '[1,"a"]', "5", "1.5", "", "true", "bytes", '{"a":1}', '"2024-01-02"', "1.5", "",
    "two\nlines", "\nwindows\nmac", "é€😀", "data: x\n\nevent: y", "",
]  # fmt: skip


def events(text: str) -> list[tuple[str, str]]:
    """The events of a stream, read as the standard says."""
    found = []
    for frame in text.split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = [line.partition(":")[::2] for line in lines]
        values = [(name, value.removeprefix(" ")) for name, value in fields]
        kind = next((value for name, value in values if name == "event"), "message")
        found.append((kind, "\n".join(value for name, value in values if name == "data")))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_of_any_kind_streams_plain_text(http: httpx.Client, kind: str) -> None:
    answer = http.post(f"/{kind}/run", json={"what": "everything"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    assert answer.text == TEXT


@pytest.mark.parametrize("kind", SSE_KINDS)
def test_an_sse_stream_sends_one_event_for_each_item(http: httpx.Client, kind: str) -> None:
    answer = http.post(f"/{kind}/run", json={"what": "everything"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events(answer.text) == [("message", item) for item in EVENTS]


@pytest.mark.parametrize("kind", [*KINDS, *SSE_KINDS])
def test_a_long_stream_arrives_whole_and_in_order(http: httpx.Client, kind: str) -> None:
    text = http.post(f"/{kind}/run", json={"what": "many"}).text
    items = [data for _, data in events(text)] if kind.startswith("sse") else [f"{item} " for item in text.split()]
    assert items == [f"{i} " for i in range(20_000)]


@pytest.mark.parametrize("kind", [*KINDS, *SSE_KINDS])
def test_an_empty_stream_is_an_empty_answer(http: httpx.Client, kind: str) -> None:
    answer = http.post(f"/{kind}/run", json={"what": "nothing"})
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["content-type"].startswith("text/event-stream" if kind.startswith("sse") else "text/plain")


@pytest.mark.parametrize("kind", [*KINDS, *SSE_KINDS])
@pytest.mark.parametrize("what", ["first", "exit", "interrupt", "cancel", "generatorexit", "object"])
def test_an_error_before_the_first_item_still_has_its_status(http: httpx.Client, kind: str, what: str) -> None:
    answer = http.post(f"/{kind}/run", json={"what": what})
    assert answer.status_code == 500
    assert answer.json() == {"detail": f"The run of {kind!r} failed. The server's log says why.", "kind": "failed"}
    assert http.get("/status").status_code == 200


@pytest.mark.parametrize("kind", [*KINDS, *SSE_KINDS])
def test_an_http_exception_before_the_first_item_is_the_answer(http: httpx.Client, kind: str) -> None:
    answer = http.post(f"/{kind}/run", json={"what": "http"})
    assert (answer.status_code, answer.json()["detail"], answer.headers["x-thing"]) == (418, {"a": "tea"}, "b")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["midway", "exit midway", "cancel midway", "generatorexit midway"])
def test_text_that_breaks_is_cut_so_that_nobody_takes_it_for_whole(http: httpx.Client, kind: str, what: str) -> None:
    received: list[str] = []
    with http.stream("POST", f"/{kind}/run", json={"what": what}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_text())
    assert "".join(received) in ("begun", "begunmore")
    assert http.get("/status").status_code == 200


@pytest.mark.parametrize("kind", SSE_KINDS)
@pytest.mark.parametrize("what", ["midway", "exit midway", "cancel midway", "generatorexit midway"])
def test_an_event_stream_that_breaks_ends_with_an_error_event(http: httpx.Client, kind: str, what: str) -> None:
    *items, last = events(http.post(f"/{kind}/run", json={"what": what}).text)
    assert items in ([("message", "begun"), ("message", "more")], [("message", "begun")], [])
    assert last[0] == "error"
    assert json.loads(last[1]) == {
        "detail": f"The run of {kind!r} failed. The server's log says why.",
        "kind": "failed",
    }


def test_a_stream_that_breaks_is_logged_with_its_cause(http: httpx.Client, server: RunningServer) -> None:
    for kind in ("sse-generator", "generator"):
        server_log = len(server.log)
        with http.stream("POST", f"/{kind}/run", json={"what": "midway"}) as answer:
            server.wait_for_log(f"Run {answer.headers['x-request-id']} of {kind} .* failed")
        server.wait_for_log(f"ValueError: {SECRET}")
        assert "pipeline_wrapper.py" in server.log[server_log:]


def test_the_document_says_what_streams(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    content = {
        kind: list(paths[f"/{kind}/run"]["post"]["responses"]["200"]["content"])
        for kind in (
            "generator",
            "async-generator",
            "returned",
            "sync-async",
            "async-sync",
            "sse-generator",
            "sse-async-sync",
        )
    }
    text, sse = ["text/plain"], ["text/event-stream"]
    assert content == {
        "generator": text, "async-generator": text, "returned": text, "sync-async": text, "async-sync": text,
        "sse-generator": sse, "sse-async-sync": sse,
    }  # fmt: skip


wrappers.add(
    "gated",
    """
    def run_api(self, op: str, key: str):
        gate = GATES.setdefault(key, threading.Event())
        if op == "open":
            gate.set()
            return "opened"
        return self.stream(gate) if op == "text" else SSEStream(self.stream(gate))

    def stream(self, gate):
        yield "first"
        assert gate.wait(20)
        yield "second"
    """,
    imports=IMPORTS,
    before="GATES = {}",
)
wrappers.add(
    "leaving",
    """
    def run_api(self, kind: str, key: str):
        if kind == "sync":
            return self.stream(key)
        return self.astream(key)

    def stream(self, key):
        try:
            while True:
                yield "tick"
                time.sleep(0.01)
        finally:
            log.warning("closed {}", key)

    async def astream(self, key):
        try:
            while True:
                yield "tick"
                await asyncio.sleep(0.01)
        finally:
            log.warning("closed {}", key)
    """,
    imports=IMPORTS,
)
wrappers.add("notstream", "def run_api(self, v=None):\n    return SSEStream([1, 2])", imports=IMPORTS)
wrappers.add(
    "limited",
    """
    run_timeout_s = 0.4

    async def run_api_async(self, kind: str):
        return SSEStream(self.stream()) if kind == "sse" else self.stream()

    async def stream(self):
        yield "first"
        await asyncio.sleep(60)
    """,
    imports=IMPORTS,
)


@pytest.mark.parametrize("op", ["text", "sse"])
def test_items_are_sent_as_they_come(http: httpx.Client, op: str) -> None:
    with http.stream("POST", "/gated/run", json={"op": op, "key": op}) as answer:
        parts = answer.iter_text()
        assert "first" in next(parts)
        assert http.post("/gated/run", json={"op": "open", "key": op}).json() == {"result": "opened"}
        assert "second" in "".join(parts)


def test_a_silent_event_stream_is_kept_alive_with_comments(http: httpx.Client) -> None:
    with http.stream("POST", "/gated/run", json={"op": "sse", "key": "silent"}) as answer:
        text = ""
        for part in answer.iter_text():
            text += part
            if text.count(": still working") == 2:
                http.post("/gated/run", json={"op": "open", "key": "silent"})
    assert [data for _, data in events(text)] == ["first", "second"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_caller_who_leaves_stops_the_generator(server: RunningServer, kind: str) -> None:
    with httpx.stream("POST", f"{server.url}/leaving/run", json={"kind": kind, "key": kind}) as answer:
        assert next(answer.iter_text()).startswith("tick")
    server.wait_for_log(f"closed {kind}")


def test_sse_streams_are_made_of_iterators(http: httpx.Client, server: RunningServer) -> None:
    assert http.post("/notstream/run").status_code == 500
    server.wait_for_log("SSEStream needs a generator or an iterator, not list")


def test_a_stream_that_takes_too_long_says_so_where_it_can(http: httpx.Client) -> None:
    *_, (kind, data) = events(http.post("/limited/run", json={"kind": "sse"}).text)
    assert (kind, json.loads(data)["kind"]) == ("error", "timeout")
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/limited/run", json={"kind": "text"})


wrappers.add(
    "blocking",
    """
    def run_api(self, key: str, expected: int = 0):
        if not expected:
            assert DOOR.wait(30)
            return key
        while len(INSIDE) < expected:
            time.sleep(0.001)
        DOOR.set()
        return len(INSIDE)
    """.replace("assert DOOR", "INSIDE.append(key)\n            assert DOOR"),
    imports=IMPORTS,
    before="INSIDE = []\nDOOR = threading.Event()",
)


def test_more_than_forty_sync_runs_wait_at_once(server: RunningServer) -> None:
    answers: list[Any] = []

    def call() -> None:
        answers.append(httpx.post(f"{server.url}/blocking/run", json={"key": "a"}, timeout=60).status_code)

    threads = [threading.Thread(target=call) for _ in range(48)]
    for thread in threads:
        thread.start()
    last = httpx.post(f"{server.url}/blocking/run", json={"key": "z", "expected": 48}, timeout=60)
    assert last.json() == {"result": 48}
    for thread in threads:
        thread.join()
    assert answers == [200] * 48
