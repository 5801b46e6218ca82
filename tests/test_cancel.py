"""A caller who leaves, and a run that takes too long, stop the user's code: at the next chunk, component or await."""

import json
import select
import socket
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.gates import GATES_MODULE, WAIT_S, Gates

# Components and hooks that wait until their run is cancelled, tell the test, and try to go on.
PARTS = """
import asyncio
import time

from haystack import component
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.dataclasses import ToolCall

from hayhooks.core.context import current_context

from .gates import arrive, note


def wait_for_cancel(name):
    run = current_context.get()
    note("waits-" + name)
    while not run.is_cancelled:
        time.sleep(0.002)
    note("cancelled-" + name)


async def wait_for_ever(name):
    try:
        await asyncio.to_thread(note, "waits-" + name)
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("cancelled-" + name)
        raise
    finally:
        note("ended-" + name)


@component
class First:
    @component.output_types(name=str)
    def run(self, name: str):
        wait_for_cancel(name)
        return {"name": name}

    @component.output_types(name=str)
    async def run_async(self, name: str):
        await wait_for_ever(name)
        return {"name": name}


@component
class Second:
    @component.output_types(name=str)
    def run(self, name: str):
        note("second-" + name)
        return {"name": name}

    @component.output_types(name=str)
    async def run_async(self, name: str):
        note("second-" + name)
        return {"name": name}


@component
class Speaker:
    '''Streams without end; counts the chunks after it was cancelled.'''

    @component.output_types(name=str)
    def run(self, name: str, streaming_callback=None):
        streaming_callback(StreamingChunk("first"))
        wait_for_cancel(name)
        while True:
            note("chunk-" + name)
            streaming_callback(StreamingChunk("more"))


@component
class Model:
    '''Calls the tool at each turn.'''

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools=None, streaming_callback=None):
        note("turn-" + messages[0].text)
        call = ToolCall(tool_name="hold", arguments={"name": messages[0].text})
        return {"replies": [ChatMessage.from_assistant(tool_calls=[call])]}
"""
WRAPPER = """
from typing import Any

from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function

from hayhooks import AsyncPipeline, BasePipelineWrapper, SSEStream, async_streaming_generator, streaming_generator

from .gates import arrive, note
from .parts import First, Model, Second, Speaker, wait_for_cancel, wait_for_ever


def hold(name: str) -> str:
    "Waits."
    wait_for_cancel(name)
    return "held"


def chain(kind):
    pipeline = kind()
    pipeline.add_component("first", First())
    pipeline.add_component("second", Second())
    pipeline.connect("first.name", "second.name")
    return pipeline


class PipelineWrapper(BasePipelineWrapper):
    {limits}

    def setup(self) -> None:
        self.pipeline = chain(Pipeline)
        self.asynchronous = chain(AsyncPipeline)
        self.speaking = Pipeline()
        self.speaking.add_component("speaker", Speaker())
        self.speaking.add_component("second", Second())
        self.speaking.connect("speaker.name", "second.name")
        self.assistant = Agent(chat_generator=Model(), tools=[create_tool_from_function(hold)], max_agent_steps=3)
        self.assistant.warm_up()

    def run_api(self, kind: str, name: str) -> Any:
        try:
            return getattr(self, kind)(name)
        finally:
            if kind in ("plain", "agent", "stubborn"):
                note("ended-" + name)

    def plain(self, name):
        return self.pipeline.run({{"first": {{"name": name}}}})

    def agent(self, name):
        return self.assistant.run(messages=[ChatMessage.from_user(name)])["messages"][-1].text

    def stubborn(self, name):
        wait_for_cancel(name)
        arrive("stubborn-" + name)
        return "late"

    def hold(self, name):
        arrive("hold-" + name)

    def quick(self, name):
        note("ran-" + name)
        return name

    def words(self, name):
        try:
            yield "first"
            wait_for_cancel(name)
            while True:
                note("chunk-" + name)
                yield "more"
        finally:
            note("ended-" + name)

    def sse(self, name):
        return SSEStream(self.words(name))

    def pipeline_words(self, name):
        try:
            yield from streaming_generator(self.speaking, {{"speaker": {{"name": name}}}})
        finally:
            note("ended-" + name)

    async def async_words(self, name):
        yield "first"
        await wait_for_ever(name)

    def async_sse(self, name):
        return SSEStream(self.async_words(name))

    async def deaf_words(self, name):
        "Goes on after its cancellation."
        try:
            yield "first"
            try:
                await wait_for_ever(name)
            except BaseException:
                pass
            while True:
                note("chunk-" + name)
                yield "more"
        finally:
            note("closed-" + name)

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict):
        kind, name = messages[-1]["content"].split()
        if kind == "plain":
            await wait_for_ever(name)
        if kind == "pipeline":
            return str(await self.asynchronous.run_async({{"first": {{"name": name}}}}))
        if kind == "words":
            return self.async_words(name)
        if kind == "sync_words":
            return self.words(name)
        return streaming_generator(self.speaking, {{"speaker": {{"name": name}}}})
"""


def files(limits: str = "") -> dict[str, bytes]:
    return {
        "pipeline_wrapper.py": WRAPPER.format(limits=limits or "pass").encode(),
        "parts.py": PARTS.encode(),
        "gates.py": GATES_MODULE.encode(),
    }


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("cancel") / "pipelines", env={"GATES_URL": gates.url}) as server:
        server.client.deploy_files("held", files())
        server.client.deploy_files("late", files("run_timeout_s = 0.5"))
        server.client.deploy_files("one", files("max_concurrent_runs = 1; max_queued_runs = 1"))
        yield server


@contextmanager
def request(server: RunningServer, path: str, body: object) -> Iterator[socket.socket]:
    """A request under way; its caller leaves at the end of the block."""
    address = urlsplit(server.url)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=WAIT_S) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        yield connection


def chat(content: str, *, stream: bool) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}], "stream": stream}


def read_until(connection: socket.socket, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        piece = connection.recv(65536)
        assert piece, f"ended without {text!r}: {seen!r}"
        seen += piece
    return seen


@pytest.mark.parametrize("kind", ["words", "sse", "pipeline_words"])
def test_a_sync_stream_whose_caller_left_stops_within_one_chunk(server: RunningServer, gates: Gates, kind: str) -> None:
    with request(server, "/held/run", {"kind": kind, "name": kind}) as connection:
        read_until(connection, b"first")
        gates.wait(f"waits-{kind}")
    gates.wait(f"ended-{kind}")
    assert gates.count(f"chunk-{kind}") == 1
    assert gates.count(f"second-{kind}") == 0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("kind", ["sync_words", "pipeline_words"])
def test_a_chat_whose_caller_left_stops_its_pipeline_within_one_chunk(
    server: RunningServer, gates: Gates, kind: str, stream: bool
) -> None:
    name = f"chat-{kind}-{stream}"
    with request(server, "/held/chat", chat(f"{kind} {name}", stream=stream)) as connection:
        gates.wait(f"waits-{name}")
        if stream:
            read_until(connection, b"first")
    gates.wait(f"chunk-{name}")
    _settle(server)
    assert gates.count(f"chunk-{name}") == 1
    assert gates.count(f"second-{name}") == 0


@pytest.mark.parametrize("kind", ["async_words", "async_sse"])
def test_an_async_stream_whose_caller_left_is_cancelled(server: RunningServer, gates: Gates, kind: str) -> None:
    with request(server, "/held/run", {"kind": kind, "name": kind}) as connection:
        read_until(connection, b"first")
        gates.wait(f"waits-{kind}")
    gates.wait(f"cancelled-{kind}")
    gates.wait(f"ended-{kind}")


def test_an_async_stream_that_ignores_its_cancellation_is_closed_at_its_next_chunk(
    server: RunningServer, gates: Gates
) -> None:
    with request(server, "/held/run", {"kind": "deaf_words", "name": "deaf"}) as connection:
        read_until(connection, b"first")
        gates.wait("waits-deaf")
    gates.wait("closed-deaf")
    assert gates.count("chunk-deaf") == 1


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("kind", ["plain", "pipeline", "words"])
def test_an_async_hook_whose_caller_left_is_cancelled(
    server: RunningServer, gates: Gates, kind: str, stream: bool
) -> None:
    name = f"async-{kind}-{stream}"
    with request(server, "/held/chat", chat(f"{kind} {name}", stream=stream)):
        gates.wait(f"waits-{name}")
    gates.wait(f"cancelled-{name}")
    gates.wait(f"ended-{name}")
    assert gates.count(f"second-{name}") == 0


def test_a_plain_run_whose_caller_left_stops_at_the_next_component(server: RunningServer, gates: Gates) -> None:
    with request(server, "/held/run", {"kind": "plain", "name": "plain"}):
        gates.wait("waits-plain")
    gates.wait("ended-plain")
    assert gates.count("second-plain") == 0


def test_an_agent_whose_caller_left_does_not_ask_its_model_again(server: RunningServer, gates: Gates) -> None:
    with request(server, "/held/run", {"kind": "agent", "name": "agent"}):
        gates.wait("waits-agent")
    gates.wait("ended-agent")
    assert gates.count("turn-agent") == 1


@pytest.mark.parametrize("kind", ["plain", "agent"])
def test_a_plain_run_that_takes_too_long_is_answered_with_504_and_stops_at_the_next_component(
    server: RunningServer, gates: Gates, kind: str
) -> None:
    name = f"late-{kind}"
    answer = httpx.post(f"{server.url}/late/run", json={"kind": kind, "name": name}, timeout=WAIT_S)
    assert answer.status_code == 504
    assert answer.json() == {
        "detail": "The run of 'late' took longer than 0.5 s and was stopped.",
        "kind": "timeout",
    }
    gates.wait(f"ended-{name}")
    assert gates.count(f"second-{name}") == 0
    assert gates.count(f"turn-{name}") <= 1


def test_a_chat_that_takes_too_long_is_answered_with_504(server: RunningServer, gates: Gates) -> None:
    answer = httpx.post(f"{server.url}/late/chat", json=chat("plain late-chat", stream=False), timeout=WAIT_S)
    assert answer.status_code == 504
    assert "took longer than 0.5 s" in answer.json()["error"]["message"]
    gates.wait("cancelled-late-chat")
    gates.wait("ended-late-chat")


@pytest.mark.parametrize("kind", ["words", "sync_words"])
def test_a_chat_stream_that_takes_too_long_ends_with_an_error_event(
    server: RunningServer, gates: Gates, kind: str
) -> None:
    name = f"late-stream-{kind}"
    answer = httpx.post(f"{server.url}/late/chat", json=chat(f"{kind} {name}", stream=True), timeout=WAIT_S)
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-2]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "first"
    assert "took longer than 0.5 s" in json.loads(lines[-2])["error"]["message"]
    assert lines[-1] == "[DONE]"
    gates.wait(f"ended-{name}")
    assert gates.count(f"chunk-{name}") <= 1


@pytest.mark.parametrize("kind", ["sse", "async_sse"])
def test_an_event_stream_that_takes_too_long_ends_with_an_error_event(
    server: RunningServer, gates: Gates, kind: str
) -> None:
    name = f"late-{kind}"
    answer = httpx.post(f"{server.url}/late/run", json={"kind": kind, "name": name}, timeout=WAIT_S)
    assert answer.status_code == 200
    assert "data: first\n\n" in answer.text
    assert "event: error\n" in answer.text
    assert "took longer than 0.5 s" in answer.text
    gates.wait(f"ended-{name}")


def test_a_text_stream_that_takes_too_long_is_cut(server: RunningServer, gates: Gates) -> None:
    with (
        httpx.stream(
            "POST", f"{server.url}/late/run", json={"kind": "words", "name": "late-text"}, timeout=WAIT_S
        ) as a,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        assert "".join(a.iter_text()) == "first"
    gates.wait("ended-late-text")
    assert gates.count("chunk-late-text") <= 1


def test_a_slot_is_free_only_when_the_thread_of_a_caller_who_left_has_ended(
    server: RunningServer, gates: Gates
) -> None:
    with request(server, "/one/run", {"kind": "stubborn", "name": "slot"}):
        gates.wait("waits-slot")
    gates.wait("stubborn-slot")  # the server knows that the caller has left; the thread goes on
    with ThreadPoolExecutor() as pool:
        queued = _stand_in_queue(pool, server, "one", "queued")
        assert gates.count("ran-queued") == 0
        gates.open("stubborn-slot")
        assert queued.result(WAIT_S).status_code == 200
    assert gates.count("ended-slot") == 1


def test_a_caller_who_leaves_the_queue_makes_room_and_is_never_run(server: RunningServer, gates: Gates) -> None:
    with ThreadPoolExecutor() as pool, request(server, "/one/run", {"kind": "hold", "name": "ahead"}):
        gates.wait("hold-ahead")
        with (
            request(server, "/one/run", {"kind": "quick", "name": "gone"}) as first,
            request(server, "/one/run", {"kind": "quick", "name": "gone"}) as second,
        ):
            refused, _, _ = select.select([first, second], [], [], WAIT_S)
            assert b" 429 " in refused[0].recv(65536)  # so the other one stands in the queue
        patient = _stand_in_queue(pool, server, "one", "patient")
        gates.open("hold-ahead")
        assert patient.result(WAIT_S).status_code == 200
    assert gates.count("ran-gone") == 0


def _run(server: RunningServer, deployment: str, name: str) -> httpx.Response:
    return httpx.post(f"{server.url}/{deployment}/run", json={"kind": "quick", "name": name}, timeout=WAIT_S)


def _stand_in_queue(
    pool: ThreadPoolExecutor, server: RunningServer, deployment: str, name: str
) -> "Future[httpx.Response]":
    """A run that waits for its turn in a queue of one place, of which all others were told that it is taken."""
    pending: set[Future[httpx.Response]] = set()
    last: Future[httpx.Response] | None = None
    refusals = 0
    while refusals < 10:
        pending |= {pool.submit(_run, server, deployment, name) for _ in range(2)}
        while len(pending) > 1:  # only one of them can be in the queue
            done, pending = wait(pending, WAIT_S, FIRST_COMPLETED)
            assert {answer.result().status_code for answer in done} == {429}
        waiting = next(iter(pending), None)
        refusals = refusals + 1 if waiting is not None and waiting is last else 0
        last = waiting
    assert last is not None
    return last


def _settle(server: RunningServer) -> None:
    """Let what was cancelled come to its end: a whole run later on the same server."""
    for _ in range(20):
        assert _run(server, "held", "settle").status_code == 200
