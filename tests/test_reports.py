"""What code inside a chat run tells the person who watches, while it works."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import write_wrappers
from tests.support.gates import GATES_MODULE, WAIT_S, Gates
from tests.support.readme import ROOT
from tests.support.sse import read_chat_stream

_HEAD = """
import asyncio, threading
from typing import Annotated

from fastapi import HTTPException
from haystack import component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage
from haystack.tools import tool

from hayhooks import AsyncPipeline, BasePipelineWrapper, Pipeline, SSEStream, async_streaming_generator, current_run
from hayhooks import streaming_generator
from hayhooks.open_webui import create_source_event
from tests.support.generators import ScriptedGenerator, call, calls_end, scripted, text
from .gates import arrive, note


def say(what, **more):
    current_run().report_status(what, **more)


async def words():
    yield "one "
    say("between")
    yield "two"


def sync_words():
    yield "one "
    say("between")
    yield "two"


class Base(BasePipelineWrapper):
    def setup(self):
        pass
"""

WRAPPERS = {
    "sync_text": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        say("Thinking")
        arrive(f"sync_text-{messages[0]['content']}")
        current_run().report(create_source_event({"source": {"name": "Page"}, "document": ["x"], "metadata": [{}]}))
        return "Forty-two"
""",
    "async_text": """
class PipelineWrapper(Base):
    async def run_chat_completion_async(self, model, messages, body):
        say("Thinking")
        await asyncio.to_thread(lambda: [say("Thread"), arrive(f"async_text-{messages[0]['content']}")])
        current_run().report(create_source_event({"source": {"name": "Page"}, "document": ["x"], "metadata": [{}]}))
        return ChatMessage.from_assistant("Forty-two")
""",
    "sync_sync": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        say("before")
        return sync_words()
""",
    "sync_async": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        say("before")
        return words()
""",
    "async_sync": """
class PipelineWrapper(Base):
    async def run_chat_completion_async(self, model, messages, body):
        say("before")
        return sync_words()
""",
    "async_async": """
class PipelineWrapper(Base):
    async def run_chat_completion_async(self, model, messages, body):
        say("before")
        return words()
""",
    "fails": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        if messages[0]["content"] == "late":
            say("before")
        raise HTTPException(402, "Pay first")
""",
    "fails_async": """
class PipelineWrapper(Base):
    async def run_chat_completion_async(self, model, messages, body):
        await asyncio.sleep(0)
        if messages[0]["content"] == "late":
            say("before")
        raise HTTPException(402, "Pay first")
""",
    "left": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        try:
            run = current_run()
            note("left-begun")
            while not run.is_cancelled:
                run.report_status("still here")
            run.report_status("for nobody")
        finally:
            note("left-ended")

    async def run_api_async(self):
        run = current_run()
        run.report_status("for nobody")
        try:
            run.report("text")
        except TypeError as error:
            return str(error)
""",
    "afterwards": """
class PipelineWrapper(Base):
    def run_chat_completion(self, model, messages, body):
        run = current_run()
        def later():
            arrive("afterwards-go")
            run.report_status("too late")
            note("afterwards-done")
        threading.Thread(target=later, daemon=True).start()
        return "Bye"
""",
    "api": """
class PipelineWrapper(Base):
    def run_api(self, how: str):
        say("nobody watches")
        return SSEStream(sync_words()) if how == "sse" else sync_words() if how == "text" else how
""",
}
_PIPELINE = '''
@component
class Searcher:
    @component.output_types(messages=list[ChatMessage])
    def run(self, question: str):
        say("Searching")
        return {"messages": [ChatMessage.from_user(question)]}


@component
class Writer:
    @component.output_types(text=str)
    def run(self, replies: list[ChatMessage]):
        say("Written", done=True)
        return {"text": replies[0].text}


@tool
def shop(what: Annotated[str, "what"]) -> str:
    """Buy."""
    say(f"Buying {what}")
    return "bought"


def fill(pipeline):
    pipeline.add_component("search", Searcher())
    pipeline.add_component("llm", ScriptedGenerator(scripted(text("one ", "two"))))
    pipeline.add_component("write", Writer())
    pipeline.connect("search.messages", "llm.messages")
    pipeline.connect("llm.replies", "write.replies")
    return pipeline


def agent():
    tea = call("shop", '{"what": "tea"}')
    calling = [*tea, *call("shop", '{"what": "milk"}', call_id="call_2", index=1), calls_end()]
    return Agent(chat_generator=ScriptedGenerator(scripted(calling, text("Done"))), tools=[shop])


GIVEN = {"search": {"question": "Why?"}}
'''
_PIPELINES = {
    "pipeline_sync": """
    def run_chat_completion(self, model, messages, body):
        return streaming_generator(fill(Pipeline()), GIVEN)
""",
    "pipeline_async": """
    async def run_chat_completion_async(self, model, messages, body):
        return async_streaming_generator(fill(AsyncPipeline()), GIVEN)
""",
    "agent_sync": """
    def run_chat_completion(self, model, messages, body):
        return streaming_generator(agent(), {"messages": [ChatMessage.from_user("Shop")]})
""",
    "agent_async": """
    async def run_chat_completion_async(self, model, messages, body):
        return async_streaming_generator(agent(), {"messages": [ChatMessage.from_user("Shop")]})
""",
}
WRAPPERS |= {name: f"{_PIPELINE}\n\nclass PipelineWrapper(Base):{hook}" for name, hook in _PIPELINES.items()}


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    directory: Path = tmp_path_factory.mktemp("reports") / "pipelines"
    write_wrappers(directory, {name: _HEAD + source for name, source in WRAPPERS.items()})
    for name in WRAPPERS:
        (directory / name / "gates.py").write_text(GATES_MODULE)
    with running_server(
        directory,
        env={"GATES_URL": gates.url, "PYTHONPATH": str(ROOT)},
    ) as server:
        assert not httpx.get(f"{server.url}/status").json()["failed"], server.log
        yield server


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def story(server: RunningServer, name: str) -> list[str]:
    """Texts and the descriptions of statuses in the order of the stream."""
    answer = httpx.post(f"{server.url}/{name}/chat", json=body(stream=True), timeout=WAIT_S)
    assert answer.status_code == 200, answer.text
    assert read_chat_stream(answer.text).is_done
    told = []
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            item = json.loads(line.removeprefix("data: "))
            assert "error" not in item, item
            if "event" in item:
                told.append(item["event"]["data"]["description"])
            elif item["choices"] and item["choices"][0]["delta"].get("content"):
                told.append(item["choices"][0]["delta"]["content"])
    return told


@contextmanager
def reading(server: RunningServer, name: str, text: str) -> Iterator[Iterator[dict[str, Any]]]:
    with httpx.stream("POST", f"{server.url}/{name}/chat", json=body(text, stream=True), timeout=WAIT_S) as answer:
        assert answer.status_code == 200
        yield (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {"))


@pytest.mark.parametrize("name", ["sync_text", "async_text"])
def test_a_status_is_seen_while_the_hook_still_works(server: RunningServer, gates: Gates, name: str) -> None:
    with reading(server, name, "streamed") as items:
        assert next(items)["event"]["data"] == {"description": "Thinking", "done": False, "hidden": False}
        if name == "async_text":
            assert next(items)["event"]["data"]["description"] == "Thread"
        gates.wait(f"{name}-streamed")
        gates.open(f"{name}-streamed")
        assert next(items)["event"]["type"] == "source"
        rest = list(items)
    assert [item["choices"][0]["delta"].get("content") for item in rest] == ["", "Forty-two", None]
    assert rest[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["sync_text", "async_text"])
def test_a_plain_answer_is_the_answer_alone(server: RunningServer, gates: Gates, name: str) -> None:
    gates.open(f"{name}-plain")
    answer = httpx.post(f"{server.url}/{name}/chat", json=body("plain"), timeout=WAIT_S).json()
    assert answer["choices"][0]["message"]["content"] == "Forty-two"
    assert "event" not in json.dumps(answer)


@pytest.mark.parametrize("name", ["sync_sync", "sync_async", "async_sync", "async_async"])
def test_what_a_hook_returns_follows_in_the_same_stream(server: RunningServer, name: str) -> None:
    assert story(server, name) == ["before", "one ", "between", "two"]


@pytest.mark.parametrize("name", ["pipeline_sync", "pipeline_async"])
def test_components_report_in_order_with_the_chunks(server: RunningServer, name: str) -> None:
    assert story(server, name) == ["Searching", "one ", "two", "Written"]


@pytest.mark.parametrize("name", ["agent_sync", "agent_async"])
def test_tools_of_an_agent_report_from_their_threads(server: RunningServer, name: str) -> None:
    *bought, done = story(server, name)
    assert (sorted(bought), done) == (["Buying milk", "Buying tea"], "Done")


@pytest.mark.parametrize("name", ["fails", "fails_async"])
def test_a_failure_keeps_its_status_until_something_was_reported(server: RunningServer, name: str) -> None:
    answer = httpx.post(f"{server.url}/{name}/chat", json=body("early", stream=True), timeout=WAIT_S)
    assert (answer.status_code, answer.json()["error"]["message"]) == (402, "Pay first")
    with reading(server, name, "late") as items:
        status, failure = items
    assert status["event"]["data"]["description"] == "before"
    assert failure["error"]["message"] == "Pay first"


def test_a_hook_that_only_reports_is_held_back_and_ends_when_its_caller_leaves(
    server: RunningServer, gates: Gates
) -> None:
    with reading(server, "left", "x") as items:
        gates.wait("left-begun")
        assert next(items)["event"]["data"]["description"] == "still here"
    gates.wait("left-ended")


def test_what_is_reported_after_the_run_has_no_effect(server: RunningServer, gates: Gates) -> None:
    assert story(server, "afterwards") == ["Bye"]
    gates.open("afterwards-go")
    gates.wait("afterwards-done")


def test_only_events_are_reported(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/left/run", json={}, timeout=WAIT_S).json()
    assert answer == {"result": "report() takes a PipelineEvent, not str."}


@pytest.mark.parametrize(
    ("how", "expected"), [("plain", '{"result":"plain"}'), ("text", "one two"), ("sse", "data: one \n\ndata: two\n\n")]
)
def test_a_run_over_rest_answers_as_if_nothing_was_reported(server: RunningServer, how: str, expected: str) -> None:
    assert httpx.post(f"{server.url}/api/run", json={"how": how}, timeout=WAIT_S).text == expected


def test_a_streamed_response_shows_reports_while_the_hook_still_works(server: RunningServer, gates: Gates) -> None:
    request = {"model": "sync_text", "input": "response", "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/responses", json=request, timeout=WAIT_S) as answer:
        items = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {"))
        status = next(item for item in items if "event" in item)
        assert status["event"]["data"]["description"] == "Thinking"
        gates.wait("sync_text-response")
        gates.open("sync_text-response")
        rest = list(items)
    assert rest[-1]["type"] == "response.completed"
    assert rest[-1]["response"]["output"][0]["content"][0]["text"] == "Forty-two"
