"""Haystack's values as events of a run."""

import json
from collections.abc import Iterable
from typing import Any, TypeGuard

from haystack.dataclasses import ChatMessage, StreamingChunk

from hayhooks.core.events import Chunk, ToolCallDelta, ToolResult, Usage

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
# Anthropic, Cohere and others name their counts so.
_OTHER_NAMES = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}


def is_streaming_chunk(value: object) -> TypeGuard[StreamingChunk]:
    """Whether *value* is Haystack's StreamingChunk."""
    return isinstance(value, StreamingChunk)


def is_chat_message(value: object) -> bool:
    """Whether *value* is Haystack's ChatMessage."""
    return isinstance(value, ChatMessage)


def plain_text(chunk: StreamingChunk) -> str | None:
    """The text of a chunk that says nothing else, as most do; None when there is more to it."""
    if chunk.tool_calls or chunk.tool_call_result or chunk.reasoning or chunk.finish_reason:
        return None
    meta = chunk.meta
    if meta and (meta.get("usage") or meta.get("finish_reason")):
        return None
    return chunk.content or ""


def chunk_of(chunk: StreamingChunk) -> Chunk:
    """A StreamingChunk as an event."""
    meta = chunk.meta
    usage = meta.get("usage") if meta else None
    calls = chunk.tool_calls
    result = chunk.tool_call_result
    return Chunk(
        text=chunk.content or "",
        reasoning=chunk.reasoning.reasoning_text if chunk.reasoning else "",
        tool_calls=tuple(ToolCallDelta(call.index, call.id, call.tool_name, call.arguments or "") for call in calls)
        if calls
        else (),
        tool_result=ToolResult(
            result.origin.tool_name, result.origin.id, result_text(result.result), bool(result.error)
        )
        if result
        else None,
        finish_reason=chunk.finish_reason or (meta.get("finish_reason") if meta else None),
        usage=usage_of([usage]) if isinstance(usage, dict) else None,
    )


def chunks_of_message(message: ChatMessage) -> list[Chunk]:
    """A whole ChatMessage as events: reasoning, text, tool calls, then how it ended."""
    chunks = []
    reasoning = message.reasoning
    if reasoning and reasoning.reasoning_text:
        chunks.append(Chunk(reasoning=reasoning.reasoning_text))
    if message.text:
        chunks.append(Chunk(text=message.text))
    if message.tool_calls:
        chunks.append(
            Chunk(
                tool_calls=tuple(
                    ToolCallDelta(index, call.id, call.tool_name, json.dumps(call.arguments, ensure_ascii=False))
                    for index, call in enumerate(message.tool_calls)
                )
            )
        )
    meta = message.meta
    usage = usage_of([meta["usage"]]) if isinstance(meta.get("usage"), dict) and meta["usage"] else None
    finish = meta.get("finish_reason") or ("tool_calls" if message.tool_calls else "stop" if usage else None)
    if finish or usage:
        chunks.append(Chunk(finish_reason=finish, usage=usage))
    return chunks


def result_text(result: Any) -> str:
    """A tool's result as text: content parts are joined, data is JSON."""
    if isinstance(result, str):
        return result
    if isinstance(result, (list, tuple)):
        return "".join(getattr(part, "text", None) or str(part) for part in result)
    return str(result)


def usage_of(reports: Iterable[dict[str, Any]]) -> Usage | None:
    """The sum of what generators reported, or None when nothing countable was."""
    totals = dict.fromkeys(_COUNTS, 0)
    details: dict[str, Any] = {}
    found = False
    for report in reports:
        counts = {name: _count(report, name) for name in _COUNTS}
        if all(value is None for value in counts.values()):
            continue
        found = True
        prompt, completion = counts["prompt_tokens"] or 0, counts["completion_tokens"] or 0
        totals["prompt_tokens"] += prompt
        totals["completion_tokens"] += completion
        totals["total_tokens"] += counts["total_tokens"] or prompt + completion
        for name in ("prompt_tokens_details", "completion_tokens_details"):
            for key, value in (report.get(name) or {}).items():
                if isinstance(value, int):
                    details.setdefault(name, {})
                    details[name][key] = details[name].get(key, 0) + value
    return Usage(**totals, details=details) if found else None


def _count(report: dict[str, Any], name: str) -> int | None:
    value = report.get(name)
    if value is None and name in _OTHER_NAMES:
        value = report.get(_OTHER_NAMES[name])
    return value if isinstance(value, int) and not isinstance(value, bool) else None
