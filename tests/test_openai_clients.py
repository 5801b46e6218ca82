"""Real OpenAI clients against our server: the OpenAI SDK, and Haystack's own OpenAIChatGenerator."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import openai
import pytest
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools.tool import Tool
from haystack.utils import Secret
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from hayhooks.core.haystack.platform import MAJOR
from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.model_server import Failure, ModelServer, ToolCall
from tests.support.readme import ROOT

NEEDED = (
    "kinds", "pipeline_sync", "pipeline_async", "model_stream", "model_stream_async", "tool_agent_sync",
    "client_tools_stream", "failing", "one_at_a_time", "reasoning_sync", "events",
)  # fmt: skip
WEATHER = Tool(
    name="weather",
    description="Weather of a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    function=lambda city: f"sunny in {city}",
)


class Report(BaseModel):
    """What a model is asked to fill."""

    city: str
    degrees: int


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("clients") / "pipelines"
    write_wrappers(directory, {name: CHAT_WRAPPERS[name] for name in NEEDED})
    with running_server(directory, env={**models.env, "PYTHONPATH": str(ROOT)}) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(server: RunningServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def generator(server: RunningServer, model: str, **more: object) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(
        api_key=Secret.from_token("none"),
        api_base_url=f"{server.url}/v1",
        model=model,
        max_retries=0,
        **more,  # type: ignore[arg-type]
    )


# The OpenAI SDK


def test_the_sdk_lists_and_retrieves_models(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == set(NEEDED)
    assert client.models.retrieve("kinds") == models["kinds"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_the_sdk_completes(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="kinds", messages=[{"role": "user", "content": "text"}])
    assert completion.choices[0].message.content == "Hello there"
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.tool_calls is None
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is None


def test_the_sdk_streams(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="model_stream",
            messages=[{"role": "user", "content": "one two"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *said, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "Echo: one two"
    assert said[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == 2


def test_the_sdks_stream_helper_gathers_text_and_usage(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="model_stream",
        messages=[{"role": "user", "content": "one two"}],
        stream_options={"include_usage": True},
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Echo: one two"
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.total_tokens == 5


def test_the_sdks_stream_helper_gathers_tool_calls(client: OpenAI, models: ModelServer) -> None:
    models.reply(ToolCall("one", {"n": 1}), ToolCall("two", {"n": 2}))
    for model in ("client_tools_stream", "kinds"):  # in the latter two generators, each with a numbering of its own
        with client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": "strange calls"}]
        ) as stream:
            final = stream.get_final_completion()
        calls = final.choices[0].message.tool_calls or []
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("one", {"n": 1}),
            ("two", {"n": 2}),
        ]
        assert len({call.id for call in calls}) == 2
        assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("streams", [False, True])
def test_the_sdk_parses_a_structured_answer(client: OpenAI, models: ModelServer, streams: bool) -> None:
    models.reply('{"city": "Rome", ', '"degrees": 30}')
    asked: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "Report"}
    if streams:
        with client.chat.completions.stream(model="model_stream", messages=[asked], response_format=Report) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        completion = client.chat.completions.parse(model="model_stream", messages=[asked], response_format=Report)
        message = completion.choices[0].message
    assert message.parsed == Report(city="Rome", degrees=30)


async def test_the_async_sdks_stream_helper_parses_the_arguments_of_calls(
    async_client: AsyncOpenAI, models: ModelServer
) -> None:
    models.reply(
        ToolCall("weather", {"city": "Rome", "degrees": 1}), ToolCall("weather", {"city": "Oslo", "degrees": 2})
    )
    async with async_client.chat.completions.stream(
        model="client_tools_stream",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[openai.pydantic_function_tool(Report, name="weather")],
    ) as stream:
        done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [(event.index, event.name, event.parsed_arguments) for event in done] == [
        (0, "weather", Report(city="Rome", degrees=1)),
        (1, "weather", Report(city="Oslo", degrees=2)),
    ]


def test_the_sdk_gets_every_choice_of_a_stream_that_a_hook_passes_on(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="kinds", messages=[{"role": "user", "content": "several choices"}], n=2
    ) as stream:
        final = stream.get_final_completion()
    assert [(choice.index, choice.message.content, choice.finish_reason) for choice in final.choices] == [
        (0, "One", "stop"),
        (1, "Two", "stop"),
    ]


def test_the_sdk_gets_the_log_probabilities_that_a_hook_passes_on(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="kinds", messages=[{"role": "user", "content": "likely"}], logprobs=True
    ) as stream:
        streamed = stream.get_final_completion()
    plain = client.chat.completions.create(
        model="kinds", messages=[{"role": "user", "content": "likely"}], logprobs=True
    )
    for choice in (streamed.choices[0], plain.choices[0]):
        assert choice.message.content == "Hello there"
        assert choice.logprobs is not None
        assert [token.token for token in choice.logprobs.content or ()] == ["Hello ", "there"]


def test_the_sdk_gets_tool_calls_in_a_plain_answer(client: OpenAI, models: ModelServer) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_x"))
    completion = client.chat.completions.create(
        model="client_tools_stream", messages=[{"role": "user", "content": "Weather?"}]
    )
    [call] = completion.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.id == "call_x"
    assert call.function.arguments == '{"city": "Rome"}'
    assert completion.choices[0].message.content is None
    assert completion.choices[0].finish_reason == "tool_calls"


def test_the_sdk_sees_no_calls_of_tools_that_the_agent_ran(client: OpenAI, models: ModelServer) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}))
    models.reply("Sunny.")
    with client.chat.completions.stream(
        model="tool_agent_sync", messages=[{"role": "user", "content": "Weather?"}]
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Sunny."
    assert not final.choices[0].message.tool_calls
    assert final.choices[0].finish_reason == "stop"


def test_the_sdk_reads_over_heartbeats(tmp_path: Path, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("At ", gate, "last.")
    write_wrappers(tmp_path / "pipelines", {"model_stream": CHAT_WRAPPERS["model_stream"]})
    with (
        running_server(tmp_path / "pipelines", env={**models.env, "HAYHOOKS_HEARTBEAT_S": "0.05"}) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(
            model="model_stream", messages=[{"role": "user", "content": "x"}], stream=True
        )
        words = [next(stream).choices[0].delta.content or ""]
        assert gate.reached.wait(30)
        # A stream that began later, and so has been silent for less time, shows when heartbeats have come.
        models.reply("At ", gate, "last.")
        body = {"model": "model_stream", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=30) as watched:
            lines = watched.iter_lines()
            assert any(line.startswith(":") for line in lines)
            gate.open()
            words += [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(words) == "At last."


def test_the_sdk_reads_over_events(client: OpenAI) -> None:
    with client.chat.completions.stream(model="events", messages=[{"role": "user", "content": "x"}]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Found it."
    chunks = client.chat.completions.create(model="events", messages=[{"role": "user", "content": "x"}], stream=True)
    extras = [chunk.model_extra or {} for chunk in chunks]
    events = [extra["event"]["type"] for extra in extras if "event" in extra]
    assert events == ["status", "notification", "source", "status"]


def test_the_sdk_keeps_reasoning(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="reasoning_sync", messages=[{"role": "user", "content": "x"}])
    message = completion.choices[0].message
    assert message.content == "It is 42"
    assert (message.model_extra or {})["reasoning_content"] == "Let me think."


async def test_the_async_sdk_completes_and_streams(async_client: AsyncOpenAI) -> None:
    completion = await async_client.chat.completions.create(
        model="model_stream_async", messages=[{"role": "user", "content": "one two"}]
    )
    assert completion.choices[0].message.content == "Echo: one two"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 5
    stream = await async_client.chat.completions.create(
        model="model_stream_async", messages=[{"role": "user", "content": "one two"}], stream=True
    )
    words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(words) == "Echo: one two"
    async with async_client.chat.completions.stream(
        model="pipeline_async", messages=[{"role": "user", "content": "one two"}]
    ) as helper:
        final = await helper.get_final_completion()
    assert (final.choices[0].message.content or "").split() == ["one", "two"]


def test_errors_are_typed(client: OpenAI) -> None:
    hello: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "raise"}
    with pytest.raises(openai.NotFoundError) as not_found:
        client.chat.completions.create(model="nope", messages=[hello])
    assert not_found.value.code == "model_not_found"
    assert not_found.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="kinds", messages=[])
    assert bad.value.param == "messages"
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="failing", messages=[hello])
    assert failed.value.code == "run_failed"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="failing", messages=[hello], stream=True)
    with pytest.raises(openai.AuthenticationError, match="Pay first"):
        client.chat.completions.create(model="failing", messages=[{"role": "user", "content": "http 401"}])


def test_a_busy_model_is_a_rate_limit_error(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply(gate, "Done.")
    hello: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "x"}
    thread = threading.Thread(target=lambda: client.chat.completions.create(model="one_at_a_time", messages=[hello]))
    thread.start()
    try:
        assert gate.reached.wait(30)
        with pytest.raises(openai.RateLimitError) as busy:
            client.chat.completions.create(model="one_at_a_time", messages=[hello])
    finally:
        gate.open()
        thread.join()
    assert int(busy.value.response.headers["retry-after"]) >= 1


def test_a_stream_that_breaks_midway_raises_an_api_error_with_its_reason(client: OpenAI, models: ModelServer) -> None:
    models.reply("Half of ", Failure("overloaded"))
    stream = client.chat.completions.create(
        model="model_stream", messages=[{"role": "user", "content": "x"}], stream=True
    )
    words: list[str] = []
    with pytest.raises(openai.APIError, match="'model_stream' failed"):
        words.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(words) == "Half of "


# Haystack as the client


@pytest.mark.parametrize("model", ["model_stream", "model_stream_async"])
def test_haystacks_generator_gets_an_answer_with_its_meta(server: RunningServer, model: str) -> None:
    [reply] = generator(server, model).run([ChatMessage.from_user("one two")])["replies"]
    assert reply.text == "Echo: one two"
    assert reply.meta["finish_reason"] == "stop"
    assert reply.meta["model"] == model
    assert reply.meta["usage"]["prompt_tokens"] == 2


def test_haystacks_generator_streams(server: RunningServer) -> None:
    chunks: list[StreamingChunk] = []
    usage = {"stream_options": {"include_usage": True}}
    made = generator(server, "model_stream", streaming_callback=chunks.append, generation_kwargs=usage)
    [reply] = made.run([ChatMessage.from_user("one two")])["replies"]
    assert reply.text == "".join(chunk.content for chunk in chunks) == "Echo: one two"
    assert reply.meta["finish_reason"] == "stop"
    assert reply.meta["usage"]["total_tokens"] == 5


async def test_haystacks_generator_answers_and_streams_asynchronously(server: RunningServer) -> None:
    made = generator(server, "model_stream_async")
    messages = [ChatMessage.from_user("one two")]
    [reply] = (await made.run_async(messages))["replies"]
    assert reply.text == "Echo: one two"
    words: list[str] = []

    async def hear(chunk: StreamingChunk) -> None:
        words.append(chunk.content)

    [streamed] = (await made.run_async(messages, streaming_callback=hear))["replies"]
    assert streamed.text == "".join(words) == "Echo: one two"
    if MAJOR >= 3:
        await made.close_async()
    elif made.async_client is not None:
        await made.async_client.close()


def test_haystacks_generator_reads_over_events(server: RunningServer) -> None:
    words: list[str] = []
    made = generator(server, "events", streaming_callback=lambda chunk: words.append(chunk.content))
    [reply] = made.run([ChatMessage.from_user("x")])["replies"]
    assert reply.text == "".join(words) == "Found it."


@pytest.mark.parametrize("streams", [False, True])
def test_haystacks_generator_gets_tool_calls_to_make(server: RunningServer, models: ModelServer, streams: bool) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_r"), ToolCall("weather", {"city": "Oslo"}, id="call_o"))
    made = generator(server, "client_tools_stream", streaming_callback=print if streams else None)
    [reply] = made.run([ChatMessage.from_user("Weather?")], tools=[WEATHER])["replies"]
    assert [(call.id, call.tool_name, call.arguments) for call in reply.tool_calls] == [
        ("call_r", "weather", {"city": "Rome"}),
        ("call_o", "weather", {"city": "Oslo"}),
    ]
    assert reply.meta["finish_reason"] == "tool_calls"
    results = [ChatMessage.from_tool("sunny", origin=call) for call in reply.tool_calls]
    [last] = made.run([ChatMessage.from_user("Weather?"), reply, *results], tools=[WEATHER])["replies"]
    assert last.text == "Echo: sunny"
