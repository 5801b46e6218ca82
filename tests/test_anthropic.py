"""The Anthropic wire: requests in a chat completion's words, blocks of a stream, errors, and what is refused."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from hayhooks.core.errors import DeploymentBusy, InvalidRequest, RunFailed, RunTimeout, Unavailable
from hayhooks.core.events import Chunk, Completion, Data, Event, Texts, ToolCallDelta, Usage
from hayhooks.surfaces.anthropic.blocks import Blocks, tool_input
from hayhooks.surfaces.anthropic.convert import chat_body, chat_messages
from hayhooks.surfaces.anthropic.errors import error_answer
from hayhooks.surfaces.anthropic.fold import Heard, Streamed, Whole, usage_of
from hayhooks.surfaces.anthropic.requests import CountRequest, MessagesRequest, read_request
from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.readme import ROOT

WAIT_S = 30
HELLO = {"role": "user", "content": "text"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
SESSION = """
from hayhooks import BasePipelineWrapper, current_run

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        run = current_run()
        return f"{run.via} {run.session.id} {run.session.user}"
"""


def converted(*turns: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    body = {"model": "m", "messages": list(turns), **more}
    return chat_messages(read_request(json.dumps(body).encode(), CountRequest)[0])


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def said_text(said: str) -> dict[str, Any]:
    """A block of text as answers have it."""
    return {**text(said), "citations": None}


# Messages


def test_text_stays_plain_text() -> None:
    assert converted(HELLO, system="Be brief.") == [{"role": "system", "content": "Be brief."}, HELLO]
    system = [text("One."), {**text("Two."), "cache_control": {"type": "ephemeral"}}]
    assert converted(user(text("a"), text("b")), {"role": "system", "content": "now"}, system=system) == [
        {"role": "system", "content": "One.\nTwo."},
        {"role": "user", "content": "a\nb"},
        {"role": "system", "content": "now"},
    ]


def test_images_and_documents_become_parts() -> None:
    [message] = converted(
        user(
            text("Look:"),
            {"type": "image", "source": PNG},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "document", "title": "a.pdf", "source": {**PNG, "media_type": "application/pdf"}},
            {"type": "document", "context": "old", "source": {"type": "url", "url": "https://example.com/b.pdf"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
            {"type": "document", "source": {"type": "content", "content": [text("in it")]}},
            {"type": "search_result", "source": "here", "title": "Hit", "content": [text("found")]},
        )
    )
    assert message["content"] == [
        text("Look:"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        text("old"),
        {"type": "file", "file": {"filename": "document", "file_url": "https://example.com/b.pdf"}},
        {"type": "file", "file": {"filename": "document", "file_id": "file_1"}},
        text("T"),
        text("plain"),
        text("in it"),
        text("Hit\nhere\nfound"),
    ]


def test_tool_calls_and_results_become_messages_in_order() -> None:
    turn = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            text("Let me look."),
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
            {"type": "tool_use", "id": "t2", "name": "map", "input": {}},
            {"type": "tool_use", "id": "t3", "name": "time", "input": {}},
        ],
    }
    results = user(
        {"type": "tool_result", "tool_use_id": "t1", "content": [text("sunny"), text("warm")]},
        {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "image", "source": PNG}]},
        {"type": "tool_result", "tool_use_id": "t3", "content": "no clock", "is_error": True},
        text("Well?"),
    )
    asked, called, first, second, third, last = converted(HELLO, turn, results)
    assert asked == HELLO
    assert (called["content"], called["reasoning_content"]) == ("Let me look.", "Hm.")
    assert called["tool_calls"][0] == {
        "id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }  # fmt: skip
    assert [call["id"] for call in called["tool_calls"]] == ["t1", "t2", "t3"]
    assert first == {"role": "tool", "tool_call_id": "t1", "content": "sunny\nwarm"}
    assert second["content"] == "The result is attached to the next message."
    assert third["content"] == "Error: no clock"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert last == {"role": "user", "content": [image, text("Well?")]}


def test_a_call_without_text_has_no_content() -> None:
    [called] = converted({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]})
    assert called["content"] is None
    assert converted({"role": "assistant", "content": ""}) == [{"role": "assistant", "content": ""}]


def test_deferred_tools_are_given_once_a_result_refers_to_them() -> None:
    tools = [
        {"name": "ToolSearch", "input_schema": {}},
        {"name": "look", "input_schema": {}, "defer_loading": True},
        {"name": "other", "input_schema": {}, "defer_loading": True},
    ]
    found = {"type": "tool_reference", "tool_name": "look"}
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "ToolSearch", "input": {}}]}
    results = user({"type": "tool_result", "tool_use_id": "t", "content": [found]})
    given = []
    for turns in ([HELLO], [HELLO, called, results]):
        raw = {"model": "m", "max_tokens": 1, "messages": turns, "tools": tools}
        body = chat_body(*read_request(json.dumps(raw).encode(), MessagesRequest))
        given.append([tool["function"]["name"] for tool in body["tools"]])
    assert given == [["ToolSearch"], ["ToolSearch", "look"]]
    assert body["messages"][-1]["content"] == "The tool look can be called now."


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
    ],
)
def test_tool_choices_are_said_in_other_words(choice: dict[str, Any], expected: dict[str, Any]) -> None:
    raw = {"model": "m", "max_tokens": 1, "messages": [HELLO], "tool_choice": choice, "stream": True, "mine": 1}
    body = chat_body(*read_request(json.dumps(raw).encode(), MessagesRequest))
    assert body.items() >= expected.items()
    assert body["stream_options"] == {"include_usage": True}
    assert body["mine"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [HELLO, {"role": "tool", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [user({"type": "container_upload", "file_id": "f"})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "image", "source": {"type": "url"}})]}, "url"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 1e300}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"stream": 1}, "stream"),
        ({"system": 3}, "system"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"tools": [{"name": "x"}]}, "input_schema"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_the_fields_name(change: dict[str, Any], field: str) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": [HELLO], **change}
    with pytest.raises(InvalidRequest) as refused:
        read_request(json.dumps(body).encode(), MessagesRequest)
    assert field in str(refused.value)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    raw = {"model": "m", "max_tokens": 10.0, "messages": [HELLO]}
    body = chat_body(*read_request(json.dumps(raw).encode(), MessagesRequest))
    assert repr(body["max_tokens"]) == "10"


# Blocks


def events_in(data: bytes) -> list[dict[str, Any]]:
    events = []
    for frame in data.decode().split("\n\n")[:-1]:
        name, line = frame.split("\n")
        event = json.loads(line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def outline(data: bytes) -> list[str]:
    return [f"{event['type'].removeprefix('content_block_')} {event['index']}" for event in events_in(data)]


def test_a_call_is_closed_when_the_next_block_begins() -> None:
    blocks, parts = Blocks(), list[bytes]()
    blocks.thinking([b'"hm"'], parts)
    blocks.texts([b'"a"', b'"b"'], parts)
    blocks.call(ToolCallDelta(0, "x", "one", '{"n":'), parts)
    blocks.call(ToolCallDelta(0, None, None, "1}"), parts)
    blocks.call(ToolCallDelta(1, "y", "two"), parts)
    blocks.close(parts)
    assert outline(b"".join(parts)) == [
        "start 0", "delta 0", "stop 0",
        "start 1", "delta 1", "delta 1", "stop 1",
        "start 2", "delta 2", "delta 2", "stop 2",
        "start 3", "stop 3",
    ]  # fmt: skip


def test_calls_that_a_model_writes_at_the_same_time_lose_nothing() -> None:
    blocks, parts = Blocks(), list[bytes]()
    for delta in (
        ToolCallDelta(0, "x", "one"),
        ToolCallDelta(1, "y", "two"),
        ToolCallDelta(0, None, None, '{"a":1}'),
        ToolCallDelta(1, None, None, '{"b"'),
        ToolCallDelta(1, None, None, ":2}"),
    ):
        blocks.call(delta, parts)
    blocks.texts([b'"after"'], parts)
    blocks.close(parts)
    arguments = {0: "", 1: ""}
    events = events_in(b"".join(parts))
    for event in events:
        if event["type"] == "content_block_delta" and event["index"] < 2:
            arguments[event["index"]] += event["delta"]["partial_json"]
    assert arguments == {0: '{"a":1}', 1: '{"b":2}'}
    assert sorted(event["index"] for event in events if event["type"] == "content_block_stop") == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"a": 1}', {"a": 1}), ("", {}), ('{"a": 1, "b": [2, ', {"a": 1, "b": [2]}), ("nonsense", {}), ("[1]", {})],
)
def test_a_calls_input_is_an_object_whatever_the_model_wrote(arguments: str, expected: dict[str, Any]) -> None:
    assert tool_input(arguments) == expected


def fold(*events: Event, stop_sequences: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message, and what the last events of a stream say of its end."""

    def heard() -> Heard:
        return Heard(runs_own_tools=False, shows_thinking=False, stop_sequences=stop_sequences)

    whole, streamed = Whole("m", heard()), Streamed("m", heard())
    whole.add(events)
    *_, delta, stop = events_in(streamed.frames(events) + streamed.end())
    assert stop == {"type": "message_stop"}
    message: dict[str, Any] = msgspec.json.decode(whole.body())
    assert delta["delta"].items() <= message.items()
    assert delta["usage"] == message["usage"]
    return message, delta


def test_a_refusal_is_text_and_a_reason() -> None:
    message, _ = fold(Completion({"choices": [{"message": {"role": "assistant", "refusal": "No."}}]}))
    assert (message["content"], message["stop_reason"]) == ([said_text("No.")], "refusal")
    assert message["stop_details"] == {"type": "refusal", "category": None, "explanation": None}


def test_a_stop_sequence_is_named_where_only_one_can_be_meant() -> None:
    ended = (Texts(["a"]), Chunk(finish_reason="stop_sequence"))
    assert fold(*ended, stop_sequences=("END",))[0]["stop_sequence"] == "END"
    message, _ = fold(*ended, stop_sequences=("END", "STOP"))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", None)


def test_other_values_are_shown_as_json_and_half_characters_are_whole() -> None:
    message, _ = fold(Data(b'{"a":1}'), Texts(["\ud83d", "\ude00"]))
    assert message["content"] == [said_text('{"a":1}\U0001f600')]


def test_usage_is_summed_and_cached_tokens_are_counted_apart() -> None:
    usage = Usage(10, 4, 14, {"prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {}})
    message, _ = fold(Texts(["a"]), usage, usage)
    counts = {"input_tokens": 8, "output_tokens": 8, "cache_read_input_tokens": 12, "output_tokens_details": None}
    assert message["usage"].items() >= counts.items()
    thought = usage_of({"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}})
    assert thought["output_tokens_details"] == {"thinking_tokens": 3}


# Errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "headers"),
    [
        (DeploymentBusy("m", 1, 0), 429, "rate_limit_error", {b"retry-after": b"1"}),
        (RunTimeout("m", 2), 504, "timeout_error", {}),
        (RunFailed("m"), 500, "api_error", {}),
        (Unavailable("The server is stopping."), 529, "overloaded_error", {}),
        (RuntimeError("secret"), 500, "api_error", {}),
    ],
)
def test_each_kind_of_failure_has_the_status_that_sdks_know(
    error: Exception, status: int, kind: str, headers: dict[bytes, bytes]
) -> None:
    answered, body, sent = error_answer(error, "req_1", show_tracebacks=True)
    assert (answered, body["error"]["type"], body["request_id"]) == (status, kind, "req_1")
    assert dict(sent) == {**headers, b"request-id": b"req_1", b"x-request-id": b"req_1"}
    assert "secret" not in body["error"]["message"]


# The server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("anthropic") / "pipelines"
    names = ("kinds", "failing", "endless_sync", "endless_async", "only_api")
    write_wrappers(directory, {**{name: CHAT_WRAPPERS[name] for name in names}, "session": SESSION})
    env = {"PYTHONPATH": str(ROOT), "HAYHOOKS_MAX_BODY_BYTES": "100000"}
    with running_server(directory, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def web(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
        yield client


def ask(model: str, said: str = "text", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": said}], **more}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == body["request_id"]
    return body["error"]  # type: ignore[no-any-return]


def test_answers_name_their_request(web: httpx.Client) -> None:
    first, second = (web.post("/v1/messages", json=ask("kinds")).headers["request-id"] for _ in range(2))
    assert first != second


def test_paths_work_without_v1_and_with_a_query(web: httpx.Client) -> None:
    version = {"anthropic-version": "2023-06-01"}
    assert web.post("/messages?beta=true", json=ask("kinds")).json()["type"] == "message"
    assert web.post("/messages/count_tokens", json=ask("kinds")).json() == {"input_tokens": 1}
    assert web.get("/models", headers=version).json()["has_more"] is False
    assert web.get("/models/kinds", headers=version).json()["display_name"] == "kinds"
    assert web.get("/models/kinds").json()["object"] == "model"


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "kind"),
    [
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"[]", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"\xff", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"[" * 90_000, 400, "invalid_request_error"),
        ("POST", "/v1/messages", b" " * 100_001, 413, "request_too_large"),
        ("POST", "/v1/messages/count_tokens", b"{}", 400, "invalid_request_error"),
        ("POST", "/v1/messages/batches", b"{}", 404, "not_found_error"),
        ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
        ("GET", "/v1/models/nope", b"", 404, "not_found_error"),
        ("GET", "/v1/models?limit=x", b"", 400, "invalid_request_error"),
        ("POST", "/v1/models", b"{}", 405, "invalid_request_error"),
    ],
)
def test_bad_requests_are_refused_in_anthropics_shape(
    web: httpx.Client, method: str, path: str, content: bytes, status: int, kind: str
) -> None:
    headers = {"anthropic-version": "2023-06-01", "content-type": "application/json"}
    answer = web.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert error_of(answer)["type"] == kind


def test_a_body_of_another_type_is_refused(web: httpx.Client) -> None:
    answer = web.post("/v1/messages", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in error_of(answer)["message"]


def test_a_deployment_without_a_chat_hook_is_no_model(web: httpx.Client) -> None:
    assert error_of(web.post("/v1/messages", json=ask("only_api")))["type"] == "not_found_error"


@pytest.mark.parametrize(("status", "kind"), [(403, "permission_error"), (422, "invalid_request_error"),
                                              (429, "rate_limit_error"), (503, "api_error")])  # fmt: skip
def test_an_http_exception_of_the_hook_keeps_its_status_and_text(web: httpx.Client, status: int, kind: str) -> None:
    answer = web.post("/v1/messages", json=ask("failing", f"http {status}"))
    assert answer.status_code == status
    assert error_of(answer) == {"type": kind, "message": "Pay first"}
    assert answer.headers["x-why"] == "because"


def test_a_stream_that_fails_before_its_first_word_has_a_status(web: httpx.Client) -> None:
    for how in ("first", "async first"):
        answer = web.post("/v1/messages", json=ask("failing", how, stream=True))
        assert answer.status_code == 500
        assert error_of(answer)["type"] == "api_error"


def test_a_stream_that_breaks_midway_ends_with_an_error_event(web: httpx.Client) -> None:
    answer = web.post("/v1/messages", json=ask("failing", "later", stream=True))
    *_, last = events_in(answer.content)
    assert last["type"] == "error"
    assert last["error"]["type"] == "api_error"
    assert last["request_id"] == answer.headers["request-id"]
    assert "secret" not in answer.text


def test_streams_ask_proxies_to_hold_nothing_back(web: httpx.Client) -> None:
    answer = web.post("/v1/messages", json=ask("kinds", "large", stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    words = [event["delta"]["text"] for event in events_in(answer.content) if event["type"] == "content_block_delta"]
    assert words == [f"{number} " for number in range(5_000)]


def test_code_inside_a_run_knows_whom_it_is_for(web: httpx.Client) -> None:
    body = ask("session", metadata={"user_id": "ada"})
    answer = web.post("/v1/messages", json=body, headers={"X-OpenWebUI-Chat-Id": "chat-7"}).json()
    assert answer["content"] == [said_text("anthropic chat-7 ada")]


@pytest.mark.parametrize("model", ["endless_sync", "endless_async"])
def test_a_caller_that_leaves_stops_the_pipeline(web: httpx.Client, model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ended:
        ended.settimeout(WAIT_S)
        said = str(ended.getsockname()[1])
        with web.stream("POST", "/v1/messages", json=ask(model, said, stream=True)) as answer:
            assert any('"on "' in line for line in answer.iter_lines())
        connection, _ = ended.accept()  # the pipeline says that it has been stopped
        connection.close()


def test_many_callers_at_once_each_get_their_own_answer(web: httpx.Client) -> None:
    answers: dict[str, str] = {}

    def call(kind: str) -> None:
        answers[kind] = web.post("/v1/messages", json=ask("kinds", kind)).json()["content"][0]["text"]

    kinds = {"text": "Hello there", "number": "42", "plain dict": '{"answer":[1,2]}'}
    threads = [threading.Thread(target=call, args=(kind,)) for kind in kinds for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == kinds
