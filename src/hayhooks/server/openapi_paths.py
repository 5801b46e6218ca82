"""The part of the OpenAPI document that is the same for every server: status, deploying, and the OpenAI paths."""

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
TEXT = {"type": "string", "minLength": 1}
INTEGER = {"type": "integer"}
BOOLEAN = {"type": "boolean"}
BINARY = {"type": "string", "format": "binary"}
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
    "FileObject": {
        **_object(
            ["id", "object", "bytes", "created_at", "filename", "purpose", "status"],
            id=STRING,
            object={"const": "file"},
            bytes=INTEGER,
            created_at={**INTEGER, "description": "Unix time."},
            filename=STRING,
            purpose=STRING,
            status=STRING,
            expires_at={**INTEGER, "description": "Unix time."},
        ),
        "additionalProperties": True,
    },
    "FilesResponse": _object(
        ["object", "data", "first_id", "last_id", "has_more"],
        object={"const": "list"},
        data={"type": "array", "items": _ref("FileObject")},
        first_id={"type": ["string", "null"]},
        last_id={"type": ["string", "null"]},
        has_more=BOOLEAN,
    ),
    "FileDeleted": _object(["id", "object", "deleted"], id=STRING, object={"const": "file"}, deleted={"const": True}),
    "EmbeddingsRequest": {
        **_object(
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
    "EmbeddingsResponse": _object(
        ["object", "data", "model", "usage"],
        object={"const": "list"},
        data={
            "type": "array",
            "items": _object(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index=INTEGER,
                embedding={"anyOf": [{"type": "array", "items": {"type": "number"}}, STRING]},
            ),
        },
        model=STRING,
        usage=_object(["prompt_tokens", "total_tokens"], prompt_tokens=INTEGER, total_tokens=INTEGER),
    ),
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
        paths[f"{prefix}/embeddings"] = {
            "post": _operation(
                f"openai_embeddings{suffix}",
                "openai",
                "Create embeddings",
                _json(_ref("EmbeddingsResponse")),
                OPENAI_ERROR,
                requestBody=_body(_ref("EmbeddingsRequest")),
            )
        }
        paths |= _files_paths(prefix, suffix)
    return {**paths, **openapi_anthropic.paths()}


def _files_paths(prefix: str, suffix: str) -> dict[str, dict[str, Any]]:
    form = _object(
        ["file", "purpose"],
        file={"type": "string", "contentMediaType": "application/octet-stream"},
        purpose={
            **STRING,
            "pattern": "^[A-Za-z0-9_.-]{1,64}$",
            "description": "What the file is for, such as user_data or assistants.",
        },
        model={**STRING, "description": "Name of a deployment whose upload hook is to take the file over."},
        **{
            "expires_after[anchor]": {"const": "created_at"},
            "expires_after[seconds]": {**INTEGER, "minimum": 3600, "maximum": 2592000},
        },
    )
    query = {
        "after": {
            **STRING,
            "pattern": "^file-[0-9a-f]{32}$",
            "description": "The id of the last file of the page before.",
        },
        "limit": {**INTEGER, "minimum": 1, "maximum": 10000, "default": 10000},
        "order": {"enum": ["asc", "desc"], "default": "desc"},
        "purpose": STRING,
    }
    one = _name_parameter("file_id")
    bytes_ok = {"description": "The bytes of the file", "content": {"*/*": {"schema": BINARY}}}

    def operation(name: str, summary: str, ok: dict[str, Any], **more: Any) -> dict[str, Any]:
        return _operation(f"openai_files_{name}{suffix}", "openai", summary, ok, OPENAI_ERROR, **more)

    return {
        f"{prefix}/files": {
            "post": operation(
                "create",
                "Upload a file",
                _json(_ref("FileObject")),
                requestBody={"required": True, "content": {"multipart/form-data": {"schema": form}}},
            ),
            "get": operation(
                "list",
                "List files",
                _json(_ref("FilesResponse")),
                parameters=[
                    {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in query.items()
                ],
            ),
        },
        f"{prefix}/files/{{file_id}}": {
            "get": operation("get", "Describe a file", _json(_ref("FileObject")), parameters=one),
            "delete": operation("delete", "Delete a file", _json(_ref("FileDeleted")), parameters=one),
        },
        f"{prefix}/files/{{file_id}}/content": {
            "get": operation("content", "Read a file", bytes_ok, parameters=one),
        },
    }
