"""The events of a run folded into one chat completion, or into the chunks of a streamed one.

Source: OpenAI API reference, "Create chat completion" and "Chat completion chunk".
"""

import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

from msgspec.json import encode

from hayhooks.core.events import Chunk, Completion, Data, Event, Result, Texts, ToolCallDelta, Usage, UserEvent

DONE = b"data: [DONE]\n\n"
_DELTA_KEYS = ("content", "reasoning_content", "tool_calls", "refusal", "function_call")


class Ending:
    """What a run says about how it ended, gathered on the way: finish reason, usage, open tool calls."""

    def __init__(self, *, runs_own_tools: bool) -> None:
        self._runs_own_tools = runs_own_tools
        self._reason: str | None = None
        self._usages: list[Usage] = []
        self._chunk_usages: list[Usage] = []
        self.held: list[ToolCallDelta] = []  # tool calls that the pipeline may yet answer itself
        self.has_tool_calls = False

    def note(self, chunk: Chunk) -> tuple[ToolCallDelta, ...]:
        """Take note of *chunk* and return the tool call deltas that the caller may see now."""
        if chunk.finish_reason is not None and chunk.finish_reason != "tool_call_results":
            self._reason = chunk.finish_reason
        if chunk.usage is not None:
            self._chunk_usages.append(chunk.usage)
        if chunk.tool_result is not None:
            # The pipeline runs its tools: a client that saw the calls would make them again, for ever.
            self.held.clear()
            self._reason = None
        if not chunk.tool_calls:
            return ()
        if self._runs_own_tools:
            self.held.extend(chunk.tool_calls)
            return ()
        self.has_tool_calls = True
        return chunk.tool_calls

    def note_usage(self, usage: Usage) -> None:
        """The runner's own sum over all generators; it counts more than what chunks carried."""
        self._usages.append(usage)

    def note_foreign(self, choice: dict[str, Any], usage: Any) -> None:
        """The ending of a completion that the hook made itself."""
        self._reason = choice.get("finish_reason") or self._reason
        if isinstance(usage, dict):
            counts = {key: usage.get(key) or 0 for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
            self._chunk_usages.append(Usage(**counts, details=_details(usage)))

    def release(self) -> list[ToolCallDelta]:
        """At the end: the tool calls that nobody answered are the caller's to make."""
        held, self.held = self.held, []
        self.has_tool_calls = self.has_tool_calls or bool(held)
        return held

    @property
    def finish_reason(self) -> str:
        """Why the run ended, in the API's words."""
        if self.has_tool_calls:
            return self._reason if self._reason in ("tool_calls", "length", "content_filter") else "tool_calls"
        return "stop" if self._reason in (None, "tool_calls") else self._reason

    @property
    def usage(self) -> dict[str, Any] | None:
        """Token counts, or None when no generator reported any."""
        usages = self._usages or self._chunk_usages
        if not usages:
            return None
        return {
            "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
            "completion_tokens": sum(usage.completion_tokens for usage in usages),
            "total_tokens": sum(usage.total_tokens for usage in usages),
            **usages[-1].details,
        }


class Whole:
    """A completion that is answered in one piece."""

    def __init__(self, model: str, *, runs_own_tools: bool) -> None:
        self._model = model
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._made: dict[str, Any] | None = None  # a completion that the hook made itself

    def add(self, events: Iterable[Event]) -> None:
        """Fold further events in. Events for the person who watches have no place in a plain answer."""
        for event in events:
            if isinstance(event, Texts):
                self._text += event.texts
            elif isinstance(event, Chunk):
                self._text.append(event.text)
                self._reasoning.append(event.reasoning)
                self._add_calls(self._ending.note(event))
            elif isinstance(event, Usage):
                self._ending.note_usage(event)
            elif isinstance(event, Completion):
                self._add_completion(event.data)
            elif isinstance(event, (Data, Result)):
                self._text.append(event.json.decode())

    def body(self) -> dict[str, Any]:
        """The chat completion."""
        self._add_calls(self._ending.release())
        usage = self._ending.usage
        if self._made is not None and not any(self._text):
            made = {**_frame(self._model, "chat.completion"), **self._made}
            if usage is not None and not made.get("usage"):
                made["usage"] = usage
            return made
        text = "".join(self._text)
        reasoning = "".join(self._reasoning)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._calls:
            message["content"] = text or None
            message["tool_calls"] = list(self._calls.values())
        choice = {
            "index": 0, "message": message, "logprobs": None, "finish_reason": self._ending.finish_reason,
        }  # fmt: skip
        completion = {**_frame(self._model, "chat.completion"), "choices": [choice]}
        if usage is not None:
            completion["usage"] = usage
        return completion

    def _add_calls(self, deltas: Iterable[ToolCallDelta]) -> None:
        for delta in deltas:
            call = self._calls.setdefault(
                delta.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["id"] = delta.id or call["id"] or f"call_{uuid.uuid4().hex[:24]}"
            call["function"]["name"] = delta.name or call["function"]["name"]
            call["function"]["arguments"] += delta.arguments

    def _add_completion(self, data: dict[str, Any]) -> None:
        choices = data.get("choices") or [{}]
        self._ending.note_foreign(choices[0], data.get("usage"))
        if choices[0].get("message") is not None:
            self._made = data
            return
        delta = choices[0].get("delta") or {}
        self._text.append(delta.get("content") or "")
        self._reasoning.append(delta.get("reasoning_content") or "")
        self._add_calls(_foreign_calls(delta))
        self._ending.has_tool_calls = bool(self._calls)


class Chunked:
    """A completion that is streamed: events in, server-sent events out."""

    def __init__(self, model: str, *, runs_own_tools: bool, include_usage: bool) -> None:
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._include_usage = include_usage
        frame = encode(_frame(model, "chat.completion.chunk"))[:-1]
        # All but the delta is the same in every chunk: it is encoded once.
        self._head = b"data: " + frame + b',"choices":[{"index":0,"delta":'
        self._text_head = self._head + b'{"content":'
        self._tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
        self._text_tail = b"}" + self._tail
        self._usage_head = b"data: " + frame + b',"choices":[],"usage":'
        self._last_head = b"data: " + frame + b',"choices":'
        self._has_role = False
        self._call_ids: dict[int, str] = {}

    def frames(self, events: Iterable[Event]) -> bytes:
        """The server-sent events for these events, in one piece."""
        parts: list[bytes] = []
        head, tail = self._text_head, self._text_tail
        for event in events:
            if type(event) is Texts:
                if not self._has_role:
                    parts.append(self._role())
                texts = [encode(text) for text in event.texts if text]
                if texts:
                    parts += (head, (tail + head).join(texts), tail)
            elif type(event) is Chunk:
                if not self._has_role:
                    parts.append(self._role())
                if event.text:
                    parts += (head, encode(event.text), tail)
                if event.reasoning:
                    parts.append(self._delta({"reasoning_content": event.reasoning}))
                calls = self._ending.note(event)
                if calls:
                    parts.append(self._delta({"tool_calls": self._calls(calls)}))
            else:
                self._other(event, parts)
        return b"".join(parts)

    def end(self) -> bytes:
        """The closing events: tool calls left over, the finish reason, the usage when asked for, ``[DONE]``."""
        parts = [] if self._has_role else [self._role()]
        held = self._ending.release()
        if held:
            parts.append(self._delta({"tool_calls": self._calls(held)}))
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._ending.finish_reason}
        parts += (self._last_head, encode([choice]), b"}\n\n")
        usage = self._ending.usage
        if self._include_usage and usage is not None:
            parts += (self._usage_head, encode(usage), b"}\n\n")
        parts.append(DONE)
        return b"".join(parts)

    def failure(self, error: dict[str, Any]) -> bytes:
        """The closing events of a stream that breaks midway."""
        return b"data: " + encode(error) + b"\n\n" + DONE

    def _role(self) -> bytes:
        self._has_role = True
        return self._delta({"role": "assistant", "content": ""})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._head + encode(delta) + self._tail

    def _calls(self, deltas: Iterable[ToolCallDelta]) -> list[dict[str, Any]]:
        calls = []
        for delta in deltas:
            call: dict[str, Any] = {"index": delta.index}
            function: dict[str, Any] = {"arguments": delta.arguments}
            if delta.index not in self._call_ids or delta.id not in (None, self._call_ids[delta.index]):
                self._call_ids[delta.index] = delta.id or f"call_{uuid.uuid4().hex[:24]}"
                call |= {"id": self._call_ids[delta.index], "type": "function"}
            if delta.name:
                function = {"name": delta.name, **function}
            calls.append({**call, "function": function})
        return calls

    def _other(self, event: Event, parts: list[bytes]) -> None:
        if isinstance(event, UserEvent):
            frame = {"event": {"type": event.type, "data": event.data}}
            parts.append(b"data: " + json.dumps(frame, default=str, ensure_ascii=False).encode() + b"\n\n")
        elif isinstance(event, Usage):
            self._ending.note_usage(event)
        elif isinstance(event, Completion):
            self._foreign(event.data, parts)
        elif isinstance(event, (Data, Result)):
            if not self._has_role:
                parts.append(self._role())
            parts.append(self._delta({"content": event.json.decode()}))

    def _foreign(self, data: dict[str, Any], parts: list[bytes]) -> None:
        if not self._has_role:
            parts.append(self._role())
        choices = data.get("choices") or [{}]
        self._ending.note_foreign(choices[0], data.get("usage"))
        source = choices[0].get("delta") or choices[0].get("message") or {}
        delta = {key: source[key] for key in _DELTA_KEYS if source.get(key) is not None}
        if delta.get("tool_calls"):
            self._ending.has_tool_calls = True
            delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(delta["tool_calls"])]
        if delta:
            parts.append(self._delta(delta))


def _frame(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _foreign_calls(delta: dict[str, Any]) -> list[ToolCallDelta]:
    calls = []
    for place, call in enumerate(delta.get("tool_calls") or ()):
        function = call.get("function") or {}
        calls.append(
            ToolCallDelta(
                call.get("index", place), call.get("id"), function.get("name"), function.get("arguments") or ""
            )
        )
    return calls


def _details(usage: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in usage.items() if key.endswith("_details") and value}
