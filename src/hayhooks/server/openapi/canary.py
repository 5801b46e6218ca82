"""What the document says of canaries."""

from typing import Any

from hayhooks.server.openapi.words import (
    BOOLEAN,
    ERROR,
    INTEGER,
    STRING,
    json_answer,
    json_body,
    name_parameter,
    object_of,
    operation,
    ref,
)

PERCENT = {**INTEGER, "minimum": 1, "maximum": 99}
_ERROR_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}
_RUNS = {**INTEGER, "minimum": 1, "maximum": 1_000_000}
_COUNTS = {"runs": INTEGER, "failures": INTEGER, "stable_runs": INTEGER, "stable_failures": INTEGER}

# Of a deploy.
FIELDS: dict[str, Any] = {
    "canary": {**PERCENT, "description": "Do not replace what is live: give the new version this share of the runs."},
    "max_error_percent": {**_ERROR_PERCENT, "default": 10, "description": "Of a canary: abort it beyond."},
    "min_runs": {**_RUNS, "default": 20, "description": "Of a canary: runs before it is judged."},
}
SHORT: dict[str, Any] = {
    "anyOf": [object_of(["version", "percent"], version=STRING, percent=INTEGER), {"type": "null"}]
}

SCHEMAS: dict[str, Any] = {
    "CanaryOutcome": object_of(
        ["state", "version", "reason"],
        state={"enum": ["promoted", "aborted", "replaced"]},
        version=STRING,
        reason=STRING,
        is_automatic={**BOOLEAN, "description": "Whether the server ended it by itself."},
        began_at=INTEGER,
        ended_at=INTEGER,
        by=STRING,
        **_COUNTS,
    ),
    "CanaryEnded": {"allOf": [object_of(["name"], name=STRING), ref("CanaryOutcome")]},
    "Canary": object_of(
        ["name", "state", "last_outcome"],
        name=STRING,
        state={"enum": ["running", "aborting", "none"]},
        version=STRING,
        stable_version=STRING,
        percent=INTEGER,
        max_error_percent={"type": "number"},
        min_runs=INTEGER,
        began_at=INTEGER,
        by=STRING,
        error_percent={"type": "number"},
        stable_error_percent={"type": "number"},
        last_outcome={"anyOf": [ref("CanaryOutcome"), {"type": "null"}]},
        **_COUNTS,
    ),
    "CanaryChange": {
        **object_of(percent=PERCENT, max_error_percent=_ERROR_PERCENT, min_runs=_RUNS),
        "minProperties": 1,
    },
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    name = name_parameter()
    shown, ended = json_answer(ref("Canary")), json_answer(ref("CanaryEnded"))
    return {
        "/canary/{pipeline_name}": {
            "get": operation(
                "canary_get", "status", "Show a deployment's canary, its counts and its share", shown, ERROR,
                parameters=name,
            ),
            "post": operation(
                "canary_change", "config", "Give a canary another share of the runs, or other thresholds", shown, ERROR,
                parameters=name, requestBody=json_body(ref("CanaryChange")),
            ),
        },
        "/canary/{pipeline_name}/promote": {
            "post": operation(
                "canary_promote", "config", "Make a canary the live version", ended, ERROR, parameters=name
            )
        },
        "/canary/{pipeline_name}/abort": {
            "post": operation("canary_abort", "config", "Give a canary no more runs", ended, ERROR, parameters=name)
        },
    }  # fmt: skip
