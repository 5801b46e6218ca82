"""The events of a run as parts of an artifact, and what is said beside it."""

import base64
import binascii
import json
import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from a2a.types.a2a_pb2 import Part
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from hayhooks.core.events import Chunk, Completion, Data, Event, Result, Texts, ToolCallDelta, Usage, UserEvent
from hayhooks.surfaces._completions import chunk_of_completion
from hayhooks.surfaces._ending import Ending
from hayhooks.surfaces._json import json_bytes

# By the type of an event that asks: where it has the question, and what is asked without one.
_ASKING = {
    "input_required": ("question", "More input is needed."),
    "auth_required": ("explanation", "An authorization is needed."),
}


@dataclass(frozen=True, slots=True)
class Note:
    """Something for whoever watches; *text* is a line to show, if there is one."""

    text: str
    event: dict[str, Any] = field(default_factory=dict)


class Fold:
    """Folds the events of one run into parts and notes, in order; ``question`` is what the agent waits for.

    ``waits_for`` says what kind of thing that is, by the type of the event that said so.
    """

    def __init__(self, *, runs_own_tools: bool) -> None:
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._calls: dict[int, dict[str, str]] = {}  # that are the caller's to make
        self.waits_for: str | None = None
        self._asked: str | None = None
        self._said_since: list[str] = []  # after it asked

    @property
    def question(self) -> str | None:
        """What the agent needs to know, or None when it needs nothing more."""
        if self._asked is None:
            return None
        return "".join(self._said_since).strip() or self._asked

    @property
    def usage(self) -> dict[str, Any] | None:
        """Token counts, when any were reported."""
        return self._ending.usage

    def add(self, events: Iterable[Event]) -> list[Part | Note]:
        """What these events say."""
        found: list[Part | Note] = []
        for event in events:
            if isinstance(event, Texts):
                self._ending.note_text()
                self._say("".join(event.texts), found)
            elif isinstance(event, Chunk):
                self._chunk(event, found, is_callers=False)
            elif isinstance(event, Completion):
                self._chunk(chunk_of_completion(event.data)[0], found, is_callers=True)
            elif isinstance(event, (Data, Result)):
                self._value(msgspec.json.decode(event.json), found)
            elif isinstance(event, UserEvent):
                self._event(event, found)
            elif isinstance(event, Usage):
                self._ending.note_usage(event)
        return found

    def end(self) -> list[Part | Note]:
        """What is left to say: the calls of tools that are the caller's to make."""
        self._call(self._ending.release())
        if not self._calls:
            return []
        return [data_part({"tool_calls": list(self._calls.values())})]

    def _say(self, text: str, found: list[Part | Note]) -> None:
        if not text:
            return
        if self._asked is not None:
            self._said_since.append(text)
        else:
            found.append(Part(text=_sound(text)))

    def _chunk(self, chunk: Chunk, found: list[Part | Note], *, is_callers: bool) -> None:
        self._say(chunk.text, found)
        self._call(self._ending.note(chunk, is_callers=is_callers))

    def _call(self, deltas: Iterable[ToolCallDelta]) -> None:
        for delta in deltas:
            call = self._calls.setdefault(delta.index, {"id": delta.id or "", "name": "", "arguments": ""})
            call["name"] = delta.name or call["name"]
            call["arguments"] += delta.arguments

    def _value(self, value: Any, found: list[Part | Note]) -> None:
        if isinstance(value, str):
            self._say(value, found)
        else:
            found.append(data_part(value))

    def _event(self, event: UserEvent, found: list[Part | Note]) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        if event.type in _ASKING:
            key, default = _ASKING[event.type]
            self.waits_for = event.type
            self._asked = str(data.get(key) or "") or default
            self._said_since.clear()
            return
        if event.type == "file":
            part = file_part(data)
            if part is not None:
                found.append(part)
                return
        text = str(data.get("description") or "") if event.type == "status" and not data.get("hidden") else ""
        found.append(Note(text, {"type": event.type, "data": json.loads(json_bytes(event.data))}))


def data_part(value: Any) -> Part:
    """A part of structured data."""
    found = Value()
    ParseDict(json.loads(json_bytes(value)), found)
    return Part(data=found, media_type="application/json")


def file_part(data: dict[str, Any]) -> Part | None:
    """The file of a ``file`` event, or None when there is none in it that can be read."""
    name = data.get("filename")
    name = name if isinstance(name, str) else ""
    url, content = data.get("file_url"), data.get("file_data")
    media = data.get("content_type") or (mimetypes.guess_type(name)[0] if name else None)
    if isinstance(content, str):
        if content.startswith("data:"):
            head, _, content = content.removeprefix("data:").partition(",")
            media = media or head.removesuffix(";base64")
        try:
            raw = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            return None
        return Part(raw=raw, filename=name, media_type=str(media or "application/octet-stream"))
    if isinstance(url, str):
        return Part(url=url, filename=name, media_type=str(media or ""))
    return None


def _sound(text: str) -> str:
    """*text* without halves of character pairs, which tokenizers make and the wire does not take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
