"""Chat completions, and chunks of them, that a hook made itself or passes on from elsewhere."""

import json
from typing import Any

from hayhooks.core.events import Chunk, ToolCallDelta
from hayhooks.core.haystack.convert import usage_of

# What clients count on in a message of an answer.
EMPTY_MESSAGE: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}

_KNOWN = ("role", "content", "reasoning_content", "tool_calls")


def chunk_of_completion(data: dict[str, Any]) -> tuple[Chunk, dict[str, Any]]:
    """The first choice of a completion or chunk as an event, and what of its message has no place in one.

    A chunk of another choice of the same stream says nothing but its usage.
    """
    choice = first_choice(data)
    message = choice.get("delta") or choice.get("message") or {}
    usage = data.get("usage")
    chunk = Chunk(
        text=_text(message.get("content")),
        reasoning=_text(message.get("reasoning_content")),
        tool_calls=tuple(_call(place, call) for place, call in enumerate(message.get("tool_calls") or ())),
        finish_reason=choice.get("finish_reason"),
        usage=usage_of([usage]) if isinstance(usage, dict) else None,
    )
    return chunk, {key: value for key, value in message.items() if key not in _KNOWN and value is not None}


def first_choice(data: dict[str, Any]) -> dict[str, Any]:
    """The first choice, or an empty one: the last chunk of a stream carries nothing but usage."""
    return next((choice for choice in _choices(data) if not choice.get("index")), {})


def further_choices(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices besides the first, of a request for several, as a stream shows them."""
    further = [choice for choice in _choices(data) if choice.get("index")]
    return [
        {
            "index": choice["index"],
            "delta": _without_nulls(choice.get("delta") or choice.get("message") or {}),
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in further
    ]


def completed(data: dict[str, Any], frame: dict[str, Any], finish_reason: str) -> dict[str, Any]:
    """*data* with everything that clients count on in a chat completion; what it says itself stays."""
    choices = []
    for place, choice in enumerate(data["choices"]):
        message = {**EMPTY_MESSAGE, **(choice.get("message") or {})}
        if message["annotations"] is None:  # as OpenAI's SDK writes what was not there
            message["annotations"] = []
        reason = choice.get("finish_reason") or ("tool_calls" if message.get("tool_calls") else finish_reason)
        choices.append({"index": place, "logprobs": None, **choice, "message": message, "finish_reason": reason})
    return {**frame, **{key: value for key, value in data.items() if value is not None}, "choices": choices}


def _choices(data: dict[str, Any]) -> list[dict[str, Any]]:
    choices = data.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _without_nulls(delta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in delta.items() if value is not None}


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else "" if content is None else str(content)


def _call(place: int, call: dict[str, Any]) -> ToolCallDelta:
    function = call.get("function") or {}
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, default=str)
    index = call.get("index")
    return ToolCallDelta(place if index is None else index, call.get("id"), function.get("name"), arguments)
