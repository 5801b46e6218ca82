"""What the document says of embeddings."""

from typing import Any

from hayhooks.server.openapi.words import (
    INTEGER,
    OPENAI_ERROR,
    STRING,
    TEXT,
    json_answer,
    json_body,
    object_of,
    operation,
    ref,
)

SCHEMAS: dict[str, Any] = {
    "EmbeddingsRequest": {
        **object_of(
            ["model", "input"],
            model={**STRING, "minLength": 1, "description": "Name of a deployment with an embedding hook."},
            input={
                "description": "A text, texts, a list of tokens, or lists of tokens.",
                "anyOf": [
                    TEXT,
                    {"type": "array", "minItems": 1, "items": TEXT},
                    {"type": "array", "minItems": 1, "items": INTEGER},
                    {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 1, "items": INTEGER}},
                ],
            },
            encoding_format={"enum": ["float", "base64", None], "default": "float"},
            dimensions={"type": ["integer", "null"], "minimum": 1},
            user={"type": ["string", "null"]},
        ),
        "additionalProperties": True,
    },
    "EmbeddingsResponse": object_of(
        ["object", "data", "model", "usage"],
        object={"const": "list"},
        data={
            "type": "array",
            "items": object_of(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index=INTEGER,
                embedding={"anyOf": [{"type": "array", "items": {"type": "number"}}, STRING]},
            ),
        },
        model=STRING,
        usage=object_of(["prompt_tokens", "total_tokens"], prompt_tokens=INTEGER, total_tokens=INTEGER),
    ),
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    found: dict[str, dict[str, Any]] = {}
    for prefix, suffix in (("/v1", ""), ("", "_alias")):
        found[f"{prefix}/embeddings"] = {
            "post": operation(
                f"openai_embeddings{suffix}",
                "openai",
                "Create embeddings",
                json_answer(ref("EmbeddingsResponse")),
                OPENAI_ERROR,
                requestBody=json_body(ref("EmbeddingsRequest")),
            )
        }
    return found
