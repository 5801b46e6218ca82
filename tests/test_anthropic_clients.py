"""Real Anthropic clients against our server: the SDK, and Haystack's own AnthropicChatGenerator."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.utils import Secret
from pydantic import BaseModel

from hayhooks.core.haystack.platform import MAJOR
from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.model_server import Failure, ModelServer, ToolCall
from tests.support.readme import ROOT

NEEDED = (
    "kinds", "model_stream", "model_stream_async", "tool_agent_sync", "client_tools_stream", "client_tools_message",
    "failing", "one_at_a_time", "reasoning_sync", "reasoning_message", "events", "mirror",
)  # fmt: skip
WAIT_S = 30


@pytest.fixture(scope="module", autouse=True)
def _no_profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the SDK reads of its own accord is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("anthropic") / "pipelines"
    write_wrappers(directory, {name: CHAT_WRAPPERS[name] for name in (*NEEDED, "only_api")})
    env = {**models.env, "PYTHONPATH": str(ROOT), "HAYHOOKS_HEARTBEAT_S": "0.05"}
    with running_server(directory, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(server: RunningServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def said(text: str = "hi", **more: Any) -> Any:
    """Arguments of a request that says *text*."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def text_of(message: Any) -> str:
    [block] = message.content
    assert isinstance(block, TextBlock)
    return block.text


# Answers


def test_the_sdk_creates_a_message(client: Anthropic) -> None:
    message = client.messages.create(model="kinds", **said("text"))
    assert text_of(message) == "Hello there"
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", "kinds")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


@pytest.mark.parametrize("kind", ["generator", "async generator", "streaming chunks", "chat message", "message dict",
                                  "completion dict", "completion object", "completion chunks"])  # fmt: skip
def test_every_kind_of_answer_arrives_whole_and_streamed(client: Anthropic, kind: str) -> None:
    assert text_of(client.messages.create(model="kinds", **said(kind))).split() == ["Hello", "there"]
    with client.messages.stream(model="kinds", **said(kind)) as stream:
        assert "".join(stream.text_stream).split() == ["Hello", "there"]
        assert text_of(stream.get_final_message()).split() == ["Hello", "there"]


@pytest.mark.parametrize("kind", ["empty text", "empty generator", "empty chat message"])
def test_an_empty_answer_has_no_blocks(client: Anthropic, kind: str) -> None:
    message = client.messages.create(model="kinds", **said(kind))
    assert (message.content, message.stop_reason) == ([], "end_turn")
    with client.messages.stream(model="kinds", **said(kind)) as stream:
        final = stream.get_final_message()
    assert (final.content, final.stop_reason) == ([], "end_turn")


def test_the_stream_helper_gathers_text_and_usage(client: Anthropic) -> None:
    with client.messages.stream(model="model_stream", **said("one two")) as stream:
        words = list(stream.text_stream)
        final = stream.get_final_message()
    assert words == ["Echo: ", "one ", "two"]
    assert text_of(final) == "Echo: one two"
    assert (final.stop_reason, final.model) == ("end_turn", "model_stream")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (2, 3)
    assert stream.request_id


def test_a_raw_stream_has_the_named_events_in_order(client: Anthropic) -> None:
    events = [event.type for event in client.messages.create(model="model_stream", stream=True, **said("one two"))]
    deltas = ["content_block_delta"] * 3
    start, *block, delta, stop = events
    assert block == ["content_block_start", *deltas, "content_block_stop"]
    assert (start, delta, stop) == ("message_start", "message_delta", "message_stop")


def test_a_plain_answer_of_a_streaming_pipeline_has_usage(client: Anthropic) -> None:
    usage = client.messages.create(model="model_stream", **said("one two")).usage
    assert (usage.input_tokens, usage.output_tokens) == (2, 3)


def test_unknown_usage_is_zero(client: Anthropic) -> None:
    usage = client.messages.create(model="kinds", **said("text")).usage
    assert (usage.input_tokens, usage.output_tokens) == (0, 0)


def test_a_model_that_ran_out_of_tokens_says_so(client: Anthropic, models: ModelServer) -> None:
    models.finish_reason = "length"
    try:
        assert client.messages.create(model="model_stream", **said()).stop_reason == "max_tokens"
        models.finish_reason = "content_filter"
        with client.messages.stream(model="model_stream", **said()) as stream:
            assert stream.get_final_message().stop_reason == "refusal"
    finally:
        models.finish_reason = "stop"


def test_events_for_the_person_who_watches_are_left_out(client: Anthropic) -> None:
    assert text_of(client.messages.create(model="events", **said())) == "Found it."
    with client.messages.stream(model="events", **said()) as stream:
        assert list(stream.text_stream) == ["Found ", "it."]


@pytest.mark.parametrize("model", ["reasoning_sync", "reasoning_message"])
def test_thinking_is_shown_to_those_who_ask_for_it(client: Anthropic, model: str) -> None:
    asking = said(thinking={"type": "adaptive"})
    with client.messages.stream(model=model, **asking) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert "thinking" in kinds
    for message in (client.messages.create(model=model, **asking), final):
        thinking, text = message.content
        assert isinstance(thinking, ThinkingBlock)
        assert isinstance(text, TextBlock)
        assert (thinking.thinking, thinking.signature) == ("Let me think.", "")
        assert text.text == "It is 42"
    for thinking_config in ({"type": "disabled"}, {"type": "adaptive", "display": "omitted"}):
        assert text_of(client.messages.create(model=model, **said(thinking=thinking_config))) == "It is 42"
    assert text_of(client.messages.create(model=model, **said())) == "It is 42"


def test_pings_keep_a_stream_alive_while_the_pipeline_thinks(client: Anthropic, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("At ", gate, "last.")
    with client.messages.with_streaming_response.create(model="model_stream", stream=True, **said()) as answer:
        lines = answer.iter_lines()
        assert any(line == "event: ping" for line in lines)
        gate.open()
        assert any(line == "event: message_stop" for line in lines)
    models.reply("At ", "last.")
    with client.messages.stream(model="model_stream", **said()) as stream:
        assert "".join(stream.text_stream) == "At last."


async def test_the_async_sdk_creates_and_streams(async_client: AsyncAnthropic) -> None:
    message = await async_client.messages.create(model="model_stream_async", **said("one two"))
    assert text_of(message) == "Echo: one two"
    async with async_client.messages.stream(model="model_stream_async", **said("one two")) as stream:
        words = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert "".join(words) == text_of(final) == "Echo: one two"
    assert final.usage.output_tokens == 3


# Tools


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("model", ["client_tools_stream", "client_tools_message"])
def test_tool_calls_are_the_callers_to_make(client: Anthropic, models: ModelServer, model: str, streams: bool) -> None:
    models.reply("Let me look.", ToolCall("weather", {"city": "Rome"}, id="call_r"), ToolCall("time", id="call_t"))
    if streams:
        with client.messages.stream(model=model, **said("Weather?")) as stream:
            message: Any = stream.get_final_message()
    else:
        message = client.messages.create(model=model, **said("Weather?"))
    text, *calls = message.content
    assert text.text == "Let me look."
    assert all(isinstance(call, ToolUseBlock) for call in calls)
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_r", "weather", {"city": "Rome"}),
        ("call_t", "time", {}),
    ]
    assert message.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    turns = [{"role": "user", "content": "Weather?"}, message.to_param(), {"role": "user", "content": results}]
    last = client.messages.create(model=model, max_tokens=100, messages=turns)
    assert text_of(last) == "Echo: sunny"
    roles = [turn["role"] for turn in models.chats[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


def test_the_sdks_tool_runner_comes_to_an_end(client: Anthropic, models: ModelServer) -> None:
    asked: list[str] = []

    @beta_tool
    def weather(city: str) -> str:
        """Weather of a city."""
        asked.append(city)
        return f"sunny in {city}"

    models.reply(ToolCall("weather", {"city": "Rome"}))
    runner = client.beta.messages.tool_runner(model="client_tools_stream", tools=[weather], **said("Weather?"))
    final: Any = runner.until_done()
    assert asked == ["Rome"]
    assert final.content[0].text == "Echo: sunny in Rome"


@pytest.mark.parametrize("streams", [False, True])
def test_calls_of_tools_that_the_agent_ran_are_not_shown(client: Anthropic, models: ModelServer, streams: bool) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}))
    models.reply("Sunny.")
    if streams:
        with client.messages.stream(model="tool_agent_sync", **said("Weather?")) as stream:
            message: Any = stream.get_final_message()
    else:
        message = client.messages.create(model="tool_agent_sync", **said("Weather?"))
    assert text_of(message) == "Sunny."
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("kind", ["strange calls", "calls without ids"])
def test_the_stream_helper_joins_calls_however_generators_number_them(client: Anthropic, kind: str) -> None:
    with client.messages.stream(model="kinds", **said(kind)) as stream:
        streamed: Any = stream.get_final_message()
    whole: Any = client.messages.create(model="kinds", **said(kind))
    for message in (streamed, whole):
        assert [(call.name, call.input) for call in message.content] == [("one", {"n": 1}), ("two", {"n": 2})]
        assert len({call.id for call in message.content}) == 2
        assert message.stop_reason == "tool_use"


# What hooks are given


def test_hooks_get_the_request_in_the_words_of_a_chat_completion(client: Anthropic) -> None:
    message = client.messages.create(
        model="mirror",
        max_tokens=7,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": "Hello"}],
        stop_sequences=["END"],
        metadata={"user_id": "ada"},
        tools=[{"name": "weather", "description": "Weather", "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 4},  # older SDKs have names for them
    )
    seen = json.loads(text_of(message))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert seen["messages"] == messages
    assert seen["last"] == "Hello"
    assert seen["body"] == {
        "model": "mirror",
        "messages": messages,
        "max_tokens": 7,
        "stop": ["END"],
        "stream": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "metadata": {"user_id": "ada"},
        "user": "ada",
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Weather", "parameters": {"type": "object"}},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    }


def test_the_sdk_parses_structured_output(client: Anthropic, models: ModelServer) -> None:
    class City(BaseModel):
        name: str

    models.reply('{"name": "Rome"}')
    parsed = client.messages.parse(model="model_stream", output_format=City, **said("Which city?"))
    assert parsed.parsed_output == City(name="Rome")
    seen = json.loads(text_of(client.messages.parse(model="mirror", **said("Which city?", output_config={
        "effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}},
    }))))  # fmt: skip
    assert seen["body"]["reasoning_effort"] == "xhigh"
    assert seen["body"]["response_format"]["json_schema"]["schema"] == {"type": "object"}


# Tokens and models


def test_the_sdk_counts_tokens_as_an_estimate(client: Anthropic) -> None:
    count = client.messages.count_tokens(model="kinds", messages=[{"role": "user", "content": "x" * 400}])
    assert count.input_tokens == 100
    more = client.messages.count_tokens(
        model="kinds",
        system="y" * 40,
        messages=[{"role": "user", "content": "x" * 400}],
        tools=[{"name": "weather", "input_schema": {"type": "object"}}],
    )
    assert more.input_tokens > 110
    assert client.messages.count_tokens(model="kinds", messages=[{"role": "user", "content": ""}]).input_tokens == 1
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nope", messages=[{"role": "user", "content": "x"}])


def test_the_sdk_lists_and_retrieves_models(client: Anthropic) -> None:
    models = {model.id: model for model in client.models.list(limit=5)}  # fetches page by page
    assert list(models) == sorted(NEEDED)
    assert {(model.type, model.lifecycle) for model in models.values()} == {("model", "active")}
    assert client.models.retrieve("kinds") == models["kinds"]
    before = client.models.list(before_id=sorted(NEEDED)[3], limit=2)
    assert [model.id for model in before.data] == sorted(NEEDED)[1:3]
    for missing in ("nope", "only_api"):
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve(missing)
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.models.list(limit=0)


# Errors


def test_errors_are_typed(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="nope", **said())
    assert missing.value.type == "not_found_error"
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as bad:
        client.messages.create(model="kinds", **said(max_tokens=0))
    assert bad.value.type == "invalid_request_error"
    for streams in (False, True):
        with pytest.raises(anthropic.InternalServerError) as failed:
            client.messages.create(model="failing", stream=streams, **said("raise"))
        assert failed.value.type == "api_error"
        assert "secret" not in str(failed.value)
    with pytest.raises(anthropic.AuthenticationError, match="Pay first") as refused:
        client.messages.create(model="failing", **said("http 401"))
    assert refused.value.type == "authentication_error"
    with pytest.raises(anthropic.BadRequestError, match="web_search_20250305"):
        client.messages.create(model="kinds", **said(tools=[{"type": "web_search_20250305", "name": "web_search"}]))


def test_a_busy_model_is_a_rate_limit_error(client: Anthropic, models: ModelServer) -> None:
    gate = models.gate()
    models.reply(gate, "Done.")
    thread = threading.Thread(target=lambda: client.messages.create(model="one_at_a_time", **said()))
    thread.start()
    try:
        assert gate.reached.wait(WAIT_S)
        with pytest.raises(anthropic.RateLimitError) as busy:
            client.messages.create(model="one_at_a_time", **said())
    finally:
        gate.open()
        thread.join()
    assert int(busy.value.response.headers["retry-after"]) >= 1


def test_a_stream_that_breaks_midway_raises_its_reason(client: Anthropic, models: ModelServer) -> None:
    models.reply("Half of ", Failure("overloaded"))
    words: list[str] = []
    with (
        client.messages.stream(model="model_stream", **said()) as stream,
        pytest.raises(anthropic.APIStatusError, match="'model_stream' failed") as broken,
    ):
        words.extend(stream.text_stream)
    assert "".join(words) == "Half of "
    assert broken.value.type == "api_error"
    assert broken.value.body["request_id"] == stream.request_id  # type: ignore[index]


def test_two_surfaces_share_v1_by_what_a_client_says_of_itself(server: RunningServer, client: Anthropic) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as other:
        assert sorted(model.id for model in other.models.list()) == sorted(NEEDED)
        completion = other.chat.completions.create(model="kinds", messages=[{"role": "user", "content": "text"}])
    assert completion.choices[0].message.content == text_of(client.messages.create(model="kinds", **said("text")))


# Haystack as the client


@pytest.mark.skipif(MAJOR < 3, reason="Haystack's integration needs Haystack 3")
@pytest.mark.parametrize("streams", [False, True])
def test_haystacks_generator_answers_calls_tools_and_thinks(
    server: RunningServer, models: ModelServer, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    from haystack_integrations.components.generators.anthropic import AnthropicChatGenerator

    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    heard: list[StreamingChunk] = []

    def ask(model: str, *messages: ChatMessage, **more: Any) -> ChatMessage:
        heard.clear()
        callback = heard.append if streams else None
        made = AnthropicChatGenerator(Secret.from_token("none"), model, streaming_callback=callback, **more)
        [reply] = made.run(list(messages))["replies"]
        assert isinstance(reply, ChatMessage)
        return reply

    reply = ask("model_stream", ChatMessage.from_user("one two"))
    assert reply.text == "Echo: one two"
    assert "".join(chunk.content for chunk in heard) == (reply.text if streams else "")
    assert (reply.meta["finish_reason"], reply.meta["usage"]["completion_tokens"]) == ("stop", 3)

    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_r"))
    question = ChatMessage.from_user("Weather?")
    called = ask("client_tools_stream", question)
    [call] = called.tool_calls
    assert (call.id, call.tool_name, call.arguments) == ("call_r", "weather", {"city": "Rome"})
    last = ask("client_tools_stream", question, called, ChatMessage.from_tool("sunny", origin=call))
    assert last.text == "Echo: sunny"

    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
    thought = ask("reasoning_sync", question, generation_kwargs=thinking)
    assert thought.reasoning is not None
    assert (thought.reasoning.reasoning_text, thought.text) == ("Let me think.", "It is 42")
