"""The bundled demo answers questions from the documentation, with and without a model."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import openai
import pytest
from haystack import Pipeline
from haystack.core.serialization import component_from_dict, component_to_dict
from haystack.dataclasses import ChatMessage, StreamingChunk

from hayhooks.demo.pipelines.ask_docs.documents import find_markdown_files, index
from hayhooks.demo.pipelines.ask_docs.extractive_chat_generator import NOTHING_FOUND, ExtractiveChatGenerator
from hayhooks.demo.pipelines.ask_docs.sentences import Statement, best_statements, join, statements, terms
from hayhooks.testing import RunningServer, running_server
from tests.support.model_server import ModelServer
from tests.support.readme import ROOT
from tests.support.sse import read_chat_stream

DEMO = ROOT / "src" / "hayhooks" / "demo" / "pipelines"

LIGHTHOUSES = """# Lighthouses

A lighthouse guides ships at night. Keepers used to trim the lamp by hand.

## Cleaning the lens

Clean the lens every week. Use this command:

```bash
# dry run first
lens clean --gently
```

The [keeper's log](log.md) says when it was done.
"""
SHIPS = """# Ships

| Ship | Mast |
|---|---|
| Sloop | one mast |
| Ketch | two masts |

- A sloop is small.
- A ketch is larger.
"""


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("docs")
    (directory / "lighthouses.md").write_text(LIGHTHOUSES)
    (directory / "ships.md").write_text(SHIPS)
    return directory


@pytest.fixture(scope="module")
def server(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with demo_server(tmp_path_factory.mktemp("state"), {"ASK_DOCS_DIR": str(docs), "OPENAI_API_KEY": ""}) as server:
        yield server


def demo_server(state_dir: Path, env: Mapping[str, str]) -> AbstractContextManager[RunningServer]:
    """The demo as ``make demo`` serves it, except that nothing is written beside its source."""
    return running_server(pipelines_dir=DEMO, env={"HAYHOOKS_STATE_DIR": str(state_dir), **env})


def ask(server: RunningServer, question: str, **more: object) -> httpx.Response:
    return httpx.post(f"{server.url}/ask_docs/run", json={"question": question, **more}, timeout=60)


# Running the demo ----------------------------------------------------------------------------------------------------


def test_answer_is_taken_from_the_documentation_with_its_sources(server: RunningServer) -> None:
    result = ask(server, "How do I clean the lens?").json()["result"]
    assert result["answer"].startswith("Clean the lens every week.")
    assert "lens clean --gently" in result["answer"]
    assert result["sources"][0]["file"] == "lighthouses.md"
    assert result["sources"][0]["section"] == "Lighthouses > Cleaning the lens"
    assert result["sources"][0]["score"] > 0


def test_top_k_limits_the_sources_and_is_checked(server: RunningServer) -> None:
    assert len(ask(server, "Which ship guides the lens?", top_k=1).json()["result"]["sources"]) == 1
    assert ask(server, "Which ship?", top_k=0).status_code == 422


def test_question_beside_the_documentation_gets_no_answer_and_no_sources(server: RunningServer) -> None:
    assert ask(server, "Who won the chess final?").json()["result"] == {"answer": NOTHING_FOUND, "sources": []}


def test_chat_streams_the_same_answer_and_then_its_sources(server: RunningServer) -> None:
    question = "How do I clean the lens?"
    body = {
        "model": "ask_docs",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    stream = read_chat_stream(answer.text)
    assert stream.text == ask(server, question).json()["result"]["answer"]
    assert len(stream.chunks) > 10  # word by word
    assert stream.finish_reasons == ["stop"]
    assert stream.is_done
    assert {event["type"] for event in stream.events} == {"source"}
    assert stream.events[0]["data"]["source"]["name"] == "lighthouses.md: Lighthouses > Cleaning the lens"
    assert "lens clean --gently" in stream.events[0]["data"]["document"][0]
    assert stream.usage is not None
    assert stream.usage["completion_tokens"] > 10
    assert stream.usage["total_tokens"] == stream.usage["prompt_tokens"] + stream.usage["completion_tokens"]


def test_openai_client_reads_plain_and_streamed_chat(server: RunningServer) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": "What does a lighthouse do?"}
    ]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused") as client:
        plain = client.chat.completions.create(model="ask_docs", messages=messages)
        chunks = list(client.chat.completions.create(model="ask_docs", messages=messages, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert plain.choices[0].message.content == streamed
    assert streamed.startswith("A lighthouse guides ships at night.")
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert plain.usage.completion_tokens > 5


def test_chat_without_a_question_invites_one(server: RunningServer) -> None:
    body = {"model": "ask_docs", "messages": [{"role": "system", "content": "Be brief."}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] == "Ask me something about Hayhooks."


def test_model_writes_the_answer_when_a_key_is_set(docs: Path, tmp_path: Path) -> None:
    with (
        ModelServer() as models,
        demo_server(tmp_path, {**models.env, "OPENAI_MODEL": "test-model", "ASK_DOCS_DIR": str(docs)}) as server,
    ):
        models.reply("Every ", "week.")
        result = ask(server, "How often is the lens cleaned?").json()["result"]
    assert result["answer"] == "Every week."
    assert result["sources"][0]["file"] == "lighthouses.md"
    (asked,) = models.chats
    assert asked.body["model"] == "test-model"
    assert "Clean the lens every week." in asked.body["messages"][0]["content"]
    assert asked.last_text == "How often is the lens cleaned?"


def test_without_settings_the_project_explains_itself(tmp_path: Path) -> None:
    with demo_server(tmp_path, {"OPENAI_API_KEY": ""}) as server:
        result = ask(server, "How do I deploy a pipeline wrapper?").json()["result"]
    assert "deploy" in result["answer"]
    assert {source["file"] for source in result["sources"]} <= {file.name for file in find_markdown_files()}


# Finding and indexing the documentation ------------------------------------------------------------------------------


def test_checkout_answers_from_its_docs_and_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASK_DOCS_DIR", raising=False)
    files = find_markdown_files()
    assert files[-1] == ROOT / "README.md"
    assert set(files[:-1]) == set((ROOT / "docs").glob("*.md"))


def test_directory_without_markdown_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASK_DOCS_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        find_markdown_files()


def test_sections_become_documents_that_know_where_they_stand(docs: Path) -> None:
    store = index([docs / "lighthouses.md"])
    sections = {document.meta["header"]: document for document in store.filter_documents()}
    assert set(sections) == {"Lighthouses", "Cleaning the lens"}  # and not the comment in the code block
    assert sections["Cleaning the lens"].meta["parent_headers"] == ["Lighthouses"]
    assert sections["Cleaning the lens"].meta["file_path"] == "lighthouses.md"


# Answering without a model -------------------------------------------------------------------------------------------


def prompt(question: str) -> list[ChatMessage]:
    passages = "".join(f'<passage source="x">\n{text}\n</passage>\n' for text in (LIGHTHOUSES, SHIPS))
    return [ChatMessage.from_system(f"Answer from these.\n{passages}"), ChatMessage.from_user(question)]


def test_generator_streams_what_it_replies() -> None:
    pipeline = Pipeline()
    pipeline.add_component("llm", ExtractiveChatGenerator(max_sentences=1))
    chunks: list[StreamingChunk] = []
    reply = pipeline.run({"llm": {"messages": prompt("Who trims the lamp?"), "streaming_callback": chunks.append}})[
        "llm"
    ]["replies"][0]
    assert reply.text == "Keepers used to trim the lamp by hand."
    words = ["Keepers ", "used ", "to ", "trim ", "the ", "lamp ", "by ", "hand."]
    assert [chunk.content for chunk in chunks] == [*words, ""]
    assert [chunk.start for chunk in chunks] == [True] + [False] * 8
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].meta["usage"] == reply.meta["usage"]
    assert {chunk.component_info.name for chunk in chunks if chunk.component_info} == {"llm"}


def test_generator_counts_words_and_signs_as_tokens() -> None:
    reply = ExtractiveChatGenerator(max_sentences=1).run(
        [ChatMessage.from_user("<passage>\nIt's a sloop.\n</passage>\nA sloop?")]
    )["replies"][0]
    assert reply.text == "It's a sloop."
    assert reply.meta["usage"]["completion_tokens"] == len(["It", "'", "s", "a", "sloop", "."])


async def test_generator_streams_to_a_coroutine_and_lets_others_run() -> None:
    chunks: list[StreamingChunk] = []
    turns = 0

    async def collect(chunk: StreamingChunk) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    result = await ExtractiveChatGenerator(max_sentences=1).run_async(
        prompt("Who trims the lamp?"), streaming_callback=collect
    )
    task.cancel()
    assert "".join(chunk.content for chunk in chunks) == result["replies"][0].text
    assert turns >= len(chunks)


def test_generator_survives_saving_and_loading() -> None:
    saved = component_to_dict(ExtractiveChatGenerator(max_sentences=2), "llm")
    component = component_from_dict(ExtractiveChatGenerator, saved, "llm")
    assert isinstance(component, ExtractiveChatGenerator)
    assert component.max_sentences == 2


@pytest.mark.parametrize("messages", [[], [ChatMessage.from_user("")], [ChatMessage.from_user("Lamps?")]])
def test_generator_without_passages_says_so(messages: list[ChatMessage]) -> None:
    assert ExtractiveChatGenerator().run(messages)["replies"][0].text == NOTHING_FOUND


def test_markdown_is_cut_into_statements() -> None:
    assert statements(LIGHTHOUSES) == [
        Statement("A lighthouse guides ships at night."),
        Statement("Keepers used to trim the lamp by hand."),
        Statement("Clean the lens every week."),
        Statement("Use this command:"),
        Statement("```bash\n# dry run first\nlens clean --gently\n```", "code"),
        Statement("The keeper's log says when it was done."),
    ]
    assert statements(SHIPS) == [
        Statement("Ship: Mast", "item"),
        Statement("Sloop: one mast", "item"),
        Statement("Ketch: two masts", "item"),
        Statement("A sloop is small.", "item"),
        Statement("A ketch is larger.", "item"),
    ]


def test_fence_without_an_end_is_kept() -> None:
    assert statements("Run:\n```\nls") == [Statement("Run:"), Statement("```\nls", "code")]


def test_terms_leave_out_small_words_and_endings() -> None:
    assert terms("How do I deploy the deployed deployments?") == ["deploy", "deploy", "deploy"]


def test_statements_come_in_the_order_of_the_text_and_bring_their_code() -> None:
    best = best_statements("Which command cleans the lens?", [LIGHTHOUSES], limit=2)
    assert join(best) == (
        "Clean the lens every week. Use this command:\n\n```bash\n# dry run first\nlens clean --gently\n```"
    )


def test_items_are_joined_as_a_list() -> None:
    said = [Statement("Two ships."), Statement("Sloop", "item"), Statement("Ketch", "item"), Statement("No more.")]
    assert join(said) == "Two ships.\n\n- Sloop\n- Ketch\n\nNo more."
