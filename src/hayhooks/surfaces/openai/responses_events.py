"""Named server-sent events of one response, numbered in order."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.json import encode

from hayhooks.surfaces._json import json_bytes

DONE = b"data: [DONE]\n\n"  # OpenAI's clients stop at it, and the Open Responses specification asks for it
_DELTA = "response.output_text.delta"


class Frames:
    """Writes events; each call gives the next of them, encoded."""

    __slots__ = ("_head", "_item", "number")

    def __init__(self) -> None:
        self.number = 0  # of the next event
        self._item: tuple[str, int, int] | None = None
        self._head = b""

    def event(self, kind: str, **fields: Any) -> bytes:
        """The event of that type."""
        number, self.number = self.number, self.number + 1
        data = json_bytes({"type": kind, **fields, "sequence_number": number})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def texts(self, item: str, output_index: int, content_index: int, texts: Iterable[str]) -> bytes:
        """Deltas of text, all of one part of one message; nothing for an empty text."""
        if self._item != (item, output_index, content_index):
            # All but the text and the number is the same in every delta: it is encoded once.
            self._item = (item, output_index, content_index)
            frame = {
                "type": _DELTA, "item_id": item, "output_index": output_index, "content_index": content_index,
                "logprobs": [],
            }  # fmt: skip
            self._head = f"event: {_DELTA}\ndata: ".encode() + encode(frame)[:-1] + b',"delta":'
        head, number = self._head, self.number
        parts: list[bytes] = []
        for text in _encoded(texts):
            parts += (head, text, b',"sequence_number":%d}\n\n' % number)
            number += 1
        self.number = number
        return b"".join(parts)


def replayed(response: dict[str, Any]) -> bytes:
    """The events of a response that is there as a whole, in one piece."""
    frames = Frames()
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None, "error": None}
    begun["incomplete_details"] = None
    parts = [frames.event("response.created", response=begun), frames.event("response.in_progress", response=begun)]
    for place, item in enumerate(response["output"]):
        parts += item_events(frames, place, item)
    parts += (closing(frames, response), DONE)
    return b"".join(parts)


def item_events(frames: Frames, output_index: int, item: dict[str, Any]) -> list[bytes]:
    """The events of an output item that is there as a whole."""
    event = frames.event
    place: dict[str, Any] = {"output_index": output_index}
    kind = item.get("type")
    about: dict[str, Any] = {"item_id": item.get("id"), **place}
    emptied: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    begun = {**item, **emptied.get(str(kind), {})}
    if "status" in item:
        begun["status"] = "in_progress"
    parts = [event("response.output_item.added", **place, item=begun)]
    if kind == "message":
        for index, part in enumerate(item.get("content") or ()):
            parts += part_events(frames, {**about, "content_index": index}, part)
    elif kind == "reasoning":
        for index, part in enumerate(item.get("summary") or ()):
            parts += summary_events(frames, {**about, "summary_index": index}, str(part.get("text") or ""))
    elif kind == "function_call":
        arguments = item.get("arguments") or ""
        parts.append(event("response.function_call_arguments.delta", **about, delta=arguments))
        parts.append(arguments_done(frames, about, item))
    parts.append(event("response.output_item.done", **place, item=item))
    return parts


def part_events(frames: Frames, about: dict[str, Any], part: dict[str, Any]) -> list[bytes]:
    """The events of a part of a message that is there as a whole."""
    event = frames.event
    if part.get("type") == "refusal":
        return [
            event("response.content_part.added", **about, part={**part, "refusal": ""}),
            event("response.refusal.delta", **about, delta=part.get("refusal", "")),
            event("response.refusal.done", **about, refusal=part.get("refusal", "")),
            event("response.content_part.done", **about, part=part),
        ]
    text = part.get("text", "")
    empty = {**part, "text": "", "annotations": []}
    parts = [event("response.content_part.added", **about, part=empty)]
    if text:
        parts.append(frames.texts(about["item_id"], about["output_index"], about["content_index"], [text]))
    parts += annotation_events(frames, about, part.get("annotations") or ())
    return [*parts, *text_done(frames, about, part)]


def text_done(frames: Frames, about: dict[str, Any], part: dict[str, Any]) -> list[bytes]:
    """The events that close a part of text."""
    done = frames.event("response.output_text.done", **about, text=part.get("text", ""), logprobs=[])
    return [done, frames.event("response.content_part.done", **about, part=part)]


def annotation_events(frames: Frames, about: dict[str, Any], annotations: Sequence[Any]) -> list[bytes]:
    """The events of annotations of a text."""
    return [
        frames.event("response.output_text.annotation.added", **about, annotation_index=index, annotation=annotation)
        for index, annotation in enumerate(annotations)
    ]


def summary_events(frames: Frames, about: dict[str, Any], text: str) -> list[bytes]:
    """The events of a reasoning summary that is there as a whole."""
    event = frames.event
    return [
        event("response.reasoning_summary_part.added", **about, part={"type": "summary_text", "text": ""}),
        event("response.reasoning_summary_text.delta", **about, delta=text),
        *summary_done(frames, about, text),
    ]


def summary_done(frames: Frames, about: dict[str, Any], text: str) -> list[bytes]:
    """The events that close a reasoning summary."""
    done = frames.event("response.reasoning_summary_text.done", **about, text=text)
    part = {"type": "summary_text", "text": text}
    return [done, frames.event("response.reasoning_summary_part.done", **about, part=part)]


def arguments_done(frames: Frames, about: dict[str, Any], item: dict[str, Any]) -> bytes:
    """The event that closes the arguments of a function call."""
    arguments = item.get("arguments") or ""
    return frames.event("response.function_call_arguments.done", **about, name=item.get("name"), arguments=arguments)


def closing(frames: Frames, response: dict[str, Any]) -> bytes:
    """The last event of a response. A cancelled one has none of its own and is one that is not complete."""
    kind = response["status"] if response["status"] in ("completed", "failed") else "incomplete"
    return frames.event(f"response.{kind}", response=response)


def events_after(log: bytes, first: int, after: int) -> bytes:
    """Of encoded events, the first of which has the number *first*, those with a number larger than *after*."""
    place = 0
    for _ in range(first, after + 1):
        end = log.find(b"\n\n", place)
        if end < 0:
            return b""
        place = end + 2
    return log[place:]


def _encoded(texts: Iterable[str]) -> list[bytes]:
    try:
        return [encode(text) for text in texts if text]
    except UnicodeEncodeError:
        return [json_bytes(text) for text in texts if text]
