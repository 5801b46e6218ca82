"""What the document says of API keys."""

from typing import Any

from hayhooks.server.openapi.words import (
    ERROR,
    STRING,
    json_answer,
    json_body,
    name_parameter,
    object_of,
    operation,
    ref,
)

_COUNT = {"type": ["integer", "null"], "minimum": 1}
_TIME = {"type": ["integer", "null"], "description": "Unix time."}
_SCOPES = {"type": "array", "items": STRING, "minItems": 1, "maxItems": 100}

SCHEMAS: dict[str, Any] = {
    "CreateKeyRequest": object_of(
        ["name", "scopes"],
        name={"type": "string", "minLength": 1, "maxLength": 64},
        scopes={**_SCOPES, "description": "Such as run, run:rag-*, read, deploy or admin."},
        expires_in_s={"type": ["number", "null"], "exclusiveMinimum": 0},
        expires_at={"type": ["number", "null"], "description": "Unix time, instead of expires_in_s."},
        requests_per_minute={**_COUNT, "maximum": 100_000},
        max_concurrent_runs={**_COUNT, "maximum": 1_000_000},
    ),
    "APIKey": object_of(
        ["id", "name", "state", "scopes", "created_at"],
        id=STRING,
        name=STRING,
        state={"enum": ["active", "expired", "revoked"]},
        scopes={"type": "array", "items": STRING},
        requests_per_minute=_COUNT,
        max_concurrent_runs=_COUNT,
        created_at={"type": "integer", "description": "Unix time."},
        created_by=STRING,
        expires_at=_TIME,
        revoked_at=_TIME,
    ),
    "CreatedKey": {
        "allOf": [
            ref("APIKey"),
            object_of(["key"], key={**STRING, "description": "What its holder sends. It is not shown again."}),
        ]
    },
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    listed = json_answer({"type": "array", "items": ref("APIKey")})
    return {
        "/keys": {
            "get": operation(
                "keys_list", "keys", "List API keys", listed, ERROR,
                description="Lists API keys, also revoked and expired ones, without the keys themselves.",
            ),
            "post": operation(
                "key_create", "keys", "Make an API key", json_answer(ref("CreatedKey")), ERROR,
                description="Makes an API key. Only this answer ever shows the key itself.",
                requestBody=json_body(ref("CreateKeyRequest")),
            ),
        },
        "/keys/{key_id}": {
            "delete": operation(
                "key_revoke", "keys", "Revoke an API key", json_answer(ref("APIKey")), ERROR,
                description="Revokes an API key, for good; it stays in the list.",
                parameters=name_parameter("key_id"),
            )
        },
    }  # fmt: skip
