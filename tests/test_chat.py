"""The OpenAI chat surface over the wire: what a hook may return, tools, usage, events, errors, models."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.model_server import Failure, ModelServer, Reasoning, Reply, ToolCall, echo
from tests.support.model_wire import message_text
from tests.support.readme import ROOT
from tests.support.sse import ChatStream, read_chat_stream

WAIT_S = 30  # for things that happen at once unless they are broken


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    """Echoes, or says what a test has queued; when asked to wait it waits until the end of the tests."""

    def answer(body: Mapping[str, Any]) -> Reply:
        return [gate] if message_text(body["messages"][-1]) == "wait" else echo(body)

    with ModelServer(answer=answer) as models:
        gate = models.gate()
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("chat") / "pipelines"
    write_wrappers(directory, CHAT_WRAPPERS)
    with running_server(directory, env={**models.env, "PYTHONPATH": str(ROOT)}) as server:
        assert not httpx.get(f"{server.url}/status").json()["failed"], server.log
        yield server


def ask(server: RunningServer, model: str, text: str = "hi", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=WAIT_S)


def plain(server: RunningServer, model: str, text: str = "hi", **more: Any) -> dict[str, Any]:
    answer = ask(server, model, text, **more)
    assert answer.status_code == 200, answer.text
    completion: dict[str, Any] = answer.json()
    return completion


def streamed(server: RunningServer, model: str, text: str = "hi", **more: Any) -> ChatStream:
    answer = ask(server, model, text, stream=True, **more)
    assert answer.status_code == 200, answer.text
    stream = read_chat_stream(answer.text)
    assert stream.is_done
    return stream


def choice_of(completion: dict[str, Any]) -> dict[str, Any]:
    [choice] = completion["choices"]
    assert choice["index"] == 0
    return choice  # type: ignore[no-any-return]


def joined_calls(stream: ChatStream) -> list[dict[str, Any]]:
    """The tool calls of a stream, joined as clients do: by index, the id and the name in the first piece only."""
    calls: list[dict[str, Any]] = []
    for chunk in stream.chunks:
        deltas = chunk["choices"][0]["delta"].get("tool_calls") or []
        assert len({delta["index"] for delta in deltas}) == len(deltas)
        for delta in deltas:
            if delta["index"] == len(calls):
                assert delta["id"]
                assert delta["type"] == "function"
                calls.append({"id": delta["id"], "name": delta["function"]["name"], "arguments": ""})
            else:
                assert "id" not in delta
            calls[delta["index"]]["arguments"] += delta["function"].get("arguments") or ""
    return [{**call, "arguments": json.loads(call["arguments"])} for call in calls]


def plain_calls(completion: dict[str, Any]) -> list[dict[str, Any]]:
    calls = choice_of(completion)["message"].get("tool_calls") or []
    return [
        {
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in calls
    ]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# What a hook may return

KINDS = [
    "text", "generator", "async generator", "streaming chunks", "one streaming chunk", "chat message", "message dict",
    "completion dict", "bare completion dict", "completion object", "completion chunks", "completion chunk dicts",
    "generator with None",
]  # fmt: skip
HOOKS = [(model, kind) for model in ("kinds", "kinds_async") for kind in KINDS] + [
    ("generator_method", "any"),
    ("async_generator_method", "any"),
    ("pipeline_sync", "Hello there"),
    ("pipeline_async", "Hello there"),
    ("agent_sync", "Hello there"),
    ("agent_async", "Hello there"),
]


@pytest.mark.parametrize(("model", "kind"), HOOKS)
def test_every_kind_of_answer_comes_as_one_completion(server: RunningServer, model: str, kind: str) -> None:
    completion = plain(server, model, kind)
    choice = choice_of(completion)
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].split() == ["Hello", "there"]
    assert choice["message"].get("tool_calls") is None
    assert choice["finish_reason"] == "stop"
    assert completion["object"] == "chat.completion"
    assert isinstance(completion["created"], int)
    if "completion" not in kind or kind == "bare completion dict":
        assert completion["id"].startswith("chatcmpl-")
        assert completion["model"] == model


@pytest.mark.parametrize(("model", "kind"), HOOKS)
def test_every_kind_of_answer_streams(server: RunningServer, model: str, kind: str) -> None:
    stream = streamed(server, model, kind)
    assert stream.text.split() == ["Hello", "there"]
    assert stream.finish_reasons == ["stop"]
    deltas = [chunk["choices"][0]["delta"] for chunk in stream.chunks]
    assert deltas[0]["role"] == "assistant"
    assert not any("role" in delta for delta in deltas[1:])
    assert deltas[-1] == {}
    assert len({chunk["id"] for chunk in stream.chunks}) == 1
    assert stream.chunks[0]["id"].startswith("chatcmpl-")
    assert {chunk["object"] for chunk in stream.chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in stream.chunks} == {model}
    assert not any(value is None for delta in deltas for value in delta.values())
    assert stream.usage is None  # not asked for


def test_a_completion_that_the_hook_made_is_passed_on_whole(server: RunningServer) -> None:
    completion = plain(server, "kinds", "completion dict")
    assert completion["id"] == "chatcmpl-own"
    assert completion["model"] == "another"
    assert completion["system_fingerprint"] == "fp"
    assert completion["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_streamed_completion_of_the_hooks_own_keeps_its_usage(server: RunningServer) -> None:
    for kind in ("completion dict", "completion object", "completion chunks"):
        stream = streamed(server, "kinds", kind, stream_options={"include_usage": True})
        assert stream.usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_an_empty_answer_is_an_empty_text(server: RunningServer) -> None:
    for kind in ("empty text", "empty generator", "empty chat message"):
        assert choice_of(plain(server, "kinds", kind))["message"]["content"] == ""
        stream = streamed(server, "kinds", kind)
        assert stream.text == ""
        assert stream.finish_reasons == ["stop"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_hook_that_forgets_to_return_fails_and_the_log_says_why(server: RunningServer, stream: bool) -> None:
    answer = ask(server, "kinds", "none", stream=stream)
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "run_failed"
    server.wait_for_log("The chat hook returned None")


def test_other_values_are_shown_as_json(server: RunningServer) -> None:
    assert choice_of(plain(server, "kinds", "number"))["message"]["content"] == "42"
    assert json.loads(streamed(server, "kinds", "plain dict").text) == {"answer": [1, 2]}


def test_half_a_character_in_a_token_breaks_nothing(server: RunningServer) -> None:
    assert choice_of(plain(server, "kinds", "half characters"))["message"]["content"] == "a \N{GRINNING FACE} b"
    text = streamed(server, "kinds", "half characters").text
    assert text.startswith("a ")
    assert text.endswith(" b")


def test_a_large_answer_arrives_whole(server: RunningServer) -> None:
    expected = "".join(f"{number} " for number in range(5_000))
    assert choice_of(plain(server, "kinds", "large"))["message"]["content"] == expected
    assert streamed(server, "kinds", "large").text == expected


# What a plain answer keeps of a streaming pipeline


@pytest.mark.parametrize("model", ["model_stream", "model_stream_async"])
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_plain_answer_keeps_usage_and_finish_reason(
    server: RunningServer, models: ModelServer, model: str, reason: Literal["length", "content_filter"]
) -> None:
    models.finish_reason = reason
    try:
        models.reply(Reasoning("Let me think."), "It is 42")
        completion = plain(server, model, "one two three")
        models.reply("It is 42")
        stream = streamed(server, model, "one two three", stream_options={"include_usage": True})
    finally:
        models.finish_reason = "stop"
    choice = choice_of(completion)
    assert choice["message"]["content"] == stream.text == "It is 42"
    assert [choice["finish_reason"]] == stream.finish_reasons == [reason]
    assert completion["usage"]["prompt_tokens"] == 3
    assert completion["usage"]["completion_tokens"] == 6
    assert completion["usage"]["total_tokens"] == 9
    assert completion["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    assert stream.usage is not None
    assert stream.usage["total_tokens"] == 6


@pytest.mark.parametrize("model", ["reasoning_sync", "reasoning_async", "reasoning_message"])
def test_reasoning_is_kept_apart_from_the_answer(server: RunningServer, model: str) -> None:
    message = choice_of(plain(server, model))["message"]
    assert message["reasoning_content"] == "Let me think."
    assert message["content"] == "It is 42"
    stream = streamed(server, model)
    reasoning = [chunk["choices"][0]["delta"].get("reasoning_content") or "" for chunk in stream.chunks]
    assert "".join(reasoning) == "Let me think."
    assert stream.text == "It is 42"


# Usage


def test_usage_counts_even_when_the_hook_returns_only_text(server: RunningServer, models: ModelServer) -> None:
    models.reply("one two")
    completion = plain(server, "model_text", "a b c")
    assert completion["usage"]["prompt_tokens"] == 3
    assert completion["usage"]["completion_tokens"] == 2
    models.reply("one two")
    stream = streamed(server, "model_text", "a b c", stream_options={"include_usage": True})
    assert stream.usage is not None
    assert stream.usage["total_tokens"] == 5


def test_a_stream_says_its_usage_in_a_chunk_without_choices_before_done(
    server: RunningServer, models: ModelServer
) -> None:
    answer = ask(server, "model_stream", stream=True, stream_options={"include_usage": True})
    *_, usage, done = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert done == "data: [DONE]"
    last = json.loads(usage.removeprefix("data: "))
    assert last["choices"] == []
    assert last["object"] == "chat.completion.chunk"
    assert streamed(server, "model_stream", stream_options={"include_usage": False}).usage is None
    assert streamed(server, "model_stream").usage is None


def test_usage_is_the_sum_over_generators(server: RunningServer) -> None:
    assert plain(server, "two_generators")["usage"] == {
        "prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    stream = streamed(server, "two_generators", stream_options={"include_usage": True})
    assert stream.usage is not None
    assert stream.usage["total_tokens"] == 33
    assert stream.usage["completion_tokens_details"] == {"reasoning_tokens": 3}


@pytest.mark.parametrize("model", ["passed_on", "super_component", "passed_on_async"])
def test_a_reply_that_is_passed_on_is_counted_once(server: RunningServer, model: str) -> None:
    assert plain(server, model)["usage"]["total_tokens"] == 3


@pytest.mark.parametrize("model", ["tool_agent_sync", "tool_agent_async", "tool_agent_text"])
def test_each_model_call_of_an_agent_is_counted_once(server: RunningServer, models: ModelServer, model: str) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}))
    models.reply("It is sunny")
    usage = plain(server, model, "Weather in Rome?")["usage"]
    first, second = models.chats[-2:]
    assert len(second.body["messages"]) > len(first.body["messages"])
    # Question; then question and tool result ("sunny in Rome"); a tool call of two words, an answer of three.
    assert usage["prompt_tokens"] == 3 + 3 + 3
    assert usage["completion_tokens"] == 2 + 3


def test_usage_that_nobody_reported_is_not_invented(server: RunningServer) -> None:
    assert plain(server, "kinds", "text").get("usage") is None
    assert streamed(server, "kinds", "text", stream_options={"include_usage": True}).usage is None
    assert plain(server, "pipeline_silent").get("usage") is None


def test_usage_of_chunks_is_taken_once_per_model_call_however_often_it_is_said(server: RunningServer) -> None:
    # One server repeats its counts in every chunk, another says prompt and completion apart; then a second call.
    assert plain(server, "kinds", "growing usage")["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
    }  # fmt: skip
    assert plain(server, "kinds", "two turns")["usage"] == {
        "prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22,
    }  # fmt: skip


# Tools


@pytest.mark.parametrize(
    "model", ["tool_agent_sync", "tool_agent_async", "tool_agent_text", "agent_in_pipeline", "agent_beside_pipeline"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_tools_that_the_pipeline_runs_itself_are_not_the_callers_to_call(
    server: RunningServer, models: ModelServer, model: str, stream: bool
) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Oslo"}))
    models.reply("Sunny, both.")
    if stream:
        answer = streamed(server, model)
        assert joined_calls(answer) == []
        assert answer.text == "Sunny, both."
        assert answer.finish_reasons == ["stop"]
    else:
        choice = choice_of(plain(server, model))
        assert "tool_calls" not in choice["message"]
        assert choice["message"]["content"] == "Sunny, both."
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("model", ["client_tools_stream", "client_tools_message", "client_tools_generator"])
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_that_nobody_answered_are_the_callers(
    server: RunningServer, models: ModelServer, model: str, stream: bool
) -> None:
    models.reply(
        "Let me see. ",
        ToolCall("weather", {"city": "Rome"}, id="call_a"),
        ToolCall("time", {"zone": "CET"}, id="call_b"),
    )
    if stream:
        answer = streamed(server, model)
        calls, text, reasons = joined_calls(answer), answer.text, answer.finish_reasons
    else:
        completion = plain(server, model)
        choice = choice_of(completion)
        calls, text, reasons = plain_calls(completion), choice["message"]["content"], [choice["finish_reason"]]
    assert calls == [
        {"id": "call_a", "name": "weather", "arguments": {"city": "Rome"}},
        {"id": "call_b", "name": "time", "arguments": {"zone": "CET"}},
    ]
    assert text == "Let me see. "
    assert reasons == ["tool_calls"]


def test_a_tool_call_streams_while_the_model_still_writes(server: RunningServer, models: ModelServer) -> None:
    pause = models.gate()
    models.reply(ToolCall("weather", {"city": "Rome"}), pause, ToolCall("weather", {"city": "Oslo"}))
    body = {"model": "client_tools_stream", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        assert any('"name":"weather"' in line for line in lines)
        pause.open()
        rest = "".join(lines)
    assert "Oslo" in rest
    assert "[DONE]" in rest


@pytest.mark.parametrize("kind", ["strange calls", "calls without ids"])
def test_tool_calls_are_numbered_from_zero_and_have_ids_of_their_own(server: RunningServer, kind: str) -> None:
    for model in ("kinds", "kinds_async"):
        streamed_calls = joined_calls(streamed(server, model, kind))
        for calls in (streamed_calls, plain_calls(plain(server, model, kind))):
            assert [(call["name"], call["arguments"]) for call in calls] == [("one", {"n": 1}), ("two", {"n": 2})]
            assert len({call["id"] for call in calls}) == 2


def test_tool_messages_of_the_caller_reach_the_hook(server: RunningServer) -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
    ]
    answer = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "mirror", "messages": messages})
    assert json.loads(choice_of(answer.json())["message"]["content"])["messages"] == messages


# Events


def test_events_travel_beside_the_text_of_a_stream(server: RunningServer) -> None:
    answer = ask(server, "events", stream=True)
    first = json.loads(answer.text.split("\n\n")[0].removeprefix("data: "))
    assert first["event"] == {
        "type": "status",
        "data": {"description": "Searching", "done": False, "hidden": False},
    }
    assert (first["object"], first["choices"]) == ("chat.completion.chunk", [])
    stream = read_chat_stream(answer.text)
    assert [event["type"] for event in stream.events] == ["status", "notification", "source", "status"]
    assert stream.text == "Found it."
    assert stream.finish_reasons == ["stop"]


def test_events_have_no_place_in_a_plain_answer(server: RunningServer) -> None:
    assert choice_of(plain(server, "events"))["message"]["content"] == "Found it."


def test_callbacks_add_events_and_texts_around_an_agents_tools(server: RunningServer, models: ModelServer) -> None:
    for model in ("callbacks_sync", "callbacks_async"):
        models.reply(ToolCall("weather", {"city": "Rome"}))
        models.reply("Sunny.")
        stream = streamed(server, model)
        assert [event["data"]["description"] for event in stream.events] == [
            "weather {'city': 'Rome'}",
            "sunny in Rome False",
        ]
        assert stream.text == "Sunny. The end."
        assert joined_calls(stream) == []


# Requests


def test_everything_in_the_body_reaches_the_hook(server: RunningServer) -> None:
    more = {"temperature": 0.5, "metadata": {"a": [1]}, "chat_id": "c1", "files": [], "stop": None}
    seen = json.loads(choice_of(plain(server, "mirror", "héllo", **more))["message"]["content"])
    assert seen["model"] == "mirror"
    assert seen["messages"] == [{"role": "user", "content": "héllo"}]
    assert seen["body"] == {"model": "mirror", "messages": seen["messages"], "stream": False, **more}


def test_content_parts_reach_the_hook(server: RunningServer) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {"model": "mirror", "messages": [{"role": "user", "content": parts}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()
    seen = json.loads(choice_of(answer)["message"]["content"])
    assert seen["messages"][0]["content"] == parts
    assert seen["last"] == "What is this?"


def test_a_hook_can_ask_for_the_requests_headers(server: RunningServer) -> None:
    body = {"model": "headers", "messages": [{"role": "user", "content": "x-tenant"}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"X-Tenant": "blue"})
    assert choice_of(answer.json())["message"]["content"] == "blue"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_chat_answers_with_and_without_v1(server: RunningServer, path: str) -> None:
    body = {"model": "kinds", "messages": [{"role": "user", "content": "text"}]}
    assert httpx.post(server.url + path, json=body).status_code == 200


@pytest.mark.parametrize("named", [None, "kinds", "another"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_path_can_name_the_model(server: RunningServer, named: str | None, stream: bool) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "text"}], "stream": stream}
    if named is not None:
        body["model"] = named
    answer = httpx.post(f"{server.url}/kinds/chat", json=body)
    assert answer.status_code == 200
    if stream:
        assert read_chat_stream(answer.text).chunks[0]["model"] == "kinds"
    else:
        assert answer.json()["model"] == "kinds"


def test_pages_of_other_origins_may_chat(server: RunningServer) -> None:
    page = {"Origin": "https://app.example"}
    asking = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path in ("/v1/chat/completions", "/kinds/chat"):
        preflight = httpx.options(server.url + path, headers=asking)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        body = {"model": "kinds", "messages": [{"role": "user", "content": "text"}], "stream": True}
        answer = httpx.post(server.url + path, json=body, headers=page)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert read_chat_stream(answer.text).is_done


# Models


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models_with_a_chat_or_responses_hook_are_listed(server: RunningServer, path: str) -> None:
    listed = httpx.get(server.url + path).json()
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert names == sorted(names)
    assert "kinds" in names
    assert "only_api" not in names
    assert set(names) | {"only_api"} == set(CHAT_WRAPPERS)
    one = next(model for model in listed["data"] if model["id"] == "kinds")
    assert one == {**one, "object": "model", "owned_by": "hayhooks"}
    assert httpx.get(server.url + path).json() == listed
    assert httpx.get(f"{server.url}{path}/kinds").json() == one


@pytest.mark.parametrize("name", ["nope", "only_api", "a%2Fb", ""])
def test_a_model_that_does_not_exist_is_not_found(server: RunningServer, name: str) -> None:
    answer = httpx.get(f"{server.url}/v1/models/{name}")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"


# Errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["nope", "only_api", "only_response", "kinds:latest", "../kinds"])
def test_an_unknown_model_is_not_found(server: RunningServer, model: str, stream: bool) -> None:
    answer = ask(server, model, stream=stream)
    assert answer.status_code == 404
    error = error_of(answer)
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert error["type"] == "invalid_request_error"
    assert model in error["message"]


def test_a_deployment_without_a_chat_hook_does_not_chat_by_its_path(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/only_api/chat", json={"messages": [{"role": "user", "content": "hi"}]})
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"


HELLO = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"{}", "model"),
        (b'{"model": 1, "messages": [{"role": "user", "content": "hi"}]}', "model"),
        (b'{"model": null, "messages": [{"role": "user", "content": "hi"}]}', "model"),
        (b'{"model": "kinds"}', "messages"),
        (b'{"model": "kinds", "messages": []}', "messages"),
        (b'{"model": "kinds", "messages": "hi"}', "messages"),
        (b'{"model": "kinds", "messages": {"role": "user"}}', "messages"),
        (b'{"model": "kinds", "messages": ["hi"]}', "messages.0"),
        (b'{"model": "kinds", "messages": [{"role": "user", "content": "hi"}, {"content": "hi"}]}', "messages.1"),
        (b'{"model": "kinds", "messages": [{"role": "user", "content": "hi"}], "stream": "yes"}', "stream"),
        (b'{"model": "kinds", "messages": [{"role": "user"}], "stream_options": true}', "stream_options"),
    ],
)
def test_a_bad_body_is_refused_by_field(server: RunningServer, body: bytes, param: str | None) -> None:
    json_type = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=json_type)
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


def test_a_form_is_not_a_chat(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/v1/chat/completions", data={"model": "kinds"})
    assert answer.status_code == 400
    assert "application/json" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/chat/completions"), ("PUT", "/kinds/chat"), ("POST", "/v1/models")]
)
def test_other_methods_are_named_as_not_allowed(server: RunningServer, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == 405
    assert answer.headers["allow"] in ("POST", "GET, HEAD")
    error_of(answer)


def test_an_unknown_path_below_v1_answers_in_the_apis_shape(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/v1/nothing/here", json={})
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "unknown_url"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["raise", "generator raises first", "exit", "async generator raises first"])
def test_a_pipeline_that_fails_before_its_first_chunk_answers_500_without_internals(
    server: RunningServer, how: str, stream: bool
) -> None:
    answer = ask(server, "failing", how, stream=stream)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    error = error_of(answer)
    assert error["type"] == "server_error"
    assert error["code"] == "run_failed"
    assert "secret" not in answer.text
    assert ask(server, "kinds", "text").status_code == 200


@pytest.mark.parametrize("how", ["generator raises later", "async generator raises later", "http later"])
def test_a_stream_that_breaks_midway_says_so_and_ends(server: RunningServer, how: str) -> None:
    answer = ask(server, "failing", how, stream=True)
    assert answer.status_code == 200
    frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    error = json.loads(frames[-2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "secret" not in answer.text
    assert "one" in answer.text
    assert '"finish_reason":"stop"' not in answer.text
    plain_answer = ask(server, "failing", how)
    assert plain_answer.status_code == (402 if how == "http later" else 500)


@pytest.mark.parametrize("model", ["model_stream", "model_stream_async", "model_text"])
def test_a_model_that_fails_fails_the_run(server: RunningServer, models: ModelServer, model: str) -> None:
    models.reply(Failure("overloaded"))
    answer = ask(server, model, stream=True)
    assert answer.status_code == 500
    assert "overloaded" not in answer.text


def test_a_model_that_breaks_off_breaks_the_stream_off(server: RunningServer, models: ModelServer) -> None:
    models.reply("Half of ", Failure("overloaded"))
    answer = ask(server, "model_stream", stream=True)
    assert "Half" in answer.text
    *_, error, done = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert done == "data: [DONE]"
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "run_failed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("http 402", 402, "invalid_request_error"),
        ("http 401", 401, "authentication_error"),
        ("http 429", 429, "rate_limit_error"),
        ("http 503", 503, "server_error"),
    ],
)
def test_an_http_exception_of_the_hook_is_the_answer(
    server: RunningServer, how: str, status: int, kind: str, stream: bool
) -> None:
    answer = ask(server, "failing", how, stream=stream)
    assert answer.status_code == status
    error = error_of(answer)
    assert error["message"] == "Pay first"
    assert error["type"] == kind
    assert answer.headers["x-why"] == "because"


@pytest.mark.parametrize("stream", [False, True])
def test_a_busy_model_answers_429_and_when_to_come_back(
    server: RunningServer, models: ModelServer, stream: bool
) -> None:
    gate = models.gate()
    models.reply("First ", gate, "second.")
    first: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: first.append(ask(server, "one_at_a_time")))
    thread.start()
    try:
        assert gate.reached.wait(WAIT_S)
        answer = ask(server, "one_at_a_time", stream=stream)
    finally:
        gate.open()
        thread.join()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert error_of(answer)["type"] == "rate_limit_error"
    assert choice_of(first[0].json())["message"]["content"] == "First second."
    assert ask(server, "one_at_a_time").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["impatient", "impatient_async"])
def test_a_run_that_takes_too_long_answers_504(
    server: RunningServer, models: ModelServer, model: str, stream: bool
) -> None:
    answer = ask(server, model, "wait", stream=stream)
    if answer.status_code == 200:  # the model has begun, with no text, before the time was over
        *_, frame, done = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        assert stream
        assert done == "data: [DONE]"
        error = json.loads(frame.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 504
        error = error_of(answer)
    assert error["code"] == "run_timeout"


# Streams


def test_a_stream_has_headers_that_keep_proxies_from_holding_it_back(server: RunningServer) -> None:
    answer = ask(server, "kinds", "generator", stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    assert answer.headers["x-request-id"] != ask(server, "kinds", "text").headers["x-request-id"]


@pytest.fixture(scope="module")
def nervous_server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    """Sends heartbeats often and shows tracebacks."""
    directory = tmp_path_factory.mktemp("nervous") / "pipelines"
    names = ("model_stream", "model_stream_async", "failing")
    write_wrappers(directory, {name: CHAT_WRAPPERS[name] for name in names})
    env = {**models.env, "HAYHOOKS_HEARTBEAT_S": "0.05", "HAYHOOKS_SHOW_TRACEBACKS": "true"}
    with running_server(directory, env=env) as server:
        yield server


@pytest.mark.parametrize("model", ["model_stream", "model_stream_async"])
def test_a_stream_is_kept_alive_while_the_pipeline_thinks(
    nervous_server: RunningServer, models: ModelServer, model: str
) -> None:
    before, between = models.gate(), models.gate()
    models.reply(before, "One ", between, "two.")
    body = {"model": model, "messages": [HELLO], "stream": True}
    with httpx.stream("POST", f"{nervous_server.url}/v1/chat/completions", json=body, timeout=WAIT_S) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        assert any(line.startswith(":") for line in lines)
        before.open()
        assert any('"One ' in line for line in lines)
        assert any(line.startswith(":") for line in lines)
        between.open()
        rest = list(lines)
    assert any("two." in line for line in rest)
    assert "data: [DONE]" in rest


def test_chunks_are_passed_on_while_the_model_still_writes(server: RunningServer, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("One ", gate, "two.")
    body = {"model": "model_stream", "messages": [HELLO], "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        assert any('"One ' in line for line in lines)
        gate.open()
        assert any("two." in line for line in lines)


@pytest.mark.parametrize("model", ["endless_sync", "endless_async"])
def test_a_caller_that_leaves_stops_the_pipeline(server: RunningServer, model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ended:
        ended.settimeout(WAIT_S)
        port = str(ended.getsockname()[1])
        body = {"model": model, "messages": [{"role": "user", "content": port}], "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=WAIT_S) as answer:
            assert any('"on "' in line for line in answer.iter_lines())
        connection, _ = ended.accept()  # the pipeline says that it has been stopped
        connection.close()


def test_many_streams_at_once_do_not_mix(server: RunningServer) -> None:
    answers: dict[int, str] = {}

    def one(number: int) -> None:
        answers[number] = streamed(
            server, "pipeline_async" if number % 2 else "pipeline_sync", f"word{number} " * 20
        ).text

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(set(answers[number].split()) == {f"word{number}"} for number in range(20)), answers


def test_tracebacks_are_shown_when_the_owner_wants_them(nervous_server: RunningServer) -> None:
    message = error_of(ask(nervous_server, "failing", "raise"))["message"]
    assert "secret" in message
    assert "pipeline_wrapper.py" in message
    assert "secret" in ask(nervous_server, "failing", "generator raises later", stream=True).text
