"""The events of a run folded into one Response object and, when it is streamed, its named events."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from hayhooks.core.events import Chunk, Completion, Data, Event, Result, Texts, ToolCallDelta, Usage, UserEvent
from hayhooks.surfaces._completions import chunk_of_completion
from hayhooks.surfaces._ending import Ending
from hayhooks.surfaces.openai.responses_events import (
    DONE,
    Frames,
    annotation_events,
    arguments_done,
    closing,
    item_events,
    part_events,
    summary_done,
    text_done,
)
from hayhooks.surfaces.openai.responses_items import new_id
from hayhooks.surfaces.openai.responses_object import cancelled, ended, failed, passed_on, without_nulls

_ITEMS = ("message", "reasoning", "function_call")  # output items that a hook may give as they are


class Fold:
    """One response in the making. ``response`` is its latest form; the methods give what is to be streamed by then.

    With *is_streamed* false nothing is encoded on the way, and they give nothing. Calls of the functions that
    *namespaced* names get the name and namespace that it gives them.
    """

    def __init__(
        self,
        response: dict[str, Any],
        *,
        runs_own_tools: bool,
        is_streamed: bool,
        namespaced: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        self.response = response
        self._frames = Frames()
        self._is_streamed = is_streamed
        self._namespaced = namespaced
        self._ending = Ending(runs_own_tools=runs_own_tools)
        self._has_begun = False
        self._output: list[dict[str, Any]] = []
        self._open: _Message | _Reasoning | None = None
        self._calls: dict[int, _Call] = {}
        self._made: dict[str, Any] | None = None  # a whole response that the hook made

    def queue(self) -> bytes:
        """It waits for its run."""
        frames = [self._event("response.created", response=self.response)]
        frames.append(self._event("response.queued", response=self.response))
        return b"".join(frames)

    def begin(self) -> bytes:
        """Its run has begun; nothing when that was said before."""
        if self._has_begun:
            return b""
        self._has_begun = True
        self.response = {**self.response, "status": "in_progress"}
        frames = [] if self._frames.number else [self._event("response.created", response=self.response)]
        frames.append(self._event("response.in_progress", response=self.response))
        return b"".join(frames)

    def add(self, events: Iterable[Event]) -> bytes:
        """Fold further events in."""
        parts = [self.begin()]
        for event in events:
            if type(event) is Texts:
                self._ending.note_text()
                self._text(event.texts, parts)
            elif type(event) is Chunk:
                self._chunk(event, parts)
            else:
                self._other(event, parts)
        return b"".join(parts)

    def end(self) -> bytes:
        """Nothing more comes: close what is open and say how it ended."""
        parts = [self.begin()]
        self._show(self._ending.release(), parts)
        reason = self._ending.finish_reason
        self._close(parts, "incomplete" if reason in ("length", "content_filter") else "completed")
        if self._made is not None:
            whole = ended(self.response, self._output, reason, self._ending.usage)
            self.response = passed_on(whole, self._made)
        else:
            self.response = ended(self.response, self._output, reason, self._ending.usage)
        return self._last(parts)

    def fail(self, error: dict[str, Any]) -> bytes:
        """The run failed; *error* is an object of OpenAI's shape."""
        parts = [self.begin()]
        self._close(parts, "incomplete")
        self.response = failed(self.response, self._output, error)
        return self._last(parts)

    def cancel(self) -> bytes:
        """The caller has stopped it."""
        parts = [self.begin()]
        self._close(parts, "incomplete")
        self.response = cancelled(self.response, self._output)
        return self._last(parts)

    def _last(self, parts: list[bytes]) -> bytes:
        if not self._is_streamed:
            return b""
        parts += (closing(self._frames, self.response), DONE)
        return b"".join(parts)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return self._frames.event(kind, **fields) if self._is_streamed else b""

    # -- what the run says ------------------------------------------------------------------------------------

    def _chunk(self, chunk: Chunk, parts: list[bytes], *, is_callers: bool = False) -> None:
        if chunk.reasoning:
            self._reasoning(chunk.reasoning, parts)
        if chunk.text:
            self._text([chunk.text], parts)
        self._show(self._ending.note(chunk, is_callers=is_callers), parts)

    def _other(self, event: Event, parts: list[bytes]) -> None:
        if isinstance(event, UserEvent):
            # An event that the API sends to say nothing, so that every client passes it over: OpenAI's for Node
            # raises at types that it does not know. Clients that know of ours look for the extra key.
            about = {"type": event.type, "data": event.data}
            parts.append(self._event("keepalive", event=about))
        elif isinstance(event, Usage):
            self._ending.note_usage(event)
        elif isinstance(event, Completion):
            chunk, more = chunk_of_completion(event.data)
            self._chunk(chunk, parts, is_callers=True)
            if isinstance(more.get("refusal"), str):
                self._refusal(more["refusal"], parts)
            if isinstance(more.get("annotations"), list):
                self._annotations(more["annotations"], parts)
        elif isinstance(event, (Data, Result)):
            self._data(event.json, parts)

    def _data(self, text: bytes, parts: list[bytes]) -> None:
        """A hook's value that is no text: a whole response, output items, or else its JSON as text."""
        value = msgspec.json.decode(text) if text[:1] in b"{[" else None
        if isinstance(value, dict) and value.get("object") == "response" and isinstance(value.get("output"), list):
            self._made = value
            items = value["output"]
        else:
            items = value.get("output") if isinstance(value, dict) and set(value) == {"output"} else value
            items = items if isinstance(items, list) else [items]
            if not items or not all(isinstance(item, dict) and item.get("type") in _ITEMS for item in items):
                self._text([text.decode()], parts)
                return
        for item in items:
            if isinstance(item, dict):
                self._item(without_nulls(item), parts)

    def _item(self, item: dict[str, Any], parts: list[bytes]) -> None:
        """An output item that the hook made itself, with what it lacks."""
        self._close_open(parts)
        item = {"id": new_id(str(item.get("type"))), **item}
        if item.get("type") == "message":
            content = item.get("content")
            texts = [{"type": "output_text", "text": content}] if isinstance(content, str) else content or []
            full = [{"annotations": [], "logprobs": [], **part} if _is_text(part) else part for part in texts]
            item = {"role": "assistant", "status": "completed", **item, "content": full}
        elif item.get("type") == "function_call":
            arguments = item.get("arguments")
            if not isinstance(arguments, str):
                arguments = json.dumps(arguments or {}, ensure_ascii=False)
            item = {"call_id": new_id("call"), "status": "completed", "name": "", **item, "arguments": arguments}
        elif item.get("type") == "reasoning":
            item = {"summary": [], **item}
        place = len(self._output)
        self._output.append(item)
        if self._is_streamed:
            parts += item_events(self._frames, place, item)

    # -- output items under way -------------------------------------------------------------------------------

    def _message(self, parts: list[bytes]) -> "_Message":
        if isinstance(self._open, _Message):
            return self._open
        self._close_open(parts)
        message = self._open = _Message(len(self._output))
        self._output.append(message.item)
        added = {**message.item, "content": []}
        parts.append(self._event("response.output_item.added", output_index=message.place, item=added))
        return message

    def _text(self, texts: list[str], parts: list[bytes]) -> None:
        if not any(texts):
            return
        message = self._message(parts)
        if message.texts is None:
            message.texts = []
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            message.item["content"].append(part)
            parts.append(self._event("response.content_part.added", **message.about, part=part))
        message.texts += texts
        if self._is_streamed:
            about = message.about
            parts.append(self._frames.texts(message.item["id"], message.place, about["content_index"], texts))

    def _refusal(self, text: str, parts: list[bytes]) -> None:
        message = self._message(parts)
        self._close_text(message, parts)
        part = {"type": "refusal", "refusal": text}
        message.item["content"].append(part)
        if self._is_streamed:
            parts += part_events(self._frames, message.about, part)

    def _annotations(self, given: list[Any], parts: list[bytes]) -> None:
        """Citations that a chat completion carries; in this API they are flat."""
        message = self._message(parts)
        if message.texts is None:
            return
        flat = [{"type": "url_citation", **one["url_citation"]} for one in given if "url_citation" in one]
        message.item["content"][-1]["annotations"] += flat
        if self._is_streamed:
            parts += annotation_events(self._frames, message.about, flat)

    def _reasoning(self, text: str, parts: list[bytes]) -> None:
        if not isinstance(self._open, _Reasoning):
            self._close_open(parts)
            begun = self._open = _Reasoning(len(self._output))
            self._output.append(begun.item)
            parts.append(self._event("response.output_item.added", output_index=begun.place, item=begun.item))
            part = {"type": "summary_text", "text": ""}
            parts.append(self._event("response.reasoning_summary_part.added", **begun.about, part=part))
        reasoning = self._open
        assert isinstance(reasoning, _Reasoning)
        reasoning.texts.append(text)
        parts.append(self._event("response.reasoning_summary_text.delta", **reasoning.about, delta=text))

    def _show(self, deltas: Iterable[ToolCallDelta], parts: list[bytes]) -> None:
        """Tool calls that are the caller's to make. They stay open to the end: pieces of several may alternate."""
        for delta in deltas:
            call = self._calls.get(delta.index)
            if call is None:
                self._close_open(parts)
                call = self._calls[delta.index] = _Call(len(self._output), delta.id or new_id("call"))
                self._output.append(call.item)
            if delta.name and not call.item["name"]:
                call.item |= self._namespaced.get(delta.name, {"name": delta.name})
            call.pieces.append(delta.arguments)
            if not call.is_shown and call.item["name"]:
                call.is_shown = True
                parts.append(self._event("response.output_item.added", output_index=call.place, item=call.item))
                self._arguments(call, "".join(call.pieces), parts)
            elif call.is_shown:
                self._arguments(call, delta.arguments, parts)

    def _arguments(self, call: "_Call", delta: str, parts: list[bytes]) -> None:
        if delta:
            parts.append(self._event("response.function_call_arguments.delta", **call.about, delta=delta))

    def _close(self, parts: list[bytes], status: str) -> None:
        """Close everything; what was under way gets *status*."""
        self._close_open(parts, status)
        for call in self._calls.values():
            item = call.item
            item["arguments"] = "".join(call.pieces)
            item["status"] = status
            if self._is_streamed:
                if not call.is_shown:
                    added = {**item, "arguments": "", "status": "in_progress"}
                    parts.append(self._event("response.output_item.added", output_index=call.place, item=added))
                    self._arguments(call, item["arguments"], parts)
                parts.append(arguments_done(self._frames, call.about, item))
                parts.append(self._event("response.output_item.done", output_index=call.place, item=item))

    def _close_open(self, parts: list[bytes], status: str = "completed") -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        if isinstance(opened, _Message):
            self._close_text(opened, parts)
        else:
            text = "".join(opened.texts)
            opened.item["summary"] = [{"type": "summary_text", "text": text}]
            if self._is_streamed:
                parts += summary_done(self._frames, opened.about, text)
        opened.item["status"] = status
        parts.append(self._event("response.output_item.done", output_index=opened.place, item=opened.item))

    def _close_text(self, message: "_Message", parts: list[bytes]) -> None:
        if message.texts is None:
            return
        part = message.item["content"][-1]
        part["text"] = "".join(message.texts)
        about, message.texts = message.about, None
        if self._is_streamed:
            parts += text_done(self._frames, about, part)


class _Message:
    """A message that is being said."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.item: dict[str, Any] = {
            "id": new_id("message"), "type": "message", "status": "in_progress", "role": "assistant", "content": [],
        }  # fmt: skip
        self.texts: list[str] | None = None  # of its last part, while that is open

    @property
    def about(self) -> dict[str, Any]:
        index = max(0, len(self.item["content"]) - 1)
        return {"item_id": self.item["id"], "output_index": self.place, "content_index": index}


class _Reasoning:
    """Reasoning that is being said."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.item: dict[str, Any] = {
            "id": new_id("reasoning"), "type": "reasoning", "status": "in_progress", "summary": [],
        }  # fmt: skip
        self.texts: list[str] = []
        self.about = {"item_id": self.item["id"], "output_index": place, "summary_index": 0}


class _Call:
    """A function call that is being made."""

    def __init__(self, place: int, call_id: str) -> None:
        self.place = place
        self.item: dict[str, Any] = {
            "id": new_id("function_call"), "type": "function_call", "status": "in_progress", "call_id": call_id,
            "name": "", "arguments": "",
        }  # fmt: skip
        self.pieces: list[str] = []
        self.is_shown = False  # once its name is known
        self.about = {"item_id": self.item["id"], "output_index": place}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "output_text"
