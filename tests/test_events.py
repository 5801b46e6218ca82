"""Events, the Open WebUI and Chainlit helpers, and the ready-made callbacks."""

import subprocess
import sys
from typing import Any

import pytest
from haystack import Document
from haystack.dataclasses import ChatMessage, GeneratedAnswer

from hayhooks import callbacks, chainlit_events, events, open_webui
from hayhooks.events import PipelineEvent


@pytest.mark.parametrize(
    ("event", "type_", "data"),
    [
        (events.create_status_event("d"), "status", {"description": "d", "done": False, "hidden": False}),
        (
            events.create_status_event("d", done=True, hidden=True),
            "status",
            {"description": "d", "done": True, "hidden": True},
        ),
        (events.create_notification_event("c"), "notification", {"type": "info", "content": "c"}),
        (events.create_notification_event("c", "error"), "notification", {"type": "error", "content": "c"}),
        (open_webui.create_chat_completion_event({"a": 1}), "chat:completion", {"a": 1}),
        (open_webui.create_message_event("m"), "message", {"content": "m"}),
        (open_webui.create_replace_event("m"), "replace", {"content": "m"}),
        (open_webui.create_source_event({"source": {"name": "n"}}), "source", {"source": {"name": "n"}}),
        (
            chainlit_events.create_custom_element_event("Card", {"a": 1}),
            "custom_element",
            {"name": "Card", "props": {"a": 1}},
        ),
    ],
)
def test_an_event_is_its_type_and_its_data(event: PipelineEvent, type_: str, data: Any) -> None:
    assert isinstance(event, PipelineEvent)
    assert event.to_dict() == event.to_event_dict() == {"type": type_, "data": data}


def test_events_are_equal_when_they_say_the_same() -> None:
    assert events.create_status_event("d") == open_webui.create_status_event("d")
    assert events.create_status_event("d") != events.create_status_event("e")
    assert PipelineEvent(type="x", data={"a": 1}) == PipelineEvent("x", {"a": 1})
    assert isinstance(open_webui.create_message_event("m"), open_webui.OpenWebUIEvent)


def test_an_unknown_kind_of_notification_is_refused() -> None:
    with pytest.raises(ValueError, match="info, success, warning, error"):
        events.create_notification_event("c", "loud")  # type: ignore[arg-type]


def test_a_details_tag_cannot_be_left_or_filled_with_markup_by_what_it_shows() -> None:
    tag = open_webui.create_details_tag('my"tool', "Sum <b>", "text\n</details><script>")
    assert tag == (
        '<details type="my&quot;tool" done="true">\n<summary>Sum &lt;b&gt;</summary>\n\n'
        "text\n&lt;/details><script>\n</details>\n\n"
    )
    assert open_webui.create_details_tag("t", "S", "c") == (
        '<details type="t" done="true">\n<summary>S</summary>\n\nc\n</details>\n\n'
    )


def test_the_default_callbacks_show_a_tool_call_from_start_to_end() -> None:
    assert callbacks.default_on_tool_call_start("add", {"a": 1}, "id") == events.create_status_event(
        "Calling 'add' tool..."
    )
    assert callbacks.default_on_tool_call_start("", None, None) is None
    status, details = callbacks.default_on_tool_call_end("add", {"a": 1}, "``` 2", False)
    assert status == events.create_status_event("Called 'add' tool", done=True)
    assert isinstance(details, str)
    assert "````\nArguments:\n" in details  # longer than the fence in the result
    assert '{"a": 1}' in details
    assert "``` 2" in details


def test_the_default_callbacks_tell_of_a_failed_tool_call() -> None:
    assert callbacks.default_on_tool_call_end("add", {}, "boom", True) == [
        events.create_status_event("Called 'add' tool", done=True, hidden=True),
        events.create_notification_event("Error calling 'add' tool", "error"),
    ]


def test_the_default_end_lists_each_source_once() -> None:
    page = Document(content="a", meta={"url": "http://x/a", "title": "A"})
    file = Document(content="b", meta={"file_path": "notes/b.txt"})
    answer = GeneratedAnswer(data="42", query="?", documents=[page])
    result = {"retriever": {"documents": [page, file, Document(content="c")]}, "builder": {"answers": [answer]}}
    assert callbacks.default_on_pipeline_end(result) == "\n\n**Sources**\n- [A](http://x/a)\n- notes/b.txt\n"


@pytest.mark.parametrize("result", [None, {}, {"llm": {"replies": [ChatMessage.from_assistant("hi")]}}])
def test_the_default_end_says_nothing_without_sources(result: Any) -> None:
    assert callbacks.default_on_pipeline_end(result) is None


def test_events_and_callbacks_import_neither_haystack_nor_fastapi() -> None:
    code = (
        "import sys, hayhooks.callbacks, hayhooks.chainlit_events, hayhooks.open_webui, hayhooks.messages\n"
        "assert not {'haystack', 'fastapi'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
