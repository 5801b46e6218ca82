"""What the document says of models and chat completions."""

from typing import Any

from hayhooks.server.openapi.words import (
    ANYTHING,
    OPENAI_ERROR,
    STRING,
    events_header,
    json_answer,
    json_body,
    name_parameter,
    object_of,
    operation,
    ref,
)

SCHEMAS: dict[str, Any] = {
    "OpenAIError": object_of(
        ["error"],
        error=object_of(
            ["message", "type", "code", "param"],
            message=STRING,
            type=STRING,
            code={"type": ["string", "null"]},
            param={"type": ["string", "null"]},
        ),
    ),
    "ModelObject": object_of(
        ["id", "object", "created", "owned_by"],
        id=STRING,
        object={"const": "model"},
        created={"type": "integer"},
        owned_by=STRING,
        name=STRING,
    ),
    "ModelsResponse": object_of(
        ["object", "data"], object={"const": "list"}, data={"type": "array", "items": ref("ModelObject")}
    ),
    "ChatMessage": {
        **object_of(["role"], role=STRING, content=ANYTHING),
        "additionalProperties": True,
    },
    "ChatRequest": {
        **object_of(
            ["model", "messages"],
            model={**STRING, "minLength": 1, "description": "Name of a deployment with a chat hook."},
            messages={"type": "array", "minItems": 1, "items": ref("ChatMessage")},
            stream={"type": ["boolean", "null"], "default": False},
            stream_options={"type": ["object", "null"]},
        ),
        "additionalProperties": True,
    },
    "ChatCompletion": {
        **object_of(
            ["id", "object", "created", "model", "choices"],
            id=STRING,
            object=STRING,
            created={"type": "integer"},
            model=STRING,
            choices={"type": "array", "items": {"type": "object"}},
            usage={"type": "object"},
        ),
        "additionalProperties": True,
    },
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    chat_ok = {
        "description": "A chat completion, or with `stream` its chunks as server-sent events",
        "content": {
            "application/json": {"schema": ref("ChatCompletion")},
            "text/event-stream": {},
        },
    }
    found: dict[str, dict[str, Any]] = {}
    for prefix, suffix in (("/v1", ""), ("", "_alias")):
        found[f"{prefix}/models"] = {
            "get": operation(
                f"openai_models{suffix}",
                "openai",
                "List models",
                json_answer(ref("ModelsResponse")),
                OPENAI_ERROR,
                description="List models; with the header `anthropic-version`, in Anthropic's form.",
            )
        }
        found[f"{prefix}/models/{{model}}"] = {
            "get": operation(
                f"openai_model{suffix}",
                "openai",
                "Get a model",
                json_answer(ref("ModelObject")),
                OPENAI_ERROR,
                parameters=name_parameter("model"),
            )
        }
        found[f"{prefix}/chat/completions"] = {
            "post": operation(
                f"openai_chat_completions{suffix}",
                "openai",
                "Create a chat completion",
                chat_ok,
                OPENAI_ERROR,
                parameters=events_header(),
                requestBody=json_body(ref("ChatRequest")),
            )
        }
    return found
