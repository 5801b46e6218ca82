"""The part of the OpenAPI document that is the same for every server: status, deploying, models, chat."""

from typing import Any

from hayhooks.server import openapi_anthropic


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any], description: str = "Successful Response") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}
ANYTHING: dict[str, Any] = {}
NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": "^[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$",
    "description": "Name of the deployment; it becomes part of the path.",
}
ERROR = {"default": _json(_ref("Error"), "What went wrong")}
OPENAI_ERROR = {"default": _json(_ref("OpenAIError"), "What went wrong, in OpenAI's shape")}

SCHEMAS: dict[str, Any] = {
    "Error": _object(
        ["detail", "kind"],
        detail={"description": "What went wrong, for the caller."},
        kind={**STRING, "description": "What sort of error it is, such as invalid, not_found, busy or failed."},
        errors={"type": "array", "items": _ref("FieldError")},
        traceback=STRING,
    ),
    "FieldError": _object(
        ["loc", "msg", "type"],
        loc={"type": "array", "items": {"anyOf": [STRING, {"type": "integer"}]}},
        msg=STRING,
        type=STRING,
    ),
    "OpenAIError": _object(
        ["error"],
        error=_object(
            ["message", "type", "code", "param"],
            message=STRING,
            type=STRING,
            code={"type": ["string", "null"]},
            param={"type": ["string", "null"]},
        ),
    ),
    "DeploymentSummary": _object(
        ["name", "version"],
        name=STRING,
        type=STRING,
        state=STRING,
        description=STRING,
        version={**STRING, "description": "Hex digest of the deployed files."},
        entries={"type": "array", "items": STRING},
        capabilities={"type": "array", "items": STRING},
    ),
    "StatusResponse": _object(
        ["status", "pipelines", "failed", "deployments"],
        status={"const": "Up!"},
        pipelines={"type": "array", "items": STRING},
        failed={"type": "object", "additionalProperties": STRING, "description": "What failed to load, and why."},
        version=STRING,
        deployments={"type": "array", "items": _ref("DeploymentSummary")},
    ),
    "DeploymentDetails": {
        "allOf": [
            _ref("DeploymentSummary"),
            _object(
                request_schema={"type": "object", "description": "JSON Schema of the body that /{name}/run takes."},
                file_fields={"type": "object", "additionalProperties": BOOLEAN},
                streams={"enum": ["text", "sse", None]},
            ),
        ]
    },
    "PipelineStatusResponse": _object(["status", "pipeline"], status={"const": "Up!"}, pipeline=STRING),
    "PipelineFilesRequest": _object(
        ["name", "files"],
        name=NAME,
        files={"type": "object", "additionalProperties": STRING, "description": "Relative path: text."},
        overwrite={**BOOLEAN, "default": False},
        save_files={**BOOLEAN, "default": True, "description": "Whether the deployment is there after a restart."},
    ),
    "YamlDeployRequest": _object(
        ["name", "source_code"],
        name=NAME,
        source_code={**STRING, "description": "A pipeline's YAML with 'inputs' and 'outputs'."},
        overwrite={**BOOLEAN, "default": False},
        description={"type": ["string", "null"]},
        skip_mcp={"type": ["boolean", "null"]},
        save_file={**BOOLEAN, "default": True},
    ),
    "LegacyDeployRequest": _object(["name", "source_code"], name=NAME, source_code=STRING),
    "DeployResponse": _object(["name", "success", "endpoint"], name=STRING, success={"const": True}, endpoint=STRING),
    "UndeployResponse": _object(["name", "success"], name=STRING, success={"const": True}),
    "ModelObject": _object(
        ["id", "object", "created", "owned_by"],
        id=STRING,
        object={"const": "model"},
        created={"type": "integer"},
        owned_by=STRING,
        name=STRING,
    ),
    "ModelsResponse": _object(
        ["object", "data"], object={"const": "list"}, data={"type": "array", "items": _ref("ModelObject")}
    ),
    "ChatMessage": {
        **_object(["role"], role=STRING, content=ANYTHING),
        "additionalProperties": True,
    },
    "ChatRequest": {
        **_object(
            ["model", "messages"],
            model={**STRING, "minLength": 1, "description": "Name of a deployment with a chat hook."},
            messages={"type": "array", "minItems": 1, "items": _ref("ChatMessage")},
            stream={"type": ["boolean", "null"], "default": False},
            stream_options={"type": ["object", "null"]},
        ),
        "additionalProperties": True,
    },
    "ChatCompletion": {
        **_object(
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


def _body(schema: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"required": True, "content": content | {kind: {"schema": other} for kind, other in others.items()}}


def _name_parameter(name: str = "pipeline_name") -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": STRING}]


def _operation(
    operation_id: str, tag: str, summary: str, ok: dict[str, Any], errors: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": more.pop("description", summary + "."),
        **more,
        "responses": {"200": ok, **errors},
    }


def fixed_paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    chat_ok = {
        "description": "A chat completion, or with `stream` its chunks as server-sent events",
        "content": {
            "application/json": {"schema": _ref("ChatCompletion")},
            "text/event-stream": {},
        },
    }
    form = _object(
        ["name", "files"],
        name=NAME,
        files={"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}},
        overwrite=BOOLEAN,
        save_files=BOOLEAN,
    )
    paths: dict[str, dict[str, Any]] = {
        "/status": {
            "get": _operation("status_all", "status", "List deployments", _json(_ref("StatusResponse")), ERROR)
        },
        "/status/{pipeline_name}": {
            "get": _operation(
                "status_pipeline",
                "status",
                "Status of one deployment",
                _json(_ref("PipelineStatusResponse")),
                ERROR,
                parameters=_name_parameter(),
            )
        },
        "/deployments": {
            "get": _operation(
                "deployments_list",
                "status",
                "Describe all deployments",
                _json({"type": "array", "items": _ref("DeploymentSummary")}),
                ERROR,
            )
        },
        "/deployments/{pipeline_name}": {
            "get": _operation(
                "deployment_get",
                "status",
                "Describe one deployment",
                _json(_ref("DeploymentDetails")),
                ERROR,
                parameters=_name_parameter(),
            )
        },
        "/draw/{pipeline_name}": {
            "get": _operation(
                "pipeline_draw",
                "config",
                "Draw a pipeline's graph",
                {
                    "description": "The graph",
                    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
                },
                ERROR,
                parameters=_name_parameter(),
            )
        },
        "/deploy_files": {
            "post": _operation(
                "pipeline_deploy",
                "config",
                "Deploy files",
                _json(_ref("DeployResponse")),
                ERROR,
                description="Deploys a wrapper and its files. Files that are not text go as a multipart form.",
                requestBody=_body(_ref("PipelineFilesRequest"), **{"multipart/form-data": form}),
            )
        },
        "/deploy-yaml": {
            "post": _operation(
                "yaml_pipeline_deploy",
                "config",
                "Deploy a YAML pipeline",
                _json(_ref("DeployResponse")),
                ERROR,
                requestBody=_body(_ref("YamlDeployRequest")),
            )
        },
        "/deploy": {
            "post": _operation(
                "legacy_pipeline_deploy",
                "config",
                "Deploy a YAML pipeline, legacy form",
                _json(_ref("DeployResponse")),
                ERROR,
                requestBody=_body(_ref("LegacyDeployRequest")),
            )
        },
        "/undeploy/{pipeline_name}": {
            "post": _operation(
                "pipeline_undeploy",
                "config",
                "Undeploy",
                _json(_ref("UndeployResponse")),
                ERROR,
                parameters=_name_parameter(),
            )
        },
    }
    for prefix, suffix in (("/v1", ""), ("", "_alias")):
        paths[f"{prefix}/models"] = {
            "get": _operation(
                f"openai_models{suffix}",
                "openai",
                "List models",
                _json(_ref("ModelsResponse")),
                OPENAI_ERROR,
                description="List models; with the header `anthropic-version`, in Anthropic's form.",
            )
        }
        paths[f"{prefix}/models/{{model}}"] = {
            "get": _operation(
                f"openai_model{suffix}",
                "openai",
                "Get a model",
                _json(_ref("ModelObject")),
                OPENAI_ERROR,
                parameters=_name_parameter("model"),
            )
        }
        paths[f"{prefix}/chat/completions"] = {
            "post": _operation(
                f"openai_chat_completions{suffix}",
                "openai",
                "Create a chat completion",
                chat_ok,
                OPENAI_ERROR,
                requestBody=_body(_ref("ChatRequest")),
            )
        }
    return {**paths, **openapi_anthropic.paths()}
