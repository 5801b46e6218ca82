"""What the document says of Anthropic's messages: their requests are described by the types that they are read with."""

from functools import cache
from typing import Any

import msgspec

from hayhooks.surfaces.anthropic.requests import CountRequest, MessagesRequest

_TEMPLATE = "#/components/schemas/Anthropic{name}"
_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _TEMPLATE.format(name=name)}


@cache
def schemas() -> dict[str, Any]:
    """The schemas by name, each beginning with ``Anthropic``."""
    _, requests = msgspec.json.schema_components((MessagesRequest, CountRequest), ref_template=_TEMPLATE)
    return {f"Anthropic{name}": schema for name, schema in {**requests, **_ANSWERS}.items()}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    found: dict[str, dict[str, Any]] = {}
    for prefix, suffix in (("/v1", ""), ("", "_alias")):
        message = _operation(
            f"anthropic_messages{suffix}",
            "Create a message",
            "Create a message, in Anthropic's form.",
            "MessagesRequest",
            {
                "description": "A message, or with `stream` its server-sent events",
                "content": {"application/json": {"schema": _ref("Answer")}, "text/event-stream": {}},
            },
        )
        tokens = _operation(
            f"anthropic_count_tokens{suffix}",
            "Estimate tokens",
            "Estimate how many input tokens a message would take.",
            "CountRequest",
            {"description": "The estimate", "content": {"application/json": {"schema": _ref("TokenCount")}}},
        )
        found |= {f"{prefix}/messages": {"post": message}, f"{prefix}/messages/count_tokens": {"post": tokens}}
    return found


def _operation(operation_id: str, summary: str, description: str, request: str, ok: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": _ref("Error")}}
    return {
        "operationId": operation_id,
        "tags": ["anthropic"],
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {"200": ok, "default": {"description": "What went wrong, in Anthropic's shape", "content": error}},
    }


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_ANSWERS = {
    "Answer": _object(
        ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"],
        id=_STRING,
        type={"const": "message"},
        role={"const": "assistant"},
        model=_STRING,
        content={
            "type": "array",
            "items": _object(["type"], type={"enum": ["text", "thinking", "tool_use"]}),
        },
        stop_reason={"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]},
        stop_sequence={"type": ["string", "null"]},
        usage=_object(["input_tokens", "output_tokens"], input_tokens=_COUNT, output_tokens=_COUNT),
    ),
    "TokenCount": _object(["input_tokens"], input_tokens={"type": "integer", "minimum": 1}),
    "Error": _object(
        ["type", "error", "request_id"],
        type={"const": "error"},
        error=_object(["type", "message"], type=_STRING, message=_STRING),
        request_id=_STRING,
    ),
}
