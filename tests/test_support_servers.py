"""The servers that other tests rely on behave like the things they stand for."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from haystack.components.agents import Agent
from haystack.components.converters import HTMLToDocument
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.fetchers import LinkContentFetcher
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import tool

from tests.support.model_server import Cut, Failure, ModelServer, Reasoning, Text, ToolCall
from tests.support.website import Website


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def client(models: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=models.base_url, api_key="k") as client:
        yield client


def ask(client: openai.OpenAI, text: str = "How deep is the sea?") -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model="test-model", messages=[{"role": "user", "content": text}])


def test_unscripted_question_is_echoed_with_usage(models: ModelServer, client: openai.OpenAI) -> None:
    answer = ask(client)
    assert answer.choices[0].message.content == "Echo: How deep is the sea?"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 6)
    assert models.chats[0].last_text == "How deep is the sea?"
    assert models.chats[0].headers["authorization"] == "Bearer k"


def test_content_in_parts_is_read_as_its_text(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="test-model",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            }
        ],
    )
    assert answer.choices[0].message.content == "Echo: What is it?"


def test_scripted_answers_come_in_order_and_then_the_echo(models: ModelServer, client: openai.OpenAI) -> None:
    models.reply("One")
    models.reply(Text("Two"))
    assert [ask(client, "x").choices[0].message.content for _ in range(3)] == ["One", "Two", "Echo: x"]


def test_own_answer_function_replaces_the_echo() -> None:
    with (
        ModelServer(answer=lambda body: f"{len(body['messages'])} messages") as models,
        openai.OpenAI(base_url=models.base_url, api_key="k") as client,
    ):
        assert ask(client).choices[0].message.content == "1 messages"


@pytest.mark.parametrize("include_usage", [True, False])
def test_stream_has_role_words_finish_and_usage_when_asked(client: openai.OpenAI, include_usage: bool) -> None:
    chunks = list(
        client.chat.completions.create(
            model="test-model",
            messages=[{"role": "user", "content": "How deep?"}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert [choice.delta.content for choice in choices[1:-1]] == ["Echo: ", "How ", "deep?"]
    assert choices[-1].finish_reason == "stop"
    usages = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert usages == ([5] if include_usage else [])


def test_tool_calls_are_told_alike_in_one_piece_and_in_a_stream(models: ModelServer, client: openai.OpenAI) -> None:
    calls = (ToolCall("weather", {"city": "Rome"}), ToolCall("time", {"zone": "Europe/Rome"}))
    models.reply(*calls)
    models.reply(*calls)
    plain = ask(client).choices[0]
    with client.chat.completions.stream(
        model="test-model", messages=[{"role": "user", "content": "Weather?"}]
    ) as stream:
        streamed = stream.get_final_completion().choices[0]
    for choice in (plain, streamed):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [  # type: ignore[union-attr]
            ("call_0", "weather", '{"city": "Rome"}'),
            ("call_1", "time", '{"zone": "Europe/Rome"}'),
        ]


def test_reasoning_is_sent_before_the_answer(models: ModelServer, client: openai.OpenAI) -> None:
    models.reply(Reasoning("Let me think."), "Done.")
    models.reply(Reasoning("Let me think."), "Done.")
    message = ask(client).choices[0].message
    assert (message.model_extra or {})["reasoning_content"] == "Let me think."
    assert message.content == "Done."
    list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in models.chats[1].chunks]
    assert [delta.get("reasoning_content") for delta in deltas[1:4]] == ["Let ", "me ", "think."]
    assert deltas[4] == {"content": "Done."}


def test_gate_holds_the_answer_until_it_is_opened(models: ModelServer, client: openai.OpenAI) -> None:
    gate = models.gate()
    models.reply("Before ", gate, "after")
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    texts = (chunk.choices[0].delta.content for chunk in stream)
    assert [next(texts), next(texts)] == ["", "Before "]
    assert gate.reached.wait(10)
    assert not models.chats[0].ended.is_set()
    gate.open()
    assert list(texts) == ["after", None]
    assert models.chats[0].ended.wait(10)


def test_client_that_leaves_ends_the_request(models: ModelServer, client: openai.OpenAI) -> None:
    models.reply("Before ", models.gate(), "after")
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    next(iter(stream))
    stream.close()
    assert models.chats[0].ended.wait(10)
    assert len(models.chats[0].chunks) == 2  # role and "Before "


def test_server_stops_while_a_gate_is_closed() -> None:
    with ModelServer() as models, httpx.Client() as client:
        models.reply("Before ", models.gate(), "after")
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        with client.stream("POST", f"{models.base_url}/chat/completions", json=body) as answer:
            assert next(answer.iter_lines()).startswith("data: ")
    assert models.chats[0].ended.is_set()


def test_failure_as_the_first_part_is_an_http_error(models: ModelServer, client: openai.OpenAI) -> None:
    models.reply(Failure("Slow down.", 429, "rate_limit_exceeded"))
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    assert caught.value.code == "rate_limit_exceeded"
    assert len(models.chats) == 1


def test_failure_later_breaks_the_stream_with_an_error_event(models: ModelServer, client: openai.OpenAI) -> None:
    models.reply("Half of ", Failure("Model overloaded."))
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="Model overloaded"):
        seen += [chunk.choices[0].delta.content for chunk in stream]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in models.chats[0].chunks] == ["", "Half ", "of "]


@pytest.mark.parametrize("stream", [True, False])
def test_cut_drops_the_connection(models: ModelServer, stream: bool) -> None:
    models.reply("Half", Cut())
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    with pytest.raises(httpx.RemoteProtocolError), httpx.Client() as client:
        client.post(f"{models.base_url}/chat/completions", json=body)


def test_request_without_messages_is_refused(models: ModelServer) -> None:
    with httpx.Client() as client:
        answer = client.post(f"{models.base_url}/chat/completions", json={"model": "m"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_models_are_listed_and_unknown_ones_are_not_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["test-model", "test-embedding-model"]
    assert client.models.retrieve("test-model").owned_by == "tests"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_embeddings_are_the_same_in_both_encodings_and_close_for_texts_that_share_words(client: openai.OpenAI) -> None:
    texts = ["the deep sea", "sea, the deep", "bridges of harbour town"]
    packed = client.embeddings.create(model="test-embedding-model", input=texts)
    plain = client.embeddings.create(model="test-embedding-model", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    first, second, third = (item.embedding for item in plain.data)
    assert first == second != third
    assert plain.usage.prompt_tokens == 10


def test_haystack_components_work_against_it(models: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in models.env.items():
        monkeypatch.setenv(name, value)
    chunks: list[StreamingChunk] = []
    generator = OpenAIChatGenerator(streaming_callback=chunks.append)
    reply = generator.run([ChatMessage.from_user("Hello sea")])["replies"][0]
    close(generator)
    assert reply.text == "Echo: Hello sea"
    assert "".join(chunk.content for chunk in chunks) == "Echo: Hello sea"
    embedder = OpenAITextEmbedder()
    assert len(embedder.run("Hello")["embedding"]) == 16
    close(embedder)


async def test_haystack_agent_calls_a_scripted_tool(models: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in models.env.items():
        monkeypatch.setenv(name, value)

    @tool
    def depth(place: str) -> str:
        """Depth of the sea at a place."""
        return f"{place} is 4000 m deep"

    models.reply(ToolCall("depth", {"place": "Biscay"}))
    generator = OpenAIChatGenerator()
    result = await Agent(chat_generator=generator, tools=[depth]).run_async([ChatMessage.from_user("How deep?")])
    await close_async(generator)
    assert result["messages"][-1].text == "Echo: Biscay is 4000 m deep"


def test_website_is_fetched_and_its_article_extracted() -> None:
    with Website() as site:
        fetcher = LinkContentFetcher()
        streams = fetcher.run([site.url("/whales")])["streams"]
        close(fetcher)
        assert site.requested == ["/whales"]
    document = HTMLToDocument().run(streams)["documents"][0]
    assert "180 kilograms" in document.content
    assert "rights reserved" not in document.content


def test_website_answers_404_for_pages_it_does_not_have() -> None:
    with Website({"/only": "<p>Only page</p>"}) as site, httpx.Client() as client:
        site.pages["/new"] = "<p>New page</p>"
        codes = [client.get(site.url(path)).status_code for path in ("/only", "/new", "/whales")]
    assert codes == [200, 200, 404]


def test_servers_leave_no_open_port_behind() -> None:
    with Website() as site:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.port))


def close(component: Any) -> None:
    """Close the HTTP client of *component*. Haystack 2 components have no method for it."""
    if hasattr(component, "close"):
        component.close()
    else:
        (component._client if hasattr(component, "_client") else component.client).close()


async def close_async(component: Any) -> None:
    """Do the same for a component that ran on the event loop."""
    await (component.close_async() if hasattr(component, "close_async") else component.async_client.close())
