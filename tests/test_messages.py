"""Reading the messages that chat and Responses hooks receive."""

from types import SimpleNamespace
from typing import Any

import pytest
from haystack.dataclasses import FileContent, ImageContent, TextContent

from hayhooks.messages import (
    chat_messages_from_openai,
    chat_messages_from_openai_response,
    get_input_files,
    get_last_user_input_text,
    get_last_user_message,
    is_user_message,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "a"}, True),
        ({"role": "assistant", "content": "a"}, False),
        ({"content": "a"}, False),
        (SimpleNamespace(role="user", content="a"), True),
        ("user", False),
        (None, False),
    ],
)
def test_a_user_message_is_one_whose_role_is_user(message: Any, expected: bool) -> None:
    assert is_user_message(message) is expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "last"}], "last"),
        ([{"role": "user", "content": "asked"}, {"role": "assistant", "content": "told"}, {"role": "odd"}], "asked"),
        ([SimpleNamespace(role="user", content="object")], "object"),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "one"},
                        {"type": "image_url", "image_url": {"url": "http://x"}},
                        {"type": "text", "text": "two"},
                        {"type": "text"},
                        "three",
                        None,
                    ],
                }
            ],
            "one\ntwo\nthree",
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], None),
        ([{"role": "user", "content": None}], None),
        ([{"role": "user"}], None),
        ([{"role": "system", "content": "a"}], None),
        ([], None),
    ],
)
def test_the_last_user_message_gives_its_text(messages: list[Any], expected: str | None) -> None:
    assert get_last_user_message(messages) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ("plain", "plain"),
        ([{"role": "user", "content": "plain"}], "plain"),
        (
            [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
                },
                {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
            ],
            "a\nb",
        ),
        ([{"type": "function_call_output", "call_id": "c", "output": "o"}], None),
    ],
)
def test_the_last_user_input_gives_its_text(items: Any, expected: str | None) -> None:
    assert get_last_user_input_text(items) == expected


def test_input_files_are_found_in_all_user_messages() -> None:
    one = {"type": "input_file", "file_id": "file-1", "filename": "a.pdf"}
    two = {"type": "input_file", "file_data": "data:text/plain;base64,aGk="}
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "t"}, one]},
        {"role": "assistant", "content": [{"type": "input_file", "file_id": "not the user's"}]},
        {"role": "user", "content": [two, "text"]},
        {"role": "user", "content": "plain"},
    ]
    assert get_input_files(items) == [one, two]
    assert get_input_files("plain") == []


def test_files_of_chat_messages_are_given_as_those_of_responses() -> None:
    parts = [
        {"type": "text", "text": "read"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "aGk=", "filename": "a.txt"}},
        {"type": "file", "file": None},
        None,
    ]
    assert get_input_files([{"role": "user", "content": parts}, {"role": "assistant", "content": parts}]) == [
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_data": "aGk=", "filename": "a.txt"},
    ]


def test_response_input_becomes_haystack_messages() -> None:
    messages = chat_messages_from_openai_response(
        [
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what"},
                    {"type": "input_text", "text": "is it"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
                    {"type": "input_image", "image_url": "http://x/y.png"},
                    {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a dot"}]},
            {"role": "user", "content": "sure?"},
        ]
    )
    assert [message.role.value for message in messages] == ["system", "user", "assistant", "user"]
    assert [message.text for message in messages] == ["be brief", "what\nis it", "a dot", "sure?"]
    text, image, file = messages[1]._content
    assert isinstance(text, TextContent)
    assert isinstance(image, ImageContent)
    assert isinstance(file, FileContent)
    assert (image.mime_type, image.detail, image.base64_image) == ("image/png", "low", PNG)
    assert (file.mime_type, file.filename) == ("text/plain", "a.txt")


def test_function_calls_in_a_row_become_one_message_and_outputs_know_their_call() -> None:
    messages = chat_messages_from_openai_response(
        [
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "not json"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "3"}]},
            {"type": "function_call_output", "call_id": "elsewhere", "output": {"n": 4}},
            {"type": "item_reference", "id": "x"},
        ]
    )
    assert [message.role.value for message in messages] == ["assistant", "tool", "tool", "tool"]
    assert [(call.id, call.tool_name, call.arguments) for call in messages[0].tool_calls] == [
        ("c1", "add", {"a": 1}),
        ("c2", "add", {}),
    ]
    results = [message.tool_call_result for message in messages[1:]]
    assert [(result.origin.id, result.origin.tool_name, result.result) for result in results if result] == [
        ("c1", "add", "2"),
        ("c2", "add", "3"),
        ("elsewhere", "function", '{"n": 4}'),
    ]


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"role": "user"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png,raw"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,!!"}]},
        {"role": "user", "content": [{"type": "input_audio"}, 7]},
    ],
)
def test_what_cannot_be_read_is_left_out(item: Any) -> None:
    assert chat_messages_from_openai_response([item]) == []


def test_who_is_neither_model_nor_system_is_a_user() -> None:
    [message] = chat_messages_from_openai_response([{"role": "narrator", "content": "once"}])
    assert (message.role.value, message.text) == ("user", "once")
    [message] = chat_messages_from_openai_response("plain")
    assert (message.role.value, message.text) == ("user", "plain")


def test_chat_messages_become_haystack_messages_part_by_part() -> None:
    system, developer, user, assistant = chat_messages_from_openai(
        [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
            {
                "role": "user",
                "name": "ada",
                "content": [
                    {"type": "text", "text": "What is"},
                    {"type": "text", "text": "all this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
                    {"type": "unheard of"},
                ],
            },
            SimpleNamespace(role="assistant", content=[{"type": "text", "text": "Much."}]),
        ]
    )
    assert (system.role.value, system.text) == ("system", "Be kind.")
    assert (developer.role.value, developer.text) == ("system", "Be\nbrief.")
    assert (user.text, user.name) == ("What is\nall this?", "ada")
    assert (user.images[0].base64_image, user.images[0].detail) == (PNG, "low")
    parts = [part for part in user._content if isinstance(part, FileContent)]
    assert [(part.mime_type, part.filename) for part in parts] == [("text/plain", "a.txt"), ("audio/mpeg", None)]
    assert len(user._content) == 4
    assert assistant.text == "Much."


def test_tool_messages_that_come_back_know_the_calls_that_they_answer() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    broken = {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{"}}
    question, calling, both, *results = chat_messages_from_openai(
        [
            {"role": "user", "content": "How is it?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "assistant", "content": "One moment.", "tool_calls": [broken], "refusal": None},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
            {"role": "tool", "tool_call_id": "call_0", "content": None},
        ]
    )
    assert question.text == "How is it?"
    assert (calling.text, calling.tool_calls[0].arguments) == (None, {"city": "Rome"})
    assert (both.text, both.tool_calls[0].tool_name, both.tool_calls[0].arguments) == ("One moment.", "time", {})
    found = [result.tool_call_result for result in results]
    assert all(result is not None for result in found)
    assert [(result.result, result.origin.tool_name, result.origin.id) for result in found if result] == [
        ("sunny", "weather", "call_1"),
        ("noon", "time", "call_2"),
        ("", "", "call_0"),
    ]
    assert found[0] is not None
    assert found[0].origin.arguments == {"city": "Rome"}


def test_chat_messages_that_say_nothing_are_left_out() -> None:
    nothing = [{"role": "assistant", "content": None}, {"role": "assistant", "content": ""}, {"role": "user"}]
    assert chat_messages_from_openai(nothing) == []
    assert chat_messages_from_openai([{"role": "critic", "content": "Hm."}])[0].role.value == "user"
