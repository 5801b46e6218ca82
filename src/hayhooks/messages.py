"""Reading the messages that chat and Responses hooks receive."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.dataclasses import ChatMessage

__all__ = [
    "chat_messages_from_openai",
    "chat_messages_from_openai_response",
    "get_input_files",
    "get_last_user_input_text",
    "get_last_user_message",
    "is_user_message",
]

_TEXT_PARTS = ("text", "input_text", "output_text")


def is_user_message(msg: Any) -> bool:
    """Whether *msg*, a dictionary or an object with a ``role``, is the user's."""
    return bool(_field(msg, "role") == "user")


def get_last_user_message(messages: Iterable[Any]) -> str | None:
    """The text of the user's last message.

    Of content made of parts it is the text parts, a line each. None when there is no user message, or no text in it.
    """
    last = next((message for message in reversed(list(messages)) if is_user_message(message)), None)
    return _text(_field(last, "content"))


def get_last_user_input_text(input_items: Sequence[Any] | str) -> str | None:
    """The text of the user's last message in the input of a Responses call; as `get_last_user_message`."""
    return input_items if isinstance(input_items, str) else get_last_user_message(input_items)


def get_input_files(input_items: Sequence[Any] | str) -> list[dict[str, Any]]:
    """The ``input_file`` parts of all user messages in the input of a Responses call, or of a chat, in order.

    Each has one of ``file_id`` (an uploaded file), ``file_data`` (base64 or a data URL) and ``file_url``, and
    maybe a ``filename``; `read_input_file` reads it. The ``file`` parts of chat messages are given in the same form.
    """
    if isinstance(input_items, str):
        return []
    return [
        found
        for item in input_items
        for part in ([item] if _field(item, "type") == "input_file" else _parts(item) if is_user_message(item) else [])
        if (found := _file_part(part)) is not None
    ]


def chat_messages_from_openai(messages: Iterable[Any]) -> list["ChatMessage"]:
    """The messages of a chat call as Haystack messages.

    Parts of a user's message become text, image and file content, sound a file of type ``audio/...``. Images and files
    that are given by address or file id are left out, for nothing is fetched here. A tool message knows the call that
    it answers, with its name and arguments. A developer message is a system message. Messages that say nothing are
    left out, and arguments of a call that are no JSON object are empty ones.
    """
    from hayhooks.core.haystack.chat_messages import chat_messages_of  # the other helpers do without Haystack

    return chat_messages_of(messages)


def chat_messages_from_openai_response(input_items: Sequence[Any] | str) -> list["ChatMessage"]:
    """The input of a Responses call as Haystack messages.

    Images and files that are given as data become image and file content; those given by address or file id are
    left out, for nothing is fetched here. Function calls in a row become one assistant message, as models ask for,
    and each output becomes a tool message that knows its call. A developer message is a system message. Reasoning
    and other items are left out.
    """
    from hayhooks.core.haystack.input_items import messages_of  # the other helpers do without Haystack

    return messages_of([{"role": "user", "content": input_items}] if isinstance(input_items, str) else input_items)


def _file_part(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, Mapping):
        return None
    if part.get("type") == "file" and isinstance(part.get("file"), Mapping):  # as chat messages have it
        return {"type": "input_file", **part["file"]}
    return dict(part) if part.get("type") == "input_file" else None


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _parts(message: Any) -> Iterator[Any]:
    content = _field(message, "content")
    if isinstance(content, (list, tuple)):
        yield from content
    elif content is not None:
        yield content


def _text(content: Any) -> str | None:
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part if isinstance(part, str) else _text_of(part) for part in parts]
    found = [text for text in texts if text is not None]
    return "\n".join(found) if found else None


def _text_of(part: Any) -> str | None:
    text = _field(part, "text") if _field(part, "type") in _TEXT_PARTS else None
    return text if isinstance(text, str) else None
