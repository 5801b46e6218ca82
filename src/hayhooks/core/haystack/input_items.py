"""The input items of an OpenAI Responses call as Haystack messages."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from haystack.dataclasses import ChatMessage, FileContent, ImageContent, TextContent, ToolCall
from loguru import logger

from hayhooks.core.names import printable

_DETAILS = ("auto", "high", "low")


def messages_of(items: Iterable[Any]) -> list[ChatMessage]:
    """The messages that *items* stand for, in order; items of other kinds are left out."""
    messages: list[ChatMessage] = []
    calls: dict[str, ToolCall] = {}  # by call id, for the outputs that come later
    in_a_row: list[ToolCall] = []

    def end_row() -> None:
        if in_a_row:
            messages.append(ChatMessage.from_assistant(tool_calls=list(in_a_row)))
            in_a_row.clear()

    for item in items:
        kind = _field(item, "type")
        if kind == "function_call":
            call = _call(item)
            calls[call.id or ""] = call
            in_a_row.append(call)
            continue
        if kind == "reasoning":
            continue  # stands between calls of one row, too
        end_row()
        if kind == "function_call_output":
            messages.append(_output(item, calls))
        elif kind in (None, "message"):
            messages += _message(item)
    end_row()
    return messages


def _call(item: Any) -> ToolCall:
    try:
        arguments = json.loads(_field(item, "arguments") or "{}")
    except (TypeError, ValueError):
        arguments = {}
    call_id = _field(item, "call_id") or _field(item, "id")
    return ToolCall(str(_field(item, "name") or ""), arguments if isinstance(arguments, dict) else {}, id=call_id)


def _output(item: Any, calls: Mapping[str, ToolCall]) -> ChatMessage:
    call_id = str(_field(item, "call_id") or "")
    # The call may be in an earlier response, which the client refers to and does not repeat.
    origin = calls.get(call_id) or ToolCall("function", {}, id=call_id)
    output = _field(item, "output")
    if isinstance(output, (list, tuple)):
        output = "\n".join(filter(None, map(_text, output)))
    elif not isinstance(output, str):
        output = json.dumps(output, default=str)
    return ChatMessage.from_tool(tool_result=output, origin=origin)


def _message(item: Any) -> Iterator[ChatMessage]:
    content = _field(item, "content")
    parts = content if isinstance(content, (list, tuple)) else [content]
    role = _field(item, "role")
    if role in ("assistant", "system", "developer"):
        text = "\n".join(text for part in parts if (text := _text(part)) is not None)
        if text:
            yield ChatMessage.from_assistant(text) if role == "assistant" else ChatMessage.from_system(text)
        return
    # Whoever else speaks is, to the model, a user.
    contents: list[TextContent | ImageContent | FileContent] = []
    for part in parts:
        found = _content(part)
        if isinstance(found, TextContent) and contents and isinstance(contents[-1], TextContent):
            # ChatMessage.text is the first text alone, and most readers look no further.
            contents[-1] = TextContent(f"{contents[-1].text}\n{found.text}")
        elif found is not None:
            contents.append(found)
    if contents:
        name = _field(item, "name")
        yield ChatMessage.from_user(content_parts=contents, name=name if isinstance(name, str) else None)


def _content(part: Any) -> TextContent | ImageContent | FileContent | None:
    text = _text(part)
    if text is not None:
        return TextContent(text)
    kind = _field(part, "type")
    try:
        if kind in ("input_image", "image_url"):
            return _image(part)
        if kind == "input_file":
            return _file(part)
        if kind == "file":  # chat's word for it
            return _file(_field(part, "file"))
        if kind == "input_audio":
            return _audio(_field(part, "input_audio"))
    except ValueError as error:
        logger.warning("An {} that cannot be read is left out: {}", kind, printable(str(error)))
        return None
    logger.warning("A part of type {!r} in a message is left out.", kind)
    return None


def _image(part: Any) -> ImageContent | None:
    url = _field(part, "image_url")
    detail = _field(part, "detail") or _field(url, "detail")
    url = url if isinstance(url, str) else _field(url, "url")
    data = _data(url)
    if data is None:
        logger.warning("An image that is given by address or file id is left out.")
        return None
    return ImageContent(base64_image=data[1], mime_type=data[0], detail=detail if detail in _DETAILS else None)


def _file(part: Any) -> FileContent | None:
    given = _field(part, "file_data")
    if not isinstance(given, str):
        return None  # given by id or address: get_input_files is the way to those
    mime_type, content = _data(given) or (None, given)
    return FileContent(base64_data=content, mime_type=mime_type, filename=_field(part, "filename"))


def _audio(audio: Any) -> FileContent | None:
    data, kind = _field(audio, "data"), _field(audio, "format")
    if not isinstance(data, str):
        return None
    # Haystack has no class of its own for sound; the MIME type tells it from other files.
    mime_type = {"mp3": "audio/mpeg"}.get(str(kind), f"audio/{kind or 'wav'}")
    return FileContent(base64_data=data, mime_type=mime_type)


def _data(url: Any) -> tuple[str | None, str] | None:
    """The MIME type and base64 text of a data URL."""
    if not isinstance(url, str) or not url.startswith("data:"):
        return None
    head, _, content = url[len("data:") :].partition(",")
    if not head.endswith(";base64"):
        raise ValueError("its data URL is not in base64")
    return head[: -len(";base64")] or None, content


def _text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    kind = _field(part, "type")
    text = _field(part, "text" if kind in ("text", "input_text", "output_text") else "refusal")
    return text if isinstance(text, str) and kind is not None else None


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
