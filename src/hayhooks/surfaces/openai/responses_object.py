"""The Response object: every field that clients count on, at each stage of its life.

Source: OpenAI API reference, "The response object"; openai-python, ``types/responses/response.py``.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from hayhooks.core.responses import ENDED

_DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
_OURS = ("id", "model", "store", "background", "previous_response_id", "conversation", "output")
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TOOL: dict[str, Any] = {"description": None, "parameters": None, "strict": None}


def new_response(response_id: str, body: Mapping[str, Any], conversation_id: str | None) -> dict[str, Any]:
    """A response that has just been asked for; what the request said is echoed."""
    echoed = {key: default if body.get(key) is None else body[key] for key, default in _DEFAULTS.items()}
    text = body.get("text") or {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "queued" if body["background"] else "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": body["model"],
        "output": [],
        "background": body["background"],
        "store": body["store"],
        "conversation": None if conversation_id is None else {"id": conversation_id},
        **echoed,
        "reasoning": {**_DEFAULTS["reasoning"], **echoed["reasoning"]},
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tools": [{**_TOOL, **tool} if tool["type"] == "function" else tool for tool in body.get("tools") or ()],
        "usage": None,
    }


def ended(
    response: Mapping[str, Any], output: Sequence[dict[str, Any]], finish_reason: str, usage: dict[str, Any] | None
) -> dict[str, Any]:
    """*response* with its output, and whether that is all of it."""
    reason = _INCOMPLETE.get(finish_reason)
    return {
        **response,
        "status": "completed" if reason is None else "incomplete",
        "completed_at": int(time.time()) if reason is None else None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": list(output),
        "usage": usage_of(usage),
    }


def failed(response: Mapping[str, Any], output: Sequence[dict[str, Any]], error: Mapping[str, Any]) -> dict[str, Any]:
    """*response* with what there was of its output; *error* is an object of OpenAI's shape."""
    return {
        **response,
        "status": "failed",
        "error": {"code": _error_code(error), "message": error["message"]},
        "output": list(output),
    }


def cancelled(response: Mapping[str, Any], output: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """*response*, stopped by its caller."""
    return {**response, "status": "cancelled", "output": list(output)}


def passed_on(response: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """*response* with what a whole response says that the hook made itself.

    Where it was made nobody knows of our ids and chains: those stay ours, as does the output, which is there already.
    """
    said = {key: value for key, value in without_nulls(made).items() if key not in _OURS}
    whole = {**response, "status": "completed", **said}
    if whole["status"] not in ENDED:
        whole["status"] = "completed"
    if whole["status"] == "completed" and whole["completed_at"] is None:
        whole["completed_at"] = int(time.time())
    return whole


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Token counts in the words of this API, from those of chat; None when nothing is known."""
    if usage is None:
        return None
    given = usage.get("prompt_tokens_details") or {}
    made = usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": given.get("cached_tokens") or 0,
            "cache_write_tokens": given.get("cache_write_tokens") or 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }


def without_nulls(value: Any) -> Any:
    """*value* without keys that say nothing: an SDK's object has many that the API itself never sends."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _error_code(error: Mapping[str, Any]) -> str:
    """One of the codes that the API has for responses."""
    kind = error.get("type")
    if kind == "rate_limit_error":
        return "rate_limit_exceeded"
    return "server_error" if kind in (None, "server_error") else "invalid_prompt"
