"""The callbacks of a stream: what tool calls, reasoning and the end of the run add to it."""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from haystack.dataclasses import StreamingChunk
from haystack.dataclasses.chat_message import ToolCallResult
from haystack.dataclasses.streaming_chunk import ToolCallDelta
from loguru import logger

from hayhooks.core.haystack.convert import result_text
from hayhooks.events import PipelineEvent

StreamItem = StreamingChunk | PipelineEvent | str | dict[str, Any]
HookResult = PipelineEvent | str | dict[str, Any] | list[Any] | None

OnToolCallStart = Callable[[str, dict[str, Any], str | None], HookResult]
OnToolCallEnd = Callable[[str, dict[str, Any], str, bool], HookResult]
OnReasoning = Callable[[str, dict[str, Any] | None], HookResult]
OnPipelineEnd = Callable[[Any], HookResult]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The user's callbacks. What one raises is logged; the run goes on."""

    on_tool_call_start: OnToolCallStart | None = None
    on_tool_call_end: OnToolCallEnd | None = None
    on_reasoning: OnReasoning | None = None
    on_pipeline_end: OnPipelineEnd | None = None

    @property
    def read_chunks(self) -> bool:
        """Whether any of them looks at chunks."""
        return bool(self.on_tool_call_start or self.on_tool_call_end or self.on_reasoning)

    def end_items(self, result: Any) -> list[StreamItem]:
        """What ``on_pipeline_end`` appends: its text as a last chunk."""
        items = _call(self.on_pipeline_end, result)
        return [StreamingChunk(content=item) if isinstance(item, str) else item for item in items]


@dataclass(slots=True)
class _PendingCall:
    """A tool call whose pieces are still coming in."""

    name: str = ""
    id: str | None = None
    arguments: str = ""
    told: bool = False


@dataclass(slots=True)
class _Told:
    """The calls whose start was told, until their result comes."""

    ids: set[str] = field(default_factory=set)
    names: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, call_id: str | None) -> None:
        self.names[name] += 1
        if call_id:
            self.ids.add(call_id)

    def take(self, name: str, call_id: str | None) -> bool:
        """Whether the call was told of; it is forgotten then."""
        known = call_id in self.ids or self.names[name] > 0
        self.ids.discard(call_id or "")
        if self.names[name] > 0:
            self.names[name] -= 1
        return known


class ChunkReader:
    """Turns the chunks of one run into items, with what the hooks say about each just before it.

    Not thread-safe: a run with several producing threads holds a lock around ``read``.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        # By component and by the call's index: components may stream at the same time.
        self._pending: dict[tuple[str, int], _PendingCall] = {}
        self._told = _Told()

    def read(self, component: str, chunk: StreamingChunk) -> list[StreamItem]:
        """The items for *chunk*, the chunk itself last."""
        items: list[StreamItem] = []
        if chunk.reasoning:
            items += _call(self._hooks.on_reasoning, chunk.reasoning.reasoning_text, chunk.reasoning.extra)
        for delta in chunk.tool_calls or ():
            items += self._add(component, delta)
        if chunk.tool_call_result:
            items += self._end(chunk.tool_call_result)
        elif chunk.finish_reason:
            items += self._flush(component)
        items.append(chunk)
        return items

    def finish(self) -> list[StreamItem]:
        """What is left to say when the run has ended: starts of calls that no boundary followed."""
        return [item for name in dict.fromkeys(key[0] for key in self._pending) for item in self._flush(name)]

    def _add(self, component: str, delta: ToolCallDelta) -> list[StreamItem]:
        key = (component, delta.index)
        call = self._pending.get(key)
        items: list[StreamItem] = []
        if call is not None and delta.id and call.id and delta.id != call.id:
            items = self._start(call)  # an agent's next step counts its calls from 0 again
            call = None
        if call is None:
            call = self._pending[key] = _PendingCall()
        call.name += delta.tool_name or ""
        call.id = call.id or delta.id
        call.arguments += delta.arguments or ""
        # A complete JSON object ends in a brace and cannot be continued: only then is it worth parsing.
        if call.arguments.rstrip().endswith("}") and _arguments(call.arguments) is not None:
            items += self._start(call)
        return items

    def _start(self, call: _PendingCall) -> list[StreamItem]:
        if call.told or not call.name:
            return []
        arguments = _arguments(call.arguments)
        if arguments is None:
            # Haystack drops such a call too, so nothing would ever end it.
            logger.warning("The arguments of a call to tool {!r} are no JSON object; the call is left out.", call.name)
            return []
        call.told = True
        self._told.add(call.name, call.id)
        return _call(self._hooks.on_tool_call_start, call.name, arguments, call.id or None)

    def _flush(self, component: str) -> list[StreamItem]:
        items: list[StreamItem] = []
        for key in [key for key in self._pending if key[0] == component]:
            items += self._start(self._pending.pop(key))
        return items

    def _end(self, result: ToolCallResult) -> list[StreamItem]:
        items: list[StreamItem] = []
        # A call without arguments is complete now; one whose JSON has only begun belongs to another component.
        for key, call in list(self._pending.items()):
            if call.told or _arguments(call.arguments) is not None:
                items += self._start(self._pending.pop(key))
        call_made = result.origin
        if not self._told.take(call_made.tool_name, call_made.id):
            # The model did not stream its call: its start is told now, so that every end has one.
            items += _call(
                self._hooks.on_tool_call_start, call_made.tool_name, call_made.arguments, call_made.id or None
            )
        items += _call(
            self._hooks.on_tool_call_end,
            call_made.tool_name,
            call_made.arguments,
            result_text(result.result),
            bool(result.error),
        )
        return items


def _arguments(text: str) -> dict[str, Any] | None:
    """The arguments that *text* says, none for an empty one, or None when it is no complete JSON object."""
    if not text.strip():
        return {}
    try:
        arguments = json.loads(text)
    except ValueError:
        return None
    return {} if arguments is None else arguments if isinstance(arguments, dict) else None


def _call(hook: Callable[..., HookResult] | None, *args: Any) -> list[StreamItem]:
    """What *hook* returns, as a list; nothing when it fails."""
    if hook is None:
        return []
    try:
        return list(_items(hook(*args)))
    except Exception:  # the user's code: its fault must not end the user's run
        logger.exception("The callback {} failed.", getattr(hook, "__qualname__", repr(hook)))
        return []


def _items(value: Any) -> Iterator[StreamItem]:
    if value is None or value == "":
        return
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _items(inner)
    elif isinstance(value, (str, dict, PipelineEvent, StreamingChunk)):
        yield value
    else:
        if inspect.iscoroutine(value):
            value.close()
        logger.warning("A callback returned {}; it is left out.", type(value).__name__)
