"""Events in chat streams: the forms in which they travel, and sources made of a pipeline's documents."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from hayhooks import sources_on_pipeline_end
from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import write_wrappers
from tests.support.readme import ROOT
from tests.support.sse import read_chat_stream

_PIPELINE = """
from haystack import Document, component
from haystack.components.builders import ChatPromptBuilder
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore

from hayhooks import AsyncPipeline, BasePipelineWrapper, Pipeline, async_streaming_generator, get_last_user_message
from hayhooks import streaming_generator
from tests.support.generators import ScriptedGenerator, scripted, text

PAGES = [
    Document(content="Whales sleep.", meta={"title": "Sleep", "url": "https://example.com/sleep"}),
    Document(content="Whales sleep in the sea.", meta={"title": "Sleep", "url": "https://example.com/sleep"}),
    Document(content="Whales sing.", meta={"file_path": "songs.txt"}),
]

@component
class Ranker:
    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]):
        return {"documents": sorted(documents, key=lambda document: document.content)[::2]}

def fill(pipeline):
    store = InMemoryDocumentStore()
    store.write_documents(PAGES)
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("ranker", Ranker())
    prompt = [ChatMessage.from_user("{% for page in documents %}{{ page.content }}{% endfor %}")]
    pipeline.add_component("prompt", ChatPromptBuilder(prompt, required_variables="*"))
    pipeline.add_component("llm", ScriptedGenerator(scripted(text("In ", "bed [1]."))))
    pipeline.connect("retriever", "ranker")
    pipeline.connect("ranker", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline

GIVEN = {"retriever": {"query": "whales"}}

class PipelineWrapper(BasePipelineWrapper):
    show_sources = SHOWN

    def setup(self):
        self.pipeline = fill(KIND())
"""
_SYNC = """
    def run_chat_completion(self, model, messages, body):
        return streaming_generator(self.pipeline, GIVEN)
"""
_EVENTS = """
from hayhooks import BasePipelineWrapper
from hayhooks.events import create_status_event

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        yield create_status_event("Searching")
        yield "Found"
"""


def pipeline(*, shown: bool, kind: str = "Pipeline", hook: str = _SYNC) -> str:
    return _PIPELINE.replace("SHOWN", str(shown)).replace("KIND", kind) + hook


WRAPPERS = {
    "events": _EVENTS,
    "shown": pipeline(shown=True),
    "hidden": pipeline(shown=False),
    "shown_async": pipeline(
        shown=True,
        kind="AsyncPipeline",
        hook="""
    async def run_chat_completion_async(self, model, messages, body):
        return async_streaming_generator(self.pipeline, GIVEN)
""",
    ),
    "own_callback": pipeline(shown=True, hook=_SYNC.replace("GIVEN)", 'GIVEN, on_pipeline_end=lambda result: " End")')),
    "own_outputs": pipeline(shown=True, hook=_SYNC.replace("GIVEN)", 'GIVEN, include_outputs_from={"retriever"})')),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("chat_events") / "pipelines"
    write_wrappers(directory, WRAPPERS)
    with running_server(directory, env={"PYTHONPATH": str(ROOT)}) as server:
        assert not httpx.get(f"{server.url}/status").json()["failed"], server.log
        yield server


def frames(server: RunningServer, model: str, **headers: str) -> list[dict[str, Any]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{server.url}/{model}/chat", json=body, headers=names)
    assert answer.status_code == 200, answer.text
    assert read_chat_stream(answer.text).is_done
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


STATUS = {"event": {"type": "status", "data": {"description": "Searching", "done": False, "hidden": False}}}


def test_an_event_is_a_chunk_without_choices_that_has_a_key_more(server: RunningServer) -> None:
    event, *rest = frames(server, "events")
    assert event["event"] == STATUS["event"]
    assert (event["choices"], event["object"], event["id"]) == ([], "chat.completion.chunk", rest[0]["id"])
    assert frames(server, "events", X_Hayhooks_Events="Chunk")[0]["choices"] == []


@pytest.mark.parametrize("name", ["X_Hayhooks_Events", "X_OpenWebUI_Chat_Id", "X_OpenWebUI_User_Id"])
def test_who_asks_for_them_and_open_webui_get_bare_events(server: RunningServer, name: str) -> None:
    event, *rest = frames(server, "events", **{name: "bare"})
    assert event == STATUS
    assert all(chunk["choices"] for chunk in rest)


def test_what_the_caller_asks_for_counts_more_than_who_it_is(server: RunningServer) -> None:
    assert "choices" in frames(server, "events", X_OpenWebUI_Chat_Id="7", X_Hayhooks_Events="chunk")[0]
    assert all("event" not in frame for frame in frames(server, "events", X_Hayhooks_Events="off"))


def test_a_form_that_there_is_not_is_refused(server: RunningServer) -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{server.url}/events/chat", json=body, headers={"X-Hayhooks-Events": "loud"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_body")
    assert error["message"] == "X-Hayhooks-Events is one of chunk, bare, off."


def test_openai_s_own_client_reads_events_and_may_turn_them_off(server: RunningServer) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    with client.chat.completions.stream(model="events", messages=[{"role": "user", "content": "hi"}]) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == "Found"
    assert "content.delta" in kinds
    for form, expected in (("chunk", 1), ("off", 0)):
        chunks = client.chat.completions.create(
            model="events",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_headers={"X-Hayhooks-Events": form},
        )
        assert sum(not chunk.choices for chunk in chunks) == expected


def test_the_server_s_owner_chooses_the_form_for_who_asks_for_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("bare") / "pipelines"
    write_wrappers(directory, {"events": _EVENTS})
    with running_server(directory, env={"HAYHOOKS_EVENTS": "off"}) as server:
        assert all("event" not in frame for frame in frames(server, "events", X_OpenWebUI_Chat_Id="7"))
        assert frames(server, "events", X_Hayhooks_Events="bare")[0] == STATUS


SLEEP = {
    "type": "source",
    "data": {
        "source": {"id": "example.com/sleep", "name": "Sleep", "url": "https://example.com/sleep"},
        "document": ["Whales sleep."],
        "metadata": [{"source": "example.com/sleep", "name": "Sleep"}],
    },
}


@pytest.mark.parametrize("model", ["shown", "shown_async"])
def test_a_wrapper_shows_the_documents_that_its_answer_rests_on(server: RunningServer, model: str) -> None:
    said = frames(server, model)
    events = [frame["event"] for frame in said if "event" in frame]
    assert [event["data"]["source"]["name"] for event in events] == ["songs.txt", "Sleep"]  # the ranker's, not all
    assert "url" not in events[0]["data"]["source"]
    assert events[1] == SLEEP
    body = {"messages": [{"role": "user", "content": "hi"}]}
    plain = httpx.post(f"{server.url}/{model}/chat", json=body).json()
    assert plain["choices"][0]["message"]["content"] == "In bed [1]."


def test_sources_are_shown_only_where_a_wrapper_says_so_and_its_call_does_not_differ(server: RunningServer) -> None:
    assert all("event" not in frame for frame in frames(server, "hidden"))
    own = frames(server, "own_callback")
    assert all("event" not in frame for frame in own)
    assert "".join(frame["choices"][0]["delta"].get("content") or "" for frame in own) == "In bed [1]. End"
    events = [frame["event"] for frame in frames(server, "own_outputs") if "event" in frame]
    assert [len(event["data"]["document"]) for event in events] == [2, 1]  # all that was retrieved, by place


def test_documents_of_one_place_are_one_source_and_none_is_told_twice() -> None:
    from haystack import Document
    from haystack.dataclasses import GeneratedAnswer

    first = Document(content="One. " * 5000, meta={"name": "a.txt"})
    nameless = Document(content=" Some\nwords " + "x " * 100)
    evil = Document(content="Evil", meta={"title": "Evil", "url": "javascript:alert(1)"})
    answer = GeneratedAnswer("It is so.", "Is it?", [first, evil])
    found = sources_on_pipeline_end({"retriever": {"documents": [first, nameless]}, "answers": [answer]})
    data = [event.data for event in found]
    assert [event.type for event in found] == ["source"] * 3
    assert [source["source"]["name"] for source in data] == ["a.txt", ("Some words " + "x " * 100)[:60], "Evil"]
    assert len(data[0]["document"]) == 1
    assert len(data[0]["document"][0]) == 10_000
    assert "url" not in data[2]["source"]
    assert sources_on_pipeline_end({"llm": {"replies": ["text"]}}) == []
    assert sources_on_pipeline_end(None) == []
