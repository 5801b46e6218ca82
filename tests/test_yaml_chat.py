"""Pipelines in YAML as chat models: what takes the conversation, what is said and streamed, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from hayhooks import YAMLPipelineWrapper
from hayhooks.core.haystack.streaming import default_streaming_components
from hayhooks.testing import RunningServer, running_server
from tests.support.model_server import Failure, ModelServer, Reasoning, ToolCall
from tests.support.readme import ROOT
from tests.support.sse import ChatStream, read_chat_stream
from tests.support.yaml_components import (
    AGENT,
    ALLOWLIST,
    ANSWER_BUILDER,
    ROUTER,
    Kinds,
    Mute,
    Parrot,
    Shelf,
    chat_prompt,
    generator,
    part,
    pipeline,
    prompt,
    weather,
)

FUNCTION: dict[str, Any] = {
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "haystack.tools.tool.Tool", "data": {**FUNCTION, "function": f"{weather.__module__}.weather"}}
WEATHER: Any = {"type": "function", "function": FUNCTION}
RAG = {
    "shelf": part(Shelf),
    "prompt": chat_prompt(
        "{{ question }}? {% for document in documents %}{{ document.content }}. {% endfor %}", required_variables="*"
    ),
    "llm": generator(),
}
RAG_CONNECTIONS = [("shelf.documents", "prompt.documents"), ("prompt.prompt", "llm.messages")]
ROUTES = [
    {"condition": f"{{{{ {test} }}}}", "output": "{{ text }}", "output_name": name, "output_type": "str"}
    for name, test in (("one", "text|length < 5"), ("two", "text|length >= 5"))
]
YAMLS = {
    "model": pipeline(
        {"llm": generator()},
        inputs={"messages": "llm.messages", "generation_kwargs": "llm.generation_kwargs"},
        outputs={"replies": "llm.replies"},
        chat={"messages": "messages", "parameters": "generation_kwargs"},
    ),
    "rag": pipeline(
        RAG, *RAG_CONNECTIONS,
        inputs={"query": ["shelf.query", "prompt.question"], "top_k": "shelf.top_k"},
        outputs={"replies": "llm.replies", "documents": "shelf.documents"},
    ),
    "answers": pipeline(
        {**RAG, "answers": part(ANSWER_BUILDER, pattern="Echo: (.*)")},
        *RAG_CONNECTIONS, ("llm.replies", "answers.replies"), ("shelf.documents", "answers.documents"),
        inputs={"question": ["shelf.query", "prompt.question", "answers.query"]},
        outputs={"answers": "answers.answers"}, result="outputs",
    ),
    "agent": pipeline(
        {"agent": part(AGENT, chat_generator=generator(), tools=[TOOL])},
        inputs={"messages": "agent.messages"}, outputs={"messages": "agent.messages"},
    ),
    "agent_stops": pipeline(
        {"agent": part(AGENT, chat_generator=generator(), tools=[TOOL], exit_conditions=["weather"])},
        inputs={"messages": "agent.messages"}, outputs={"messages": "agent.messages"},
    ),
    "branches": pipeline(
        {"router": part(ROUTER, routes=ROUTES), "first": prompt("one: {{ text }}"),
         "second": prompt("two: {{ text }}")},
        ("router.one", "first.text"), ("router.two", "second.text"),
        inputs={"text": "router.text"}, outputs={"text": "second.prompt"},
    ),
    "parrot": pipeline(
        {"parrot": part(Parrot)}, inputs={"messages": "parrot.messages"}, outputs={"replies": "parrot.replies"}
    ),
    "mute": pipeline(
        {"mute": part(Mute)}, inputs={"messages": "mute.messages"}, outputs={"replies": "mute.replies"}
    ),
    "template": pipeline({"p": prompt("You said {{ text }}")}, inputs={"text": "p.text"}, outputs={"text": "p.prompt"}),
    "two_parrots": pipeline(
        {"first": part(Parrot, prefix="first "), "second": part(Parrot, prefix="second ")},
        ("first.replies", "second.messages"),
        inputs={"messages": "first.messages"}, outputs={"replies": "second.replies"}, streaming_components=["first"],
    ),
    "all_parrots": pipeline(
        {"first": part(Parrot, prefix="first "), "second": part(Parrot, prefix="second ")},
        ("first.replies", "second.messages"),
        inputs={"messages": "first.messages"}, outputs={"replies": "second.replies"}, streaming_components="all",
    ),
    "beside": pipeline(
        {"first": part(Parrot, prefix="said "), "second": part(Parrot, prefix="not said ")},
        inputs={"messages": ["first.messages", "second.messages"]},
        outputs={"replies": "first.replies"},
    ),
    "off": pipeline(
        {"parrot": part(Parrot)}, inputs={"messages": "parrot.messages"}, outputs={"replies": "parrot.replies"},
        chat=False,
    ),
    "kinds": pipeline(
        {"kinds": part(Kinds)},
        inputs={name: f"kinds.{name}" for name in
                ("document", "documents", "by_name", "messages", "message", "anything", "numbers")},
        outputs={"kinds": "kinds.kinds", "documents": "kinds.documents"}, result="outputs",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("yaml-chat") / "pipelines"
    directory.mkdir()
    for name, source in YAMLS.items():
        (directory / f"{name}.yml").write_text(source)
    with running_server(directory, env={**models.env, ALLOWLIST[0]: ALLOWLIST[1], "PYTHONPATH": str(ROOT)}) as server:
        assert not httpx.get(f"{server.url}/status").json()["failed"], server.log
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def say(*texts: str) -> Any:
    """A conversation in which the user speaks first, and in turns."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def plain(client: OpenAI, model: str, *texts: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=say(*texts), **more).choices[0]


def streamed(server: RunningServer, model: str, *texts: str, **more: Any) -> ChatStream:
    body = {"model": model, "messages": say(*texts), "stream": True, **more}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    stream = read_chat_stream(answer.text)
    assert stream.is_done
    return stream


def test_yamls_that_can_chat_are_models_and_the_others_are_not(client: OpenAI, server: RunningServer) -> None:
    listed = {model.id for model in client.models.list()}
    assert listed == YAMLS.keys() - {"off", "kinds"}
    described = httpx.get(f"{server.url}/deployments/rag").json()
    assert described["entries"] == ["run_api", "run_chat_completion", "run_pipeline"], described
    with pytest.raises(openai.NotFoundError):
        plain(client, "off", "hi")


def test_the_conversation_goes_to_the_input_that_takes_messages(client: OpenAI, models: ModelServer) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *say("one", "two", "three")]
    completion = client.chat.completions.create(model="model", messages=messages)
    assert completion.choices[0].message.content == "Echo: three"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    asked = models.chats[-1].body["messages"]
    assert [(message["role"], message["content"]) for message in asked] == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", "three"),
    ]  # fmt: skip


def test_the_sdk_streams_from_a_yaml(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="model", messages=say("a b c"), stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(deltas) > 2
    assert "".join(deltas) == final.choices[0].message.content == "Echo: a b c"
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.total_tokens > 0


def test_words_are_passed_on_while_the_model_still_writes(client: OpenAI, models: ModelServer) -> None:
    gate = models.gate()
    models.reply("First ", gate, "second.")
    seen = ""
    for chunk in client.chat.completions.create(model="model", messages=say("go"), stream=True):
        seen += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if seen == "First ":
            gate.open()  # the second word is written when the first has arrived
    assert seen == "First second."


def test_the_last_user_text_goes_to_a_query_that_fans_out(client: OpenAI, models: ModelServer) -> None:
    choice = plain(client, "rag", "one", "two", "lamps")
    assert choice.message.content == "Echo: lamps? Lamps and lamps. Bells. "
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]
    assert client.chat.completions.create(model="rag", messages=parts).choices[0].message.content == (
        "Echo: in parts? Lamps and in parts. Bells. "
    )
    assert len(models.chats[-1].body["messages"]) == 1


def test_fields_of_the_body_fill_inputs_of_their_name(client: OpenAI) -> None:
    choice = plain(client, "rag", "lamps", extra_body={"top_k": 1, "other": 5})
    assert choice.message.content == "Echo: lamps? Lamps and lamps. "
    assert plain(client, "rag", "lamps", extra_body={"top_k": None}).message.content.endswith("Bells. ")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="rag", messages=say("lamps"), stream=stream, extra_body={"top_k": "1"})
        assert refused.value.param == "top_k"
        assert "top_k: Input should be a valid integer" in refused.value.message


def test_what_is_no_conversation_is_the_callers_mistake(server: RunningServer, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="rag", messages=[{"role": "system", "content": "x"}])
    assert (refused.value.param, "no user message" in refused.value.message) == ("messages", True)
    faulty: list[tuple[dict[str, Any], str]] = [
        ({"role": "nobody", "content": "b"}, "messages.0"),
        ({"role": "tool", "content": "sunny"}, "messages.0.tool_call_id"),
        ({"role": "user", "content": 5}, "messages"),
        ({"role": "assistant", "content": "b", "tool_calls": 5}, "messages"),
    ]
    for message, where in faulty:
        body = {"model": "model", "messages": [message]}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, where), answer.text


def test_a_stream_ends_with_the_documents_as_sources_and_a_plain_answer_has_none(
    server: RunningServer, client: OpenAI
) -> None:
    stream = streamed(server, "rag", "lamps")
    assert stream.text == "Echo: lamps? Lamps and lamps. Bells. "
    assert [event["type"] for event in stream.events] == ["source", "source"]
    lamps, bells = (event["data"] for event in stream.events)
    assert (lamps["source"]["name"], lamps["source"]["url"]) == ("Lamps", "https://example.com/lamps")
    assert (lamps["document"], bells["document"]) == (["Lamps and lamps"], ["Bells"])
    assert bells["source"]["name"] == "bells.txt"
    assert "Sources" not in plain(client, "rag", "lamps").message.content


def test_a_plain_answer_is_the_output_and_a_streamed_one_what_was_streamed(
    server: RunningServer, client: OpenAI
) -> None:
    stream = streamed(server, "answers", "lamps")
    assert stream.text == "Echo: lamps? Lamps and lamps. Bells. "
    assert [event["data"]["source"]["name"] for event in stream.events] == ["Lamps", "bells.txt"]
    assert plain(client, "answers", "lamps").message.content == "lamps? Lamps and lamps. Bells. "
    run = httpx.post(f"{server.url}/answers/run", json={"question": "lamps"}).json()["result"]["answers"][0]
    assert run["data"] == "lamps? Lamps and lamps. Bells. "
    assert [document["meta"]["source_index"] for document in run["documents"]] == [1, 2]


def test_responses_and_anthropics_messages_come_from_the_same_pipeline(
    server: RunningServer, client: OpenAI, models: ModelServer
) -> None:
    response = client.responses.create(model="rag", input="lamps", extra_body={"top_k": 1})
    assert response.output_text == "Echo: lamps? Lamps and lamps. "
    with client.responses.stream(model="model", input="a b c") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == "".join(deltas) == "Echo: a b c"
    assert final.usage is not None
    assert final.usage.total_tokens > 0
    assert len(deltas) > 2
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_1"))
    tool: Any = {"type": "function", "strict": False, **FUNCTION}
    (item,) = client.responses.create(model="model", input="Weather in Rome?", tools=[tool]).output
    assert (item.type, models.chats[-1].body["tools"][0]["function"]["name"]) == ("function_call", "weather")
    body = {"model": "model", "max_tokens": 99, "messages": say("hi")}
    answer = httpx.post(f"{server.url}/v1/messages", json=body, timeout=60)
    assert answer.json()["content"][0]["text"] == "Echo: hi"


def test_an_agent_runs_its_tools_and_says_so(server: RunningServer, client: OpenAI, models: ModelServer) -> None:
    def calls_its_tool() -> None:
        models.reply(Reasoning("hm"), ToolCall("weather", {"city": "Rome"}))
        models.reply("It is sunny.")

    calls_its_tool()
    choice = plain(client, "agent", "Weather in Rome?")
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("It is sunny.", None, "stop")
    assert models.chats[-1].last_text == "sunny in Rome"
    calls_its_tool()
    stream = streamed(server, "agent", "Weather in Rome?")
    assert stream.text == "It is sunny."
    assert [(event["type"], event["data"]["done"]) for event in stream.events] == [("status", False), ("status", True)]
    assert not any(chunk["choices"][0]["delta"].get("tool_calls") for chunk in stream.chunks)
    assert stream.finish_reasons == ["stop"]


def test_an_agent_that_stops_at_a_tool_says_its_result(
    server: RunningServer, client: OpenAI, models: ModelServer
) -> None:
    models.reply(ToolCall("weather", {"city": "Rome"}))
    choice = plain(client, "agent_stops", "Weather in Rome?")
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("sunny in Rome", None, "stop")
    models.reply(ToolCall("weather", {"city": "Rome"}))
    stream = streamed(server, "agent_stops", "Weather in Rome?")
    assert (stream.text, stream.finish_reasons) == ("sunny in Rome", ["stop"])


def test_a_branch_that_is_not_taken_says_nothing(server: RunningServer, client: OpenAI) -> None:
    assert plain(client, "branches", "long text").message.content == "two: long text"
    assert plain(client, "branches", "text").message.content == ""
    assert (streamed(server, "branches", "text").text, streamed(server, "branches", "texts").text) == ("", "two: texts")


def test_tools_of_the_caller_are_called_by_the_caller(client: OpenAI, models: ModelServer) -> None:
    models.reply(Reasoning("hm"), ToolCall("weather", {"city": "Rome"}, id="call_1"))
    choice = plain(client, "model", "Weather in Rome?", tools=[WEATHER], temperature=0.5, max_tokens=9)
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "call_1", "weather", {"city": "Rome"},
    )  # fmt: skip
    assert (models.chats[-1].body["tools"], models.chats[-1].body["temperature"]) == ([WEATHER], 0.5)
    assert models.chats[-1].body["max_tokens"] == 9
    messages: Any = [
        *say("Weather in Rome?"), choice.message.to_dict(),
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]  # fmt: skip
    completion = client.chat.completions.create(model="model", messages=messages, tools=[WEATHER])
    assert completion.choices[0].message.content == "Echo: sunny"
    models.reply(ToolCall("weather", {"city": "Rome"}, id="call_2"))
    with client.chat.completions.stream(model="model", messages=say("again"), tools=[WEATHER]) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert [call.id for call in final.message.tool_calls or ()] == ["call_2"]


@pytest.mark.parametrize(
    ("model", "whole", "pieces", "text"),
    [
        ("parrot", "a b", 2, "a b "),  # what can only stream synchronously
        ("mute", "quietly: a b", 1, "quietly: a b"),  # what could stream and does not
        ("template", "You said a b", 1, "You said a b"),  # what cannot stream
        ("two_parrots", "second first a b", 3, "first a b "),  # what the YAML says
        ("all_parrots", "second first a b", 7, "first a b second first a b "),
        ("beside", "said a b", 3, "said a b "),  # the answer, not what comes last
    ],
)
def test_what_streams_is_what_the_yaml_says_or_else_the_answer(
    server: RunningServer, client: OpenAI, model: str, whole: str, pieces: int, text: str
) -> None:
    assert plain(client, model, "a b").message.content == whole
    stream = streamed(server, model, "a b")
    assert stream.text == text
    assert sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in stream.chunks) == pieces


def test_a_model_that_fails_midway_and_a_reader_who_leaves_end_the_run(
    server: RunningServer, client: OpenAI, models: ModelServer
) -> None:
    models.reply("Half of ", Failure("secret"))
    with pytest.raises(openai.APIError) as failed:
        for _ in client.chat.completions.create(model="model", messages=say("go"), stream=True):
            pass
    assert "secret" not in str(failed.value)
    gate = models.gate()
    models.reply("First ", gate, "second.")
    body = {"model": "model", "messages": say("go"), "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if "First" in line:
                break
    gate.open()
    assert models.chats[-1].ended.wait(30)


def test_run_gets_objects_from_natural_json(server: RunningServer) -> None:
    body = {
        "document": {"content": "a"}, "documents": [{"content": "b", "meta": {"k": 1}}],
        "by_name": {"x": {"content": "c"}},
        "messages": [{"role": "user", "content": "hi"}], "message": {"role": "assistant", "content": "yes"},
        "anything": {"role": "user"}, "numbers": [1],
    }  # fmt: skip
    result = httpx.post(f"{server.url}/kinds/run", json=body).json()["result"]
    assert result["kinds"] == {
        "document": "Document", "documents": "list of Document", "by_name": "dict of Document",
        "messages": "list of ChatMessage", "message": "ChatMessage", "anything": "dict of str",
        "numbers": "list of int",
    }  # fmt: skip
    assert [(document["content"], document["meta"]) for document in result["documents"]] == [("b", {"k": 1})]
    nothing = httpx.post(f"{server.url}/kinds/run", json={}).json()["result"]
    assert set(nothing["kinds"].values()) == {"NoneType"}


def test_without_a_server_it_streams_too_and_the_servers_setting_decides_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(*ALLOWLIST)
    wrapper = YAMLPipelineWrapper.from_yaml(YAMLS["beside"])
    wrapper.setup()

    def said() -> str:
        stream = wrapper.run_chat_completion("beside", say("a b"), {"stream": True})
        return "".join(chunk.content for chunk in stream)

    assert wrapper.can_chat
    assert said() == "said a b "
    token = default_streaming_components.set(["second", "of another pipeline"])
    try:
        assert said() == "not said a b "
    finally:
        default_streaming_components.reset(token)


@pytest.mark.parametrize(
    ("inputs", "outputs", "chats"),
    [
        ({"anything": "parrot.messages"}, {"whatever": "parrot.replies"}, True),
        ({"query": "p.x"}, {"answer": "p.prompt"}, True),
        ({"user_question": "p.x"}, {"reply": "p.prompt"}, True),
        ({"x": "p.x"}, {"answer": "p.prompt"}, False),  # a name that says nothing
        ({"query": "p.x"}, {"prompt": "p.prompt"}, False),
        ({"text": "p.template", "x": "p.x"}, {"text": "p.prompt"}, False),  # never run as a template
        ({"query": "p.x", "question": "p.y"}, {"text": "p.prompt"}, False),
        ({"query": "p.x", "required": "p.y"}, {"text": "p.prompt"}, False),
        ({"query": ["p.x", "p.y"]}, {"text": "p.prompt"}, True),
        ({"query": "shelf.query", "x": "p.x"}, {"documents": "shelf.documents"}, False),
    ],
)
def test_by_convention_types_and_names_decide_who_chats(
    monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], outputs: dict[str, str], chats: bool
) -> None:
    monkeypatch.setenv(*ALLOWLIST)
    named = {target.partition(".")[0] for value in (*inputs.values(), *outputs.values()) for target in _listed(value)}
    components = {
        "parrot": part(Parrot), "shelf": part(Shelf),
        "p": prompt("{{ x }} {{ y }}", required_variables=["y"] if "required" in inputs else []),
    }  # fmt: skip
    source = pipeline({name: components[name] for name in named}, inputs=inputs, outputs=outputs)
    wrapper = YAMLPipelineWrapper.from_yaml(source)
    wrapper.setup()
    assert wrapper.can_chat == chats


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


PARROT = {"parrot": part(Parrot)}
MESSAGES, REPLIES = {"messages": "parrot.messages"}, {"replies": "parrot.replies"}
TWO = {"a": part(Parrot), "b": part(Parrot)}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat="yes"), ["'chat' must be true, false, or"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"reply": "x"}), ["no 'reply'", "answer"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"messages": 1}), ["'messages' of 'chat' must be"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"query": "q"}), ["no input", "'messages'"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"answer": "a"}), ["no output", "'replies'"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"query": "messages"}), ["does not take text"]),
        (pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, chat={"sources": "replies"}), ["has no documents"]),
        (pipeline(PARROT, inputs=MESSAGES, chat=True), ["cannot chat", "no output gives messages"]),
        (
            pipeline(
                TWO, inputs={"x": "a.messages", "y": "b.messages"}, outputs={"z": "a.replies"}, chat={"messages": "x"}
            ),
            ["cannot chat", "'y'", "does not fill"],
        ),
        (
            pipeline(TWO, inputs={"x": "a.messages", "y": "b.messages"}, outputs={"z": "a.replies"}, chat=True),
            ["'x', 'y'", "'messages'"],
        ),
        (
            pipeline(PARROT, inputs=MESSAGES, outputs=REPLIES, streaming_components=["nope"]),
            ["'nope'", "no component"],
        ),
        (
            pipeline({**PARROT, "p": prompt("hi")}, inputs=MESSAGES, outputs=REPLIES, streaming_components=["p"]),
            ["'p'", "cannot stream", "parrot"],
        ),
    ],
)  # fmt: skip
def test_a_chat_section_that_cannot_work_is_refused_when_it_is_deployed(
    server: RunningServer, source: str, words: list[str]
) -> None:
    answer = httpx.post(f"{server.url}/deploy-yaml", json={"name": "cannot", "source_code": source})
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert [word for word in words if word not in detail] == [], detail


def test_what_is_not_clear_does_not_chat_until_the_section_says_it(server: RunningServer, client: OpenAI) -> None:
    unclear: dict[str, Any] = {"inputs": {"x": "a.messages"}, "outputs": {"one": "a.replies", "two": "b.replies"}}
    connection = ("a.replies", "b.messages")
    deploy = {"name": "unclear", "overwrite": True}
    source = pipeline(TWO, connection, **unclear)
    assert httpx.post(f"{server.url}/deploy-yaml", json={**deploy, "source_code": source}).status_code == 200
    with pytest.raises(openai.NotFoundError):
        plain(client, "unclear", "hi")
    assert "'unclear' is not offered for chat: the outputs 'one', 'two' could be the answer" in server.log
    source = pipeline(TWO, connection, **unclear, chat={"answer": "two"})
    assert httpx.post(f"{server.url}/deploy-yaml", json={**deploy, "source_code": source}).status_code == 200
    assert plain(client, "unclear", "hi").message.content == "hi"


def test_a_wrapper_around_a_yaml_chats_and_may_override_a_hook(server: RunningServer, client: OpenAI) -> None:
    imports = "from pathlib import Path\nfrom hayhooks import YAMLPipelineWrapper\n\n"
    itself = imports + "PipelineWrapper = YAMLPipelineWrapper.from_file(Path(__file__).parent / 'p.yml')\n"
    derived = imports + (
        "class Shouting(YAMLPipelineWrapper):\n"
        "    def run_api(self, word: str, times: int = 2) -> str:\n"
        "        '''Say a word.'''\n"
        "        return word.upper() * times\n\n"
        "    def run_chat_completion(self, model, messages, body):\n"
        "        for chunk in super().run_chat_completion(model, messages, {**body, 'stream': True}):\n"
        "            yield chunk.content.upper()\n\n"
        "PipelineWrapper = Shouting.from_file(Path(__file__).parent / 'p.yml')\n"
    )
    for name, source, text in (("itself", itself, "a b"), ("derived", derived, "A B ")):
        files = {"pipeline_wrapper.py": source, "p.yml": YAMLS["parrot"]}
        answer = httpx.post(f"{server.url}/deploy_files", json={"name": name, "files": files, "overwrite": True})
        assert answer.status_code == 200, answer.text
        assert plain(client, name, "a b").message.content == text
    assert streamed(server, "derived", "a b").text == "A B "
    assert httpx.post(f"{server.url}/derived/run", json={"word": "x"}).json() == {"result": "XX"}
