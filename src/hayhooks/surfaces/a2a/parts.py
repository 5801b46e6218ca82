"""Messages of A2A as those of a chat: text, data and files in the form that chat hooks know."""

import base64
import json
import mimetypes
from collections.abc import Iterable
from typing import Any

from a2a.types.a2a_pb2 import Message, Part, Role
from google.protobuf.json_format import MessageToDict

# By the end of a media type: what OpenAI's chat calls the format of sound.
_SOUNDS = {"wav": "wav", "x-wav": "wav", "wave": "wav", "mpeg": "mp3", "mp3": "mp3"}


def media_type(part: Part) -> str | None:
    """The media type of *part* as far as it says it; for a file without one, what its name tells."""
    if part.media_type:
        return str(part.media_type)
    kind = part.WhichOneof("content")
    if kind in ("raw", "url") and part.filename:
        return mimetypes.guess_type(part.filename)[0]
    return None


def chat_message(message: Message) -> dict[str, Any]:
    """*message* as a message of a chat: plain text where there is nothing else, otherwise parts."""
    role = "assistant" if message.role == Role.ROLE_AGENT else "user"
    parts = [_chat_part(part) for part in message.parts]
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "\n".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def answer_message(parts: Iterable[Part]) -> dict[str, Any]:
    """What an agent gave, as the message of a chat that comes after it: files are named, not repeated."""
    texts = [part["text"] for part in map(_chat_part, parts) if part["type"] == "text"]
    return {"role": "assistant", "content": "\n".join(texts)}


def data_of(message: Message) -> list[Any]:
    """The values of the data parts of *message*."""
    return [plain(part.data) for part in message.parts if part.WhichOneof("content") == "data"]


def plain(value: Any) -> Any:
    """A protobuf value as plain data; whole numbers, which it has no kind for, as int."""
    return _whole(MessageToDict(value))


def _chat_part(part: Part) -> dict[str, Any]:
    kind = part.WhichOneof("content")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "data":
        return {"type": "text", "text": json.dumps(plain(part.data), ensure_ascii=False)}
    media = media_type(part) or "application/octet-stream"
    if kind == "url":
        if media.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": part.url}}
        return {"type": "file", "file": _named(part, {"file_url": part.url})}
    content = base64.b64encode(part.raw).decode()
    family, _, name = media.partition("/")
    if family == "image":
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{content}"}}
    if family == "audio" and name in _SOUNDS:
        return {"type": "input_audio", "input_audio": {"data": content, "format": _SOUNDS[name]}}
    return {"type": "file", "file": _named(part, {"file_data": f"data:{media};base64,{content}"})}


def _named(part: Part, file: dict[str, Any]) -> dict[str, Any]:
    return {"filename": part.filename, **file} if part.filename else file


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
