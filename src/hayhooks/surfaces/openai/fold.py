"""The events of a run folded into one chat completion, or into the chunks of a streamed one.

Source: OpenAI API reference, "Create chat completion" and "Chat completion chunk".
"""

import time
import uuid
from collections.abc import Iterable
from typing import Any

from msgspec.json import encode

from hayhooks.core.events import Chunk, Completion, Data, Event, Result, Texts, ToolCallDelta, Usage, UserEvent
from hayhooks.surfaces._completions import EMPTY_MESSAGE, chunk_of_completion, completed, first_choice, further_choices
from hayhooks.surfaces._ending import Ending
from hayhooks.surfaces._json import json_bytes, json_texts_between
from hayhooks.surfaces.openai.event_form import EventForm

DONE = b"data: [DONE]\n\n"


class Whole:
    """A completion that is answered in one piece."""

    def __init__(self, model: str, *, runs_own_tools: bool) -> None:
        self._model = model
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._more: dict[str, Any] = {}
        self._likely: list[Any] = []  # log probabilities, token by token
        self._made: dict[str, Any] | None = None  # a completion that the hook made itself
        self._pieces = 0

    def add(self, events: Iterable[Event]) -> None:
        """Fold further events in. Events for the person who watches have no place in a plain answer."""
        for event in events:
            if isinstance(event, Usage):
                self._ending.note_usage(event)
                continue
            if isinstance(event, UserEvent):
                continue
            self._pieces += 1
            if isinstance(event, Texts):
                self._text += event.texts
                self._ending.note_text()
            elif isinstance(event, Chunk):
                self._add_chunk(event)
            elif isinstance(event, Completion):
                self._add_completion(event.data)
            elif isinstance(event, (Data, Result)):
                self._text.append(event.json.decode())

    def body(self) -> bytes:
        """The chat completion, as JSON."""
        self._add_calls(self._ending.release())
        usage = self._ending.usage
        frame = _frame(self._model, "chat.completion")
        if self._made is not None and self._pieces == 1:
            completion = completed(self._made, frame, self._ending.finish_reason)
        else:
            choice = {
                "index": 0, "message": self._message(),
                "logprobs": {"content": self._likely, "refusal": None} if self._likely else None,
                "finish_reason": self._ending.finish_reason,
            }  # fmt: skip
            completion = {**frame, "choices": [choice]}
        if usage is not None and not completion.get("usage"):
            completion["usage"] = usage
        return json_bytes(completion)

    def _message(self) -> dict[str, Any]:
        text = "".join(self._text)
        reasoning = "".join(self._reasoning)
        message: dict[str, Any] = {**EMPTY_MESSAGE, "content": text, **self._more}
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._calls:
            message["content"] = text or None
            message["tool_calls"] = list(self._calls.values())
        return message

    def _add_chunk(self, chunk: Chunk, *, is_callers: bool = False) -> None:
        self._text.append(chunk.text)
        self._reasoning.append(chunk.reasoning)
        self._add_calls(self._ending.note(chunk, is_callers=is_callers))

    def _add_calls(self, deltas: Iterable[ToolCallDelta]) -> None:
        for delta in deltas:
            call = self._calls.setdefault(
                delta.index, {"id": delta.id, "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["function"]["name"] = delta.name or call["function"]["name"]
            call["function"]["arguments"] += delta.arguments

    def _add_completion(self, data: dict[str, Any]) -> None:
        if first_choice(data).get("message"):
            self._made = data
        self._likely += (first_choice(data).get("logprobs") or {}).get("content") or ()
        chunk, more = chunk_of_completion(data)
        self._more |= more
        self._add_chunk(chunk, is_callers=True)


class Chunked:
    """A completion that is streamed: events in, server-sent events out."""

    def __init__(self, model: str, *, runs_own_tools: bool, include_usage: bool, events: EventForm = "chunk") -> None:
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._include_usage = include_usage
        frame = encode(_frame(model, "chat.completion.chunk"))[:-1]
        # All but the delta is the same in every chunk: it is encoded once.
        self._head = b"data: " + frame + b',"choices":[{"index":0,"delta":'
        self._text_head = self._head + b'{"content":'
        self._tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
        self._text_tail = b"}" + self._tail
        self._usage_head = b"data: " + frame + b',"choices":[],"usage":'
        self._event_head = b'data: {"event":' if events == "bare" else b"data: " + frame + b',"choices":[],"event":'
        self._shows_events = events != "off"
        self._last_head = b"data: " + frame + b',"choices":'
        self._has_role = False

    def frames(self, events: Iterable[Event]) -> bytes:
        """The server-sent events for these events, in one piece."""
        parts: list[bytes] = []
        head, tail = self._text_head, self._text_tail
        for event in events:
            if type(event) is Texts:
                if not self._has_role:
                    parts.append(self._role())
                self._ending.note_text()
                parts.append(json_texts_between(event.texts, head, tail))
            elif type(event) is Chunk:
                self._chunk(event, parts)
            else:
                self._other(event, parts)
        return b"".join(parts)

    def end(self) -> bytes:
        """The closing events: tool calls left over, the finish reason, the usage when asked for, ``[DONE]``."""
        parts = [] if self._has_role else [self._role()]
        held = self._ending.release()
        if held:
            parts.append(self._delta({"tool_calls": _calls(held)}))
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._ending.finish_reason}
        parts.append(self._choice(choice))
        usage = self._ending.usage
        if self._include_usage and usage is not None:
            parts += (self._usage_head, encode(usage), b"}\n\n")
        parts.append(DONE)
        return b"".join(parts)

    def failure(self, error: dict[str, Any]) -> bytes:
        """The closing events of a stream that breaks midway."""
        return b"data: " + json_bytes(error) + b"\n\n" + DONE

    def _role(self) -> bytes:
        self._has_role = True
        return self._delta({"role": "assistant", "content": ""})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._head + json_bytes(delta) + self._tail

    def _choice(self, choice: dict[str, Any]) -> bytes:
        return self._last_head + json_bytes([choice]) + b"}\n\n"

    def _chunk(
        self, chunk: Chunk, parts: list[bytes], *, is_callers: bool = False, logprobs: dict[str, Any] | None = None
    ) -> None:
        if not self._has_role:
            parts.append(self._role())
        if chunk.reasoning:
            parts.append(self._delta({"reasoning_content": chunk.reasoning}))
        if logprobs:
            said = {"content": chunk.text}
            parts.append(self._choice({"index": 0, "delta": said, "logprobs": logprobs, "finish_reason": None}))
        elif chunk.text:
            parts.append(self._delta({"content": chunk.text}))
        calls = self._ending.note(chunk, is_callers=is_callers)
        if calls:
            parts.append(self._delta({"tool_calls": _calls(calls)}))

    def _other(self, event: Event, parts: list[bytes]) -> None:
        if isinstance(event, UserEvent):
            if not self._shows_events:
                return
            # Unless bare, a chunk without choices: who knows nothing of events skips it, others look for the key.
            parts += (self._event_head, json_bytes({"type": event.type, "data": event.data}), b"}\n\n")
        elif isinstance(event, Usage):
            self._ending.note_usage(event)
        elif isinstance(event, Completion):
            chunk, more = chunk_of_completion(event.data)
            self._chunk(chunk, parts, is_callers=True, logprobs=first_choice(event.data).get("logprobs"))
            if more:
                parts.append(self._delta(more))
            parts += map(self._choice, further_choices(event.data))
        elif isinstance(event, (Data, Result)):
            self._chunk(Chunk(event.json.decode()), parts)


def has_text(events: Iterable[Event]) -> bool:
    """Whether *events* say anything but events for the person who watches."""
    return any(
        any(event.texts) if isinstance(event, Texts) else bool(event.text) if isinstance(event, Chunk)
        else isinstance(event, (Completion, Data, Result))
        for event in events
    )  # fmt: skip


def _frame(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _calls(deltas: Iterable[ToolCallDelta]) -> list[dict[str, Any]]:
    calls = []
    for delta in deltas:
        call: dict[str, Any] = {"index": delta.index}
        if delta.id:
            call |= {"id": delta.id, "type": "function"}
        function = {"name": delta.name} if delta.name else {}
        calls.append({**call, "function": {**function, "arguments": delta.arguments}})
    return calls
