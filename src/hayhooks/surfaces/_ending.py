"""How a run ended, in the API's words: finish reason, usage, and the tool calls that are the caller's to make."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from hayhooks.core.events import Chunk, ToolCallDelta, Usage

_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
# What model servers say that do not speak the API's words.
_OTHER_REASONS = {
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
}


class Ending:
    """Gathers on the way what is said at the end."""

    def __init__(self, *, runs_own_tools: bool) -> None:
        self._runs_own_tools = runs_own_tools
        self._reason: str | None = None
        self._usages: list[Usage] = []
        self._turns: list[Usage] = []  # what chunks reported, one for each model call
        self._is_turn_over = True
        self._has_turn = False  # whether the turn that goes on has reported usage
        self._held: list[ToolCallDelta] = []  # tool calls that the pipeline may yet answer itself
        self._open: dict[int, tuple[int, str | None]] = {}  # number and id of the latest call of each index
        self._shown = 0  # calls that the caller has seen

    @property
    def has_tool_calls(self) -> bool:
        """Whether the caller is asked to make tool calls."""
        return self._shown > 0

    def note_text(self) -> None:
        """The model has said something."""
        if self._is_turn_over:
            self._begin_turn()

    def note(self, chunk: Chunk, *, is_callers: bool = False) -> list[ToolCallDelta]:
        """Take note of *chunk* and return the tool call deltas that the caller may see now.

        *is_callers* says that its tool calls are surely the caller's to make.
        """
        if self._is_turn_over and (chunk.text or chunk.reasoning or chunk.tool_calls):
            self._begin_turn()
        if chunk.usage is not None:
            self._note_turn(chunk.usage)
        if chunk.finish_reason is not None and chunk.finish_reason != "tool_call_results":
            self._reason = str(chunk.finish_reason)
            self._is_turn_over = True
        if chunk.tool_result is not None:
            # The pipeline runs its tools: a client that saw the calls would make them again, for ever.
            self._held.clear()
            self._reason = None
        if not chunk.tool_calls:
            return []
        if self._runs_own_tools and not is_callers:
            self._held.extend(chunk.tool_calls)
            return []
        return self._show(chunk.tool_calls)

    def note_usage(self, usage: Usage) -> None:
        """The runner's own sum over all generators; it counts more than what chunks carried."""
        self._usages.append(usage)

    def release(self) -> list[ToolCallDelta]:
        """At the end: the tool calls that nobody answered are the caller's to make."""
        held, self._held = self._held, []
        return self._show(held)

    @property
    def reported_reason(self) -> str | None:
        """Why the last model call ended, in its own words."""
        return self._reason

    @property
    def finish_reason(self) -> str:
        """Why the run ended."""
        reason = self._reason or "stop"
        reason = reason if reason in _REASONS else _OTHER_REASONS.get(reason.lower(), "stop")
        if self.has_tool_calls:
            return "tool_calls" if reason == "stop" else reason
        return "stop" if reason == "tool_calls" else reason

    @property
    def usage(self) -> dict[str, Any] | None:
        """Token counts, or None when no generator reported any."""
        usages = self._usages or self._turns
        return _total(usages) if usages else None

    def _show(self, deltas: Iterable[ToolCallDelta]) -> list[ToolCallDelta]:
        """*deltas* as the caller gets them: calls numbered from 0, each with an id, one delta for each call.

        Generators count from other numbers, and each from its own; clients join what has the same number.
        """
        shown: dict[int, ToolCallDelta] = {}
        for delta in deltas:
            known = self._open.get(delta.index)
            if known is None or (delta.id and known[1] and delta.id != known[1]):
                known = self._open[delta.index] = (self._shown, delta.id or None)
                self._shown += 1
                delta_id = delta.id or f"call_{uuid.uuid4().hex[:24]}"
                shown[known[0]] = ToolCallDelta(known[0], delta_id, delta.name, delta.arguments)
                continue
            number = known[0]
            earlier = shown.get(number, ToolCallDelta(number))
            shown[number] = ToolCallDelta(
                number, earlier.id, earlier.name or delta.name, earlier.arguments + delta.arguments
            )
        return list(shown.values())

    def _begin_turn(self) -> None:
        self._is_turn_over = False
        self._has_turn = False

    def _note_turn(self, usage: Usage) -> None:
        """Within a turn model servers report the same tokens again, or more of them, or one kind after the other."""
        if not self._has_turn:
            self._turns.append(usage)
            self._has_turn = True
            return
        last = self._turns[-1]
        prompt = max(last.prompt_tokens, usage.prompt_tokens)
        completion = max(last.completion_tokens, usage.completion_tokens)
        total = max(last.total_tokens, usage.total_tokens, prompt + completion)
        self._turns[-1] = Usage(prompt, completion, total, usage.details or last.details)


def _total(usages: Sequence[Usage]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for usage in usages:
        for name, counts in usage.details.items():
            known = details.setdefault(name, {})
            for key, count in counts.items():
                known[key] = known.get(key, 0) + count
    return {
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        "total_tokens": sum(usage.total_tokens for usage in usages),
        **details,
    }
