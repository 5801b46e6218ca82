"""The OpenAI Responses API over the wire: every answer of a hook, events, state, background, conversations, errors."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from haystack.components.generators.chat import OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools.tool import Tool
from haystack.utils import Secret
from openai import OpenAI
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem, ResponseStreamEvent
from pydantic import TypeAdapter

from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.model_server import Failure, ModelServer, Reasoning, ToolCall
from tests.support.readme import ROOT
from tests.support.response_wrappers import RESPONSE_WRAPPERS

CHATS = ("model_stream", "model_stream_async", "client_tools_stream", "tool_agent_sync", "only_api")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WAIT_S = 30


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("responses") / "pipelines"
    write_wrappers(directory, {**{name: CHAT_WRAPPERS[name] for name in CHATS}, **RESPONSE_WRAPPERS})
    with running_server(directory, env={**models.env, "PYTHONPATH": str(ROOT)}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=WAIT_S) as http:
        yield http


def frames(body: str) -> list[dict[str, Any]]:
    """The events of a stream; each is named as its data says, and they are numbered from 0 without a gap."""
    *events, last = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert last == "data: [DONE]"
    found = []
    for event in events:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def post(http: httpx.Client, model: str, said: Any, **more: Any) -> httpx.Response:
    return http.post("/v1/responses", json={"model": model, "input": said, **more})


def test_the_tokens_of_a_request_are_estimated_with_all_that_it_continues(client: OpenAI) -> None:
    count = client.responses.input_tokens.count
    assert count(model="replies", input="x" * 400).input_tokens == 100
    first = client.responses.create(model="replies", input="y" * 40)  # which the answer repeats
    instructed = count(model="replies", input="z" * 40, instructions="i" * 40, previous_response_id=first.id)
    assert instructed.input_tokens == count(model="replies", input=first.output_text + "w" * 120).input_tokens
    assert instructed.object == "response.input_tokens"
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    assert count(model="replies", input="x", tools=tools).input_tokens > 10
    with pytest.raises(openai.NotFoundError):
        count(model="unknown", input="x")
    with pytest.raises(openai.BadRequestError, match="resp_unknown"):
        count(model="replies", input="x", previous_response_id="resp_unknown")


# What a hook may give


@pytest.mark.parametrize(
    "how",
    ["text", "generator", "async generator", "chat message", "items", "item", "whole", "whole object", "completion"],
)
def test_a_hook_may_give_every_kind_of_answer(client: OpenAI, how: str) -> None:
    response = client.responses.create(model="replies", input=how)
    assert response.output_text == "Hello there"
    assert response.status == "completed"
    assert response.id.startswith("resp_")
    assert response.model == "replies"
    with client.responses.stream(model="replies", input=how) as stream:
        final = stream.get_final_response()
    assert final.output_text == "Hello there"
    assert [item.type for item in final.output] == [item.type for item in response.output]
    assert all(item.id for item in final.output)  # type: ignore[union-attr]
    if how.startswith("whole"):
        assert response.usage is not None
        assert response.usage.total_tokens == 3
    else:
        assert response.usage is None  # no numbers are made up


def test_other_values_and_nothing_at_all_are_answered(client: OpenAI) -> None:
    assert json.loads(client.responses.create(model="replies", input="other json").output_text) == {"answer": [1, 2]}
    assert client.responses.create(model="replies", input="nothing").output == []
    assert client.responses.create(model="replies", input="half characters").output_text == "a 😀 b"


def test_the_response_has_every_field_and_echoes_the_request(http: httpx.Client) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    told = {
        "instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 0.5, "top_p": 0.25, "user": "me",
        "max_output_tokens": 99, "parallel_tool_calls": False, "tool_choice": "none", "truncation": "auto",
        "reasoning": {"effort": "low"}, "text": {"format": {"type": "json_object"}}, "tools": [tool],
    }  # fmt: skip
    answer = post(http, "replies", "text", **told).json()
    Response.model_validate(answer, strict=True)
    assert answer.items() >= {key: value for key, value in told.items() if key not in ("tools", "reasoning")}.items()
    assert answer["tools"] == [{**tool, "strict": None, "description": None}]
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert answer["object"] == "response"
    assert answer["completed_at"] >= answer["created_at"] > 1_700_000_000
    bare = post(http, "replies", "text").json()
    assert bare["text"] == {"format": {"type": "text"}}
    assert (bare["tools"], bare["tool_choice"], bare["parallel_tool_calls"]) == ([], "auto", True)
    assert (bare["error"], bare["incomplete_details"], bare["previous_response_id"]) == (None, None, None)
    assert bare["output"][0]["content"][0]["annotations"] == []


# Events


def test_text_is_streamed_with_the_full_sequence_of_named_events(http: httpx.Client) -> None:
    answer = post(http, "replies", "generator", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = frames(answer.text)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    for event in events:
        EVENT.validate_python(event, strict=True)
    assert [event["delta"] for event in events if event["type"].endswith("text.delta")] == ["Hello ", "there"]
    last = events[-1]["response"]
    assert last["output"] == [events[-2]["item"]]
    assert last == http.get(f"/v1/responses/{last['id']}").json()


def test_reasoning_is_an_item_of_its_own(client: OpenAI, http: httpx.Client, models: ModelServer) -> None:
    reasoning, message = client.responses.create(model="replies", input="chat message").output
    assert isinstance(reasoning, ResponseReasoningItem)
    assert reasoning.summary[0].text == "Let me think."
    assert message.type == "message"
    events = frames(post(http, "replies", "chat message", stream=True).text)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    for event in events:
        EVENT.validate_python(event, strict=True)


def test_a_refusal_is_a_part_of_its_own(client: OpenAI, http: httpx.Client) -> None:
    [message] = client.responses.create(model="replies", input="refusal").output
    assert message.type == "message"
    assert message.content[0].type == "refusal"
    assert message.content[0].refusal == "I would rather not."
    kinds = [event["type"] for event in frames(post(http, "replies", "refusal", stream=True).text)]
    assert kinds[4:6] == ["response.refusal.delta", "response.refusal.done"]


def test_events_for_the_one_who_watches_travel_beside_the_apis_own(client: OpenAI) -> None:
    with client.responses.stream(model="replies", input="events") as stream:
        extras = [event.model_extra or {} for event in stream if event.type == "keepalive"]  # type: ignore[comparison-overlap]
        final = stream.get_final_response()
    assert [extra["event"]["type"] for extra in extras] == ["status"]
    assert final.output_text == "Found it."
    assert client.responses.create(model="replies", input="events").output_text == "Found it."


def test_usage_is_that_of_the_model(client: OpenAI) -> None:
    usage = client.responses.create(model="model_stream", input="one two").usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (2, 3, 5)
    assert usage.output_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("model", ["replies", "model_stream"])
def test_an_answer_that_was_cut_off_is_incomplete(
    client: OpenAI, http: httpx.Client, models: ModelServer, model: str
) -> None:
    models.finish_reason = "length"
    try:
        response = client.responses.create(model=model, input="cut off")
        events = frames(post(http, model, "cut off", stream=True).text)
    finally:
        models.finish_reason = "stop"
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
    assert events[-1]["type"] == "response.incomplete"


# Tools


def test_tool_calls_are_the_callers_to_make_and_their_outputs_come_back(client: OpenAI, models: ModelServer) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_r"), ToolCall("time", {}, id="call_t"))
    with client.responses.stream(model="client_tools_stream", input="Weather?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert kinds.count("response.function_call_arguments.done") == 2
    calls = [item for item in final.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        ("call_r", "weather", {"city": "Rome"}),
        ("call_t", "time", {}),
    ]
    assert all(call.id and call.id.startswith("fc_") and call.status == "completed" for call in calls)
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": call.name} for call in calls]
    answer = client.responses.create(
        model="client_tools_stream",
        input=outputs,  # type: ignore[arg-type]
        previous_response_id=final.id,
    )
    assert answer.output_text == "Echo: time"
    said = models.chats[-1].body["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in said[1]["tool_calls"]] == ["call_r", "call_t"]


def test_calls_of_tools_that_the_agent_runs_are_not_shown(client: OpenAI, models: ModelServer) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}))
    models.reply("Sunny.")
    with client.responses.stream(model="tool_agent_sync", input="Weather?") as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message"]
    assert not any("function_call" in kind for kind in kinds)


@pytest.mark.parametrize("how", ["call", "call item"])
def test_a_native_hook_may_give_calls(client: OpenAI, how: str) -> None:
    for response in (
        client.responses.create(model="replies", input=how),
        client.responses.stream(model="replies", input=how).__enter__().get_final_response(),
    ):
        [call] = response.output
        assert isinstance(call, ResponseFunctionToolCall)
        assert json.loads(call.arguments) == {"city": "Rome"}
        assert call.call_id.startswith("call_")


@pytest.mark.parametrize("is_streamed", [True, False])
def test_tools_of_a_namespace_are_functions_to_a_chat_hook(
    client: OpenAI, models: ModelServer, is_streamed: bool
) -> None:
    parameters = {"type": "object", "properties": {"order": {"type": "string"}}}
    inner = [{"type": "function", "name": "look", "parameters": parameters}, {"type": "custom", "name": "patch"}]
    tools: Any = [{"type": "namespace", "name": "mcp__shop", "description": "A shop.", "tools": inner}]
    asked: Any = {"model": "client_tools_stream", "tools": tools}
    models.reply(ToolCall("mcp__shop__look", {"order": "7"}, id="call_s"))
    if is_streamed:
        with client.responses.stream(**asked, input="Where?") as stream:
            added = [event.item for event in stream if event.type == "response.output_item.added"]
            response = stream.get_final_response()
        assert [item.namespace for item in added if isinstance(item, ResponseFunctionToolCall)] == ["mcp__shop"]
    else:
        response = client.responses.create(**asked, input="Where?")
    [call] = response.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.namespace, call.name, json.loads(call.arguments)) == ("mcp__shop", "look", {"order": "7"})
    output: Any = [{"type": "function_call_output", "call_id": "call_s", "output": "in the van"}]
    given = json.loads(
        client.responses.create(model="given", input=output, tools=tools, previous_response_id=response.id).output_text
    )
    assert [tool["function"]["name"] for tool in given["tools"]] == ["mcp__shop__look"]
    assert [call["function"]["name"] for call in given["messages"][-2]["tool_calls"]] == ["mcp__shop__look"]


def test_a_chat_hook_is_given_what_chat_knows(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {}}
    tools: Any = [
        {"type": "function", "name": "look", "parameters": parameters, "strict": True},
        {"type": "web_search"},
    ]
    said: Any = [
        {"role": "developer", "content": "In English."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            ],
        },
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "a cat"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]
    response = client.responses.create(
        model="given",
        instructions="Be brief.",
        input=said,
        tools=tools,
        tool_choice={"type": "function", "name": "look"},
        text={"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}},
        max_output_tokens=9,
        reasoning={"effort": "low"},
        temperature=0.5,
        extra_body={"own": 1},
    )
    body = json.loads(response.output_text)
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "In English."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ]
    function = {"name": "look", "parameters": parameters, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}},
    }
    assert (body["max_tokens"], body["reasoning_effort"], body["temperature"], body["own"]) == (9, "low", 0.5, 1)
    assert not {"input", "instructions", "text"} & set(body)


# State


def test_a_response_continues_the_one_before(client: OpenAI) -> None:
    first = client.responses.create(model="replies", input="one", instructions="Only now.")
    second = client.responses.create(model="replies", input="two", previous_response_id=first.id)
    third = client.responses.create(model="replies", input="three", previous_response_id=second.id)
    assert second.output_text == "user: one | assistant: user: one | user: two"
    assert third.output_text == f"{second.output_text} | assistant: {second.output_text} | user: three"
    assert second.previous_response_id == first.id
    assert second.instructions is None
    branch = client.responses.create(model="replies", input="other", previous_response_id=first.id)
    assert branch.output_text == "user: one | assistant: user: one | user: other"


def test_a_chain_is_one_session(client: OpenAI) -> None:
    first = client.responses.create(model="replies", input="session")
    assert first.output_text == first.id
    second = client.responses.create(model="replies", input="session", previous_response_id=first.id)
    third = client.responses.create(model="replies", input="session", previous_response_id=second.id)
    assert third.output_text == first.id


def test_a_response_is_kept_until_it_is_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="replies", input="text")
    assert client.responses.retrieve(made.id) == made
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(made.id)
    assert gone.value.code == "response_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(made.id)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(model="replies", input="x", previous_response_id=made.id)
    assert unknown.value.code == "previous_response_not_found"
    assert unknown.value.param == "previous_response_id"


def test_a_response_that_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    made = client.responses.create(model="replies", input="text", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_finished_response_can_be_streamed_again(client: OpenAI) -> None:
    made = client.responses.create(model="replies", input="chat message")
    events = list(client.responses.retrieve(made.id, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response == made
    later = list(client.responses.retrieve(made.id, stream=True, starting_after=4))
    assert later == events[5:]


def test_input_items_are_listed_page_by_page(client: OpenAI) -> None:
    said: Any = [{"role": "user", "content": word} for word in ("one", "two", "three")]
    made = client.responses.create(model="replies", input=said)

    def texts(items: Any) -> list[str]:
        return [item.content[0].text for item in items]

    page = client.responses.input_items.list(made.id, limit=2)
    assert texts(page.data) == ["three", "two"]
    assert page.has_more
    assert texts(page) == ["three", "two", "one"]  # the SDK asks for the further pages
    assert texts(client.responses.input_items.list(made.id, order="asc")) == ["one", "two", "three"]
    with pytest.raises(openai.NotFoundError, match="no item"):
        client.responses.input_items.list(made.id, after="msg_nope")


def test_items_can_be_referred_to_by_their_ids(client: OpenAI) -> None:
    made = client.responses.create(model="replies", input="one")
    reference: Any = [{"type": "item_reference", "id": made.output[0].id}, {"role": "user", "content": "two"}]
    assert client.responses.create(model="replies", input=reference).output_text == "assistant: user: one | user: two"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="replies", input=[{"type": "item_reference", "id": "msg_nope"}])
    assert unknown.value.code == "item_not_found"


def test_a_conversation_gathers_what_is_said(client: OpenAI) -> None:
    conversation = client.conversations.create(
        metadata={"topic": "cats"}, items=[{"type": "message", "role": "user", "content": "zero"}]
    )
    assert client.conversations.retrieve(conversation.id).metadata == {"topic": "cats"}
    first = client.responses.create(model="replies", input="one", conversation=conversation.id)
    assert first.output_text == "user: zero | user: one"
    assert first.conversation is not None
    assert first.conversation.id == conversation.id
    with client.responses.stream(model="replies", input="session", conversation={"id": conversation.id}) as stream:
        assert stream.get_final_response().output_text == conversation.id
    client.conversations.items.create(conversation.id, items=[{"type": "message", "role": "user", "content": "two"}])
    listed = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
    assert [item.role for item in listed] == ["user", "user", "assistant", "user", "assistant", "user"]  # type: ignore[union-attr]
    one = client.conversations.items.retrieve(listed[0].id or "", conversation_id=conversation.id)
    assert one == listed[0]
    client.conversations.items.delete(listed[0].id or "", conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(listed[0].id or "", conversation_id=conversation.id)
    assert client.conversations.update(conversation.id, metadata={"topic": "dogs"}).metadata == {"topic": "dogs"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.create(model="replies", input="x", conversation=conversation.id)
    assert gone.value.code == "conversation_not_found"


# Background


def test_a_background_response_is_made_while_nobody_waits(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("At ", gate, "last.")
    made = client.responses.create(model="model_stream", input="x", background=True)
    assert made.status == "queued"
    assert made.background
    assert gate.reached.wait(WAIT_S)
    assert client.responses.retrieve(made.id).status == "in_progress"
    events = iter(client.responses.retrieve(made.id, stream=True))
    seen = [next(events) for _ in range(6)]
    assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    again = iter(client.responses.retrieve(made.id, stream=True, starting_after=seen[-1].sequence_number - 1))
    assert next(again) == seen[-1]
    gate.open()
    rest = list(events)
    assert list(again) == rest
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "At last."
    assert client.responses.retrieve(made.id) == rest[-1].response
    assert list(client.responses.retrieve(made.id, stream=True)) == [*seen, *rest]


def test_a_background_stream_goes_on_when_its_reader_leaves(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("At ", gate, "last.")
    with client.responses.create(model="model_stream_async", input="x", background=True, stream=True) as stream:
        created = next(iter(stream))
        assert created.type == "response.created"
        assert gate.reached.wait(WAIT_S)
    gate.open()
    *_, last = client.responses.retrieve(created.response.id, stream=True)
    assert last.type == "response.completed"
    assert last.response.output_text == "At last."


def test_a_background_response_can_be_cancelled(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("Half ", gate, "of it.")
    made = client.responses.create(model="model_stream", input="x", background=True)
    assert gate.reached.wait(WAIT_S)
    reader = client.responses.retrieve(made.id, stream=True)
    cancelled = client.responses.cancel(made.id)
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(made.id) == cancelled
    *_, last = reader
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"
    gate.open()
    assert models.chats[-1].ended.wait(WAIT_S)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.cancel(client.responses.create(model="replies", input="text").id)
    assert refused.value.code == "response_not_background"


def test_a_background_response_that_fails_says_so(client: OpenAI, models: ModelServer) -> None:
    models.reply("Half ", Failure("overloaded"))
    made = client.responses.create(model="model_stream", input="x", background=True)
    *_, last = client.responses.retrieve(made.id, stream=True)
    assert last.type == "response.failed"
    kept = client.responses.retrieve(made.id)
    assert kept.status == "failed"
    assert kept.error is not None
    assert kept.error.code == "server_error"
    assert "overloaded" not in kept.error.message


def test_a_response_that_is_deleted_while_it_is_made_stays_deleted(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("Half ", gate, "of it.")
    made = client.responses.create(model="model_stream", input="x", background=True)
    assert gate.reached.wait(WAIT_S)
    client.responses.delete(made.id)
    gate.open()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_caller_who_leaves_a_stream_cancels_it(client: OpenAI, http: httpx.Client, models: ModelServer) -> None:
    with client.responses.create(model="endless", input="x", stream=True) as stream:
        created = next(iter(stream))
        assert created.type == "response.created"
        assert client.responses.retrieve(created.response.id).status == "in_progress"
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.retrieve(created.response.id, stream=True)
        assert refused.value.code == "response_not_attachable"
    for _ in range(10_000):  # the server notices at the next word
        kept = client.responses.retrieve(created.response.id)
        if kept.status != "in_progress":
            break
    assert kept.status == "cancelled"
    assert kept.output_text.startswith("word ")


# Errors


def test_a_stream_that_breaks_ends_with_response_failed(http: httpx.Client) -> None:
    *_, last = frames(post(http, "replies", "fails midway", stream=True).text)
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {
        "code": "server_error", "message": "The run of 'replies' failed. The server's log says why.",
    }  # fmt: skip
    assert last["response"]["output"][0]["content"][0]["text"] == "Half of "
    assert http.get(f"/v1/responses/{last['response']['id']}").json() == last["response"]


def test_errors_are_typed(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="nope", input="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="only_api", input="x")
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as failed:
            client.responses.create(model="replies", input="raise", stream=stream)
        assert failed.value.code == "run_failed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": 1, "input": "x"}, "model"),
        ({"model": "replies"}, "input"),
        ({"model": "replies", "input": 5}, "input"),
        ({"model": "replies", "input": []}, "input"),
        ({"model": "replies", "input": ["x"]}, "input.0"),
        ({"model": "replies", "input": [{"role": "user"}]}, "input.0.content"),
        ({"model": "replies", "input": [{"type": "function_call_output"}]}, "input.0.call_id"),
        ({"model": "replies", "input": "x", "stream": 1}, "stream"),
        ({"model": "replies", "input": "x", "max_output_tokens": True}, "max_output_tokens"),
        ({"model": "replies", "input": "x", "metadata": {"a": 1}}, "metadata"),
        ({"model": "replies", "input": "x", "tools": [{"type": "function"}]}, "tools.0.name"),
        ({"model": "replies", "input": "x", "tools": [{"type": "namespace", "name": "a"}]}, "tools.0.tools"),
        ({"model": "replies", "input": "x", "tools": [{"type": "namespace", "tools": []}]}, "tools.0.name"),
        (
            {
                "model": "replies",
                "input": "x",
                "tools": [{"type": "namespace", "name": "a", "tools": [{"type": "function"}]}],
            },
            "tools.0.tools.0.name",
        ),
        ({"model": "replies", "input": "x", "text": []}, "text"),
        ({"model": "replies", "input": "x", "background": True, "store": False}, "background"),
        ({"model": "replies", "input": "x", "conversation": {"id": 5}}, "conversation"),
        (
            {"model": "replies", "input": "x", "conversation": "a", "previous_response_id": "b"},
            "previous_response_id",
        ),
    ],
)
def test_a_bad_body_is_refused_with_the_field_that_is_wrong(
    http: httpx.Client, body: dict[str, Any], param: str
) -> None:
    answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_other_requests_are_refused_in_the_apis_shape(http: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/v1/responses", 405),
        ("POST", "/v1/responses/resp_nope", 405),
        ("GET", "/v1/responses/resp_nope", 404),
        ("POST", "/v1/responses/resp_nope/cancel", 404),
        ("GET", "/v1/responses/resp_nope/input_items", 404),
        ("GET", "/v1/responses/resp_nope/nothing", 404),
        ("GET", "/v1/conversations/conv_nope/items", 404),
        ("GET", "/v1/conversations", 405),
        ("POST", "/v1/responses/compact", 404),
    ):
        answer = http.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["type"] == "invalid_request_error"
    made = post(http, "replies", "text").json()
    for query in ("limit=0", "limit=101", "limit=x", "order=up"):
        assert http.get(f"/v1/responses/{made['id']}/input_items?{query}").status_code == 400
    assert http.get(f"/v1/responses/{made['id']}?stream=true&starting_after=-1").status_code == 400
    too_many = [{"role": "user", "content": "x"}] * 21
    assert http.post("/v1/conversations", json={"items": too_many}).json()["error"]["param"] == "items"
    assert http.post("/v1/responses", content=b"{", headers={"content-type": "application/json"}).status_code == 400


def test_the_paths_work_without_v1_too(http: httpx.Client) -> None:
    made = http.post("/responses", json={"model": "replies", "input": "text"}).json()
    assert http.get(f"/responses/{made['id']}").json() == made
    assert http.post("/conversations", json={}).json()["object"] == "conversation"


def test_a_deployment_with_a_responses_hook_is_a_model(client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"replies", "model_stream"} <= names
    assert "only_api" not in names


# Haystack as the client


def generator(server: RunningServer, model: str, **more: Any) -> OpenAIResponsesChatGenerator:
    return OpenAIResponsesChatGenerator(
        api_key=Secret.from_token("none"), api_base_url=f"{server.url}/v1", model=model, max_retries=0, **more
    )


@pytest.mark.parametrize("streams", [False, True])
def test_haystacks_generator_gets_text_reasoning_and_calls(
    server: RunningServer, models: ModelServer, streams: bool
) -> None:
    chunks: list[StreamingChunk] = []
    more: dict[str, Any] = {"streaming_callback": chunks.append} if streams else {}
    models.reply(Reasoning("Hm."), "It is 42")
    [reply] = generator(server, "model_stream", **more).run([ChatMessage.from_user("x")])["replies"]
    assert reply.text == "It is 42"
    assert reply.meta["usage"]["total_tokens"] > 0
    assert reply.reasoning is None or reply.reasoning.reasoning_text == "Hm."
    weather = Tool("weather", "Weather", {"type": "object", "properties": {"city": {"type": "string"}}}, print)
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_r"))
    made = generator(server, "client_tools_stream", tools=[weather], **more)
    [reply] = made.run([ChatMessage.from_user("Weather?")])["replies"]
    [call] = reply.tool_calls
    assert (call.tool_name, call.arguments) == ("weather", {"city": "Rome"})
    result = ChatMessage.from_tool("sunny", origin=call)
    [last] = made.run([ChatMessage.from_user("Weather?"), reply, result])["replies"]
    assert last.text == "Echo: sunny"
