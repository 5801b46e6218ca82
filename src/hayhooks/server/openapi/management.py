"""What the document says of statuses and deploying."""

from typing import Any

from hayhooks.server.openapi import canary
from hayhooks.server.openapi.words import (
    BOOLEAN,
    ERROR,
    NAME,
    STRING,
    json_answer,
    json_body,
    name_parameter,
    object_of,
    operation,
    ref,
)

_NULL: dict[str, Any] = {"type": "null"}
_SENTENCES: dict[str, Any] = {"type": "array", "items": STRING}
_DRY_RUN: dict[str, Any] = {**BOOLEAN, "default": False, "description": "Build it, and change nothing."}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_COUNTS: dict[str, Any] = {
    "running": {**_COUNT, "description": "Runs under way."},
    "queued": {**_COUNT, "description": "Runs that wait for a slot."},
    "runs": {**_COUNT, "description": "Runs that have ended since the start."},
    "failed": {**_COUNT, "description": "Those of them that raised."},
}

SCHEMAS: dict[str, Any] = {
    "Error": object_of(
        ["detail", "kind"],
        detail={"description": "What went wrong, for the caller."},
        kind={**STRING, "description": "What sort of error it is, such as invalid, not_found, busy or failed."},
        errors={"type": "array", "items": ref("FieldError")},
        traceback=STRING,
    ),
    "FieldError": object_of(
        ["loc", "msg", "type"],
        loc={"type": "array", "items": {"anyOf": [STRING, {"type": "integer"}]}},
        msg=STRING,
        type=STRING,
    ),
    "DeploymentSummary": object_of(
        ["name", "version"],
        name=STRING,
        type=STRING,
        state=STRING,
        description=STRING,
        version={**STRING, "description": "Hex digest of the deployed files."},
        entries={"type": "array", "items": STRING},
        capabilities={"type": "array", "items": STRING},
        canary=canary.SHORT,
    ),
    "StatusResponse": object_of(
        ["status", "pipelines", "failed", "deployments"],
        status={"const": "Up!"},
        pipelines={"type": "array", "items": STRING},
        failed={"type": "object", "additionalProperties": STRING, "description": "What failed to load, and why."},
        version=STRING,
        deployments={"type": "array", "items": ref("DeploymentSummary")},
        workers=ref("WorkersStatus"),
    ),
    "WorkersStatus": object_of(
        ["count", *_COUNTS],
        count={**_COUNT, "description": "Processes of this server."},
        **_COUNTS,
        each={
            "type": "array",
            "items": object_of(
                ["pid", "started_s", "is_ready", *_COUNTS],
                pid=_COUNT,
                started_s={**_COUNT, "description": "Unix time."},
                is_ready=BOOLEAN,
                **_COUNTS,
            ),
            "description": "Only for those who may manage the server.",
        },
    ),
    "DeploymentDetails": {
        "allOf": [
            ref("DeploymentSummary"),
            object_of(
                request_schema={"type": "object", "description": "JSON Schema of the body that /{name}/run takes."},
                file_fields={"type": "object", "additionalProperties": BOOLEAN},
                streams={"enum": ["text", "sse", None]},
                last_canary={"anyOf": [ref("CanaryOutcome"), {"type": "null"}]},
                versions={
                    "type": "array",
                    "items": ref("DeploymentVersion"),
                    "description": "Newest first; for those who may manage the server.",
                },
                history={"type": "array", "items": ref("DeploymentChange")},
            ),
        ]
    },
    "DeploymentVersion": object_of(
        ["version", "is_live", "kept"],
        version=STRING,
        is_live=BOOLEAN,
        deployed_at={"type": ["number", "null"], "description": "Unix time in seconds at which it last became live."},
        deployed_by={"anyOf": [ref("Author"), _NULL]},
        how={"enum": ["deploy", "rollback", "promote", "reload", "start", None]},
        kept={**BOOLEAN, "description": "Whether it can be rolled back to."},
        files={"anyOf": [object_of(["count", "bytes"], count={"type": "integer"}, bytes={"type": "integer"}), _NULL]},
    ),
    "DeploymentChange": object_of(
        ["version", "at", "by", "how"],
        version={"type": ["string", "null"], "description": "null when it was undeployed."},
        at={"type": "number"},
        by=ref("Author"),
        how={"enum": ["deploy", "rollback", "promote", "undeploy", "reload", "start"]},
    ),
    "Author": object_of(["id", "name"], id=STRING, name=STRING),
    "Live": object_of(["status"], status={"const": "live"}),
    "Readiness": object_of(
        ["status", "reasons"],
        status={"enum": ["ready", "not ready", "starting", "draining"]},
        reasons={"type": "array", "items": STRING, "description": "Why it is not ready."},
        failed={
            "type": "object",
            "additionalProperties": STRING,
            "description": "What failed to load, and why; for those who may manage.",
        },
    ),
    "PipelineStatusResponse": object_of(["status", "pipeline"], status={"const": "Up!"}, pipeline=STRING),
    "PipelineFilesRequest": object_of(
        ["name", "files"],
        name=NAME,
        files={"type": "object", "additionalProperties": STRING, "description": "Relative path: text."},
        overwrite={**BOOLEAN, "default": False},
        save_files={**BOOLEAN, "default": True, "description": "Whether the deployment is there after a restart."},
        **canary.FIELDS,
        dry_run=_DRY_RUN,
    ),
    "YamlDeployRequest": object_of(
        ["name", "source_code"],
        name=NAME,
        source_code={**STRING, "description": "A pipeline's YAML with 'inputs' and 'outputs'."},
        overwrite={**BOOLEAN, "default": False},
        description={"type": ["string", "null"]},
        skip_mcp={"type": ["boolean", "null"]},
        save_file={**BOOLEAN, "default": True},
        **canary.FIELDS,
        dry_run=_DRY_RUN,
    ),
    "LegacyDeployRequest": object_of(["name", "source_code"], name=NAME, source_code=STRING),
    "DeployResponse": object_of(
        ["name", "success"],
        name=STRING,
        success={"const": True},
        endpoint=STRING,
        version=STRING,
        changes={**_SENTENCES, "description": "What is different for callers of the version before."},
        breaking={**_SENTENCES, "description": "Of the changes, those that break callers."},
        dry_run={"const": True, "description": "There when nothing was deployed."},
        is_new={**BOOLEAN, "description": "In a dry run: nothing of that name is live."},
        canary=canary.SHORT,
    ),
    "RollbackRequest": object_of(
        version={"type": ["string", "null"], "description": "Its digest or the first digits, at least 4."}
    ),
    "UndeployResponse": object_of(["name", "success"], name=STRING, success={"const": True}),
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    form = object_of(
        ["name", "files"],
        name=NAME,
        files={"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}},
        overwrite=BOOLEAN,
        save_files=BOOLEAN,
        **canary.FIELDS,
        dry_run=BOOLEAN,
    )
    return {
        "/status": {
            "get": operation("status_all", "status", "List deployments", json_answer(ref("StatusResponse")), ERROR)
        },
        "/status/{pipeline_name}": {
            "get": operation(
                "status_pipeline",
                "status",
                "Status of one deployment",
                json_answer(ref("PipelineStatusResponse")),
                ERROR,
                parameters=name_parameter(),
            )
        },
        "/deployments": {
            "get": operation(
                "deployments_list",
                "status",
                "Describe all deployments",
                json_answer({"type": "array", "items": ref("DeploymentSummary")}),
                ERROR,
            )
        },
        "/deployments/{pipeline_name}": {
            "get": operation(
                "deployment_get",
                "status",
                "Describe one deployment",
                json_answer(ref("DeploymentDetails")),
                ERROR,
                parameters=name_parameter(),
            )
        },
        "/health/live": {
            "get": operation("health_live", "status", "Whether the process answers", json_answer(ref("Live")), ERROR)
        },
        "/health/ready": {
            "get": operation(
                "health_ready",
                "status",
                "Whether calls should be sent here",
                json_answer(ref("Readiness")),
                {
                    "503": json_answer(ref("Readiness"), "Not ready: starting, draining, or something is missing"),
                    **ERROR,
                },
            )
        },
        "/draw/{pipeline_name}": {
            "get": operation(
                "pipeline_draw",
                "config",
                "Draw a pipeline's graph",
                {
                    "description": "The graph",
                    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
                },
                ERROR,
                parameters=name_parameter(),
            )
        },
        "/deploy_files": {
            "post": operation(
                "pipeline_deploy",
                "config",
                "Deploy files",
                json_answer(ref("DeployResponse")),
                ERROR,
                description="Deploys a wrapper and its files. Files that are not text go as a multipart form.",
                requestBody=json_body(ref("PipelineFilesRequest"), **{"multipart/form-data": form}),
            )
        },
        "/deploy-yaml": {
            "post": operation(
                "yaml_pipeline_deploy",
                "config",
                "Deploy a YAML pipeline",
                json_answer(ref("DeployResponse")),
                ERROR,
                requestBody=json_body(ref("YamlDeployRequest")),
            )
        },
        "/deploy": {
            "post": operation(
                "legacy_pipeline_deploy",
                "config",
                "Deploy a YAML pipeline, legacy form",
                json_answer(ref("DeployResponse")),
                ERROR,
                requestBody=json_body(ref("LegacyDeployRequest")),
            )
        },
        "/rollback/{pipeline_name}": {
            "post": operation(
                "pipeline_rollback",
                "config",
                "Roll back",
                json_answer(ref("DeployResponse")),
                ERROR,
                description="Makes a kept version live again: the one that is named, or the one before the live one.",
                parameters=name_parameter(),
                requestBody={**json_body(ref("RollbackRequest")), "required": False},
            )
        },
        "/undeploy/{pipeline_name}": {
            "post": operation(
                "pipeline_undeploy",
                "config",
                "Undeploy",
                json_answer(ref("UndeployResponse")),
                ERROR,
                parameters=name_parameter(),
            )
        },
    }
