"""The events of a run folded into one Message, or into the named events of a streamed one.

Source: Anthropic API reference, "Create a Message" and "Streaming Messages".
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.json import encode

from hayhooks.core.events import Chunk, Completion, Data, Event, Result, Texts, Usage, UserEvent
from hayhooks.surfaces._completions import chunk_of_completion
from hayhooks.surfaces._ending import Ending
from hayhooks.surfaces._json import json_bytes, json_texts
from hayhooks.surfaces.anthropic.blocks import Blocks, call_block, prose_block, tool_input

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class Heard:
    """What the caller may hear of a run: text, thinking when it was asked for, tool calls that are its own."""

    def __init__(self, *, runs_own_tools: bool, shows_thinking: bool, stop_sequences: Sequence[str] = ()) -> None:
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._shows_thinking = shows_thinking
        self._stop_sequences = stop_sequences
        self._is_refusal = False

    def chunk(self, event: Event) -> Chunk:
        """*event* as far as the caller may hear it. Events for the person who watches have no place here."""
        if isinstance(event, Texts):
            self.note_text()
            return Chunk("".join(event.texts))
        if isinstance(event, Chunk):
            return self._own(event)
        if isinstance(event, Completion):
            return self._completion(event.data)
        if isinstance(event, (Data, Result)):
            return self._own(Chunk(event.json.decode()))
        if isinstance(event, Usage):
            self._ending.note_usage(event)
        return Chunk()

    def note_text(self) -> None:
        """The model has said something."""
        self._ending.note_text()

    def rest(self) -> Chunk:
        """At the end: the tool calls that nobody answered."""
        return Chunk(tool_calls=tuple(self._ending.release()))

    @property
    def stop(self) -> dict[str, Any]:
        """Why the run ended: ``stop_reason``, ``stop_sequence`` and ``stop_details``."""
        reason, sequence = _STOP_REASONS.get(self._ending.finish_reason, "end_turn"), None
        if self._is_refusal:
            reason = "refusal"
        elif reason == "end_turn" and self._ending.reported_reason == "stop_sequence":
            reason = "stop_sequence"
            sequence = self._stop_sequences[0] if len(self._stop_sequences) == 1 else None
        details = {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None
        return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}

    @property
    def usage(self) -> dict[str, Any]:
        """Token counts; the type leaves no way to say that they are unknown, so then they are 0."""
        return usage_of(self._ending.usage or {})

    def _own(self, chunk: Chunk, *, is_callers: bool = False) -> Chunk:
        calls = self._ending.note(chunk, is_callers=is_callers)
        return Chunk(chunk.text, chunk.reasoning if self._shows_thinking else "", tuple(calls))

    def _completion(self, data: dict[str, Any]) -> Chunk:
        said, more = chunk_of_completion(data)
        chunk = self._own(said, is_callers=True)
        refusal = more.get("refusal")
        if not isinstance(refusal, str) or not refusal:
            return chunk
        self._is_refusal = True
        return Chunk(chunk.text + refusal, chunk.reasoning, chunk.tool_calls)


class Whole:
    """A Message that is answered in one piece."""

    def __init__(self, model: str, heard: Heard) -> None:
        self._model = model
        self._heard = heard
        self._content: list[dict[str, Any]] = []
        self._calls: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Fold further events in."""
        for event in events:
            self._add(self._heard.chunk(event))

    def body(self) -> bytes:
        """The Message, as JSON."""
        self._add(self._heard.rest())
        for block, arguments in self._calls.values():
            block["input"] = tool_input("".join(arguments))
        for block in self._content:
            for field in ("text", "thinking"):
                if field in block:
                    block[field] = "".join(block[field])
        message = {**_frame(self._model), "content": self._content, **self._heard.stop, "usage": self._heard.usage}
        return json_bytes(message)

    def _add(self, chunk: Chunk) -> None:
        if chunk.reasoning:
            self._prose("thinking", chunk.reasoning)
        if chunk.text:
            self._prose("text", chunk.text)
        for delta in chunk.tool_calls:
            if delta.index not in self._calls:
                block = call_block(delta)
                self._calls[delta.index] = (block, [])
                self._content.append(block)
            block, arguments = self._calls[delta.index]
            block["name"] = block["name"] or delta.name or ""
            arguments.append(delta.arguments)

    def _prose(self, kind: str, text: str) -> None:
        if not self._content or self._content[-1]["type"] != kind:
            self._content.append({**prose_block(kind), kind: []})
        self._content[-1][kind].append(text)


class Streamed:
    """A Message that is streamed: events in, server-sent events out."""

    def __init__(self, model: str, heard: Heard) -> None:
        self._heard = heard
        self._model = model
        self._blocks = Blocks()
        self._has_begun = False

    def frames(self, events: Iterable[Event]) -> bytes:
        """The server-sent events for these events, in one piece."""
        parts: list[bytes] = []
        for event in events:
            if type(event) is Texts:
                self._heard.note_text()
                self._begin(parts)
                self._blocks.texts(json_texts(event.texts), parts)
                continue
            chunk = self._heard.chunk(event)
            if isinstance(event, (Usage, UserEvent)):
                continue
            self._begin(parts)
            self._add(chunk, parts)
        return b"".join(parts)

    def end(self) -> bytes:
        """The closing events: what was held back, the end of every block, why it ended, usage."""
        parts: list[bytes] = []
        self._begin(parts)
        self._add(self._heard.rest(), parts)
        self._blocks.close(parts)
        delta = {"type": "message_delta", "delta": {**self._heard.stop, "container": None}, "usage": self._heard.usage}
        parts.append(b"event: message_delta\ndata: " + json_bytes(delta) + b"\n\n")
        parts.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        return b"".join(parts)

    def failure(self, error: dict[str, Any]) -> bytes:
        """The last event of a stream that breaks midway."""
        return b"event: error\ndata: " + json_bytes(error) + b"\n\n"

    def _begin(self, parts: list[bytes]) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        stop = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        message = {**_frame(self._model), "content": [], **stop, "usage": usage_of({})}
        start = {"type": "message_start", "message": message}
        parts.append(b"event: message_start\ndata: " + encode(start) + b"\n\n")

    def _add(self, chunk: Chunk, parts: list[bytes]) -> None:
        if chunk.reasoning:
            self._blocks.thinking(json_texts([chunk.reasoning]), parts)
        if chunk.text:
            self._blocks.texts(json_texts([chunk.text]), parts)
        for delta in chunk.tool_calls:
            self._blocks.call(delta, parts)


def usage_of(counts: dict[str, Any]) -> dict[str, Any]:
    """*counts*, under the OpenAI names, in Anthropic's: what came from a cache is counted apart."""
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens")
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return {
        "input_tokens": max(0, counts.get("prompt_tokens", 0) - (cached or 0)),
        "output_tokens": counts.get("completion_tokens", 0),
        "output_tokens_details": None if thought is None else {"thinking_tokens": thought},
        "cache_read_input_tokens": cached,
        # The API has these in every answer; nothing here knows them.
        "cache_creation_input_tokens": None,
        "cache_creation": None,
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": None,
    }


def _frame(model: str) -> dict[str, Any]:
    return {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model, "container": None}
