"""The OpenAPI document: a pure function of what is live, cached by the registry's revision."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hayhooks.core.deployment import Deployment, Entry
from hayhooks.server.openapi.fixed import fixed_paths, fixed_schemas
from hayhooks.server.openapi.words import ERROR, OPENAI_ERROR, events_header

_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_KEPT_BODIES = 4
_KEPT_PARTIAL = 16  # views of callers who may see a part
_MANAGEMENT = (
    "/deploy_files",
    "/deploy-yaml",
    "/deploy",
    "/undeploy/{pipeline_name}",
    "/rollback/{pipeline_name}",
    "/canary/{pipeline_name}",
    "/canary/{pipeline_name}/promote",
    "/canary/{pipeline_name}/abort",
    "/keys",
    "/keys/{key_id}",
)

Part = tuple[dict[str, Any], dict[str, Any]]  # paths, schemas


class OpenAPI:
    """Builds the document and keeps it until something changes.

    *own* gives FastAPI's document of the routes that the user added to the app; they win over ours, method by method.
    """

    def __init__(
        self,
        snapshot: Callable[[], tuple[int, Mapping[str, Deployment]]],
        own: Callable[[], dict[str, Any]],
        *,
        needs_admin_key: bool,
    ) -> None:
        self._snapshot = snapshot
        self._own = own
        self._needs_admin_key = needs_admin_key
        self._parts: dict[str, tuple[Deployment, Part]] = {}
        self._cached: tuple[int, dict[str, Any], dict[str, Any]] | None = None  # revision, the user's, the whole
        self._bodies: dict[str, bytes] = {}
        self._partial: dict[tuple[int, str, frozenset[str]], bytes] = {}
        self._partial_own: object = None

    def document(self) -> dict[str, Any]:
        """The document."""
        revision, deployments = self._snapshot()
        own = self._own()
        # FastAPI gives the same object as long as the user's routes stay the same.
        if self._cached is None or self._cached[0] != revision or self._cached[1] is not own:
            self._cached = (revision, own, self._build(own, deployments))
            self._bodies = {}
        return self._cached[2]

    def body(self, root_path: str = "") -> bytes:
        """The document as JSON, for those who call the server below *root_path*."""
        document = self.document()
        if root_path not in self._bodies:
            if root_path and "servers" not in document:
                document = {**document, "servers": [{"url": root_path}]}
            if len(self._bodies) >= _KEPT_BODIES:  # a proxy that makes up prefixes must not fill the memory
                self._bodies = {}
            self._bodies[root_path] = msgspec.json.encode(document)
        return self._bodies[root_path]

    def body_of(self, deployments: Mapping[str, Deployment], root_path: str = "") -> bytes:
        """The same of those *deployments* only, for callers who may not see all."""
        revision, _ = self._snapshot()
        own = self._own()
        key = (revision, root_path, frozenset(deployments))
        if key not in self._partial or self._partial_own is not own:
            if self._partial_own is not own or len(self._partial) >= _KEPT_PARTIAL:
                self._partial, self._partial_own = {}, own
            document = self._build(own, deployments)
            if root_path and "servers" not in document:
                document = {**document, "servers": [{"url": root_path}]}
            self._partial[key] = msgspec.json.encode(document)
        return self._partial[key]

    def _build(self, own: dict[str, Any], deployments: Mapping[str, Deployment]) -> dict[str, Any]:
        paths = fixed_paths()
        schemas = fixed_schemas()
        if self._needs_admin_key:
            for path in _MANAGEMENT:
                for operation in paths[path].values():
                    operation["security"] = [{"AdminKey": []}]
        parts: dict[str, tuple[Deployment, Part]] = {}
        taken: set[str] = set()
        for name, deployment in sorted(deployments.items()):
            known = self._parts.get(name)
            part = known[1] if known is not None and known[0] is deployment else describe(deployment)
            parts[name] = (deployment, part)
            for path, operations in part[0].items():
                paths[path] = _distinct(operations, taken)
            schemas.update(part[1])
        self._parts |= parts  # of what others see, too
        if len(self._parts) > 2 * len(self._snapshot()[1]) + len(parts):
            self._parts = parts
        for path, operations in (own.get("paths") or {}).items():
            paths[path] = {**paths.get(path, {}), **operations}
        components = dict(own.get("components") or {})
        components["schemas"] = {**schemas, **components.get("schemas", {})}
        if self._needs_admin_key:
            scheme = {
                "type": "http",
                "scheme": "bearer",
                "description": "The admin key, or an API key that may do this.",
            }
            components["securitySchemes"] = {"AdminKey": scheme, **components.get("securitySchemes", {})}
        return {**own, "paths": paths, "components": components}


def describe(deployment: Deployment) -> Part:
    """The paths and schemas of one deployment."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    name = deployment.name
    entry = deployment.entries.get("run_api")
    if entry is not None:
        paths[f"/{name}/run"] = {"post": _run(name, entry, schemas)}
    if "run_chat_completion" in deployment.entries:
        paths[f"/{name}/chat"] = {"post": _chat(name, deployment.entries["run_chat_completion"])}
    if deployment.takes_legacy_calls:
        paths[f"/{name}"] = {"post": _legacy(name)}
    return paths, schemas


def _run(name: str, entry: Entry, schemas: dict[str, Any]) -> dict[str, Any]:
    schemas[f"{name}RunRequest"] = _adopt(entry.request_schema, name, schemas)
    result: dict[str, Any] = _adopt(entry.response_schema or {}, name, schemas)
    schemas[f"{name}RunResponse"] = {
        "type": "object", "title": f"{name}RunResponse", "properties": {"result": result}, "required": ["result"],
    }  # fmt: skip
    answer: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}RunResponse"}}}
    if entry.streams is not None:
        answer = {"text/event-stream": {}} if entry.streams == "sse" else {"text/plain": {"schema": {"type": "string"}}}
    elif entry.response_schema is None:
        answer["*/*"] = {}  # nothing says that it is not a file or a stream
    summary = entry.description.strip().partition("\n\n")[0]
    return {
        "operationId": f"run_{_identifier(name)}",
        "tags": ["pipelines"],
        "summary": " ".join(summary.split())[:120] or f"Run {name}",
        "description": entry.description.strip() or f"Runs {name}.",
        "requestBody": _request_body(name, entry),
        "responses": {"200": {"description": "The result", "content": answer}, **ERROR},
    }


def _request_body(name: str, entry: Entry) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}RunRequest"}
    content: dict[str, Any] = {}
    if not entry.required_files:
        content["application/json"] = {"schema": schema}
    if entry.file_fields:
        files = {
            field: {"type": "array", "items": _FILE} if several else _FILE
            for field, several in entry.file_fields.items()
        }
        form: dict[str, Any] = {"type": "object", "properties": files}
        if entry.required_files:
            form["required"] = sorted(entry.required_files)
        content["multipart/form-data"] = {"schema": {"allOf": [schema, form]}}
    return {"required": bool(entry.request_schema.get("required") or entry.required_files), "content": content}


def _chat(name: str, entry: Entry) -> dict[str, Any]:
    request = {
        "allOf": [
            {
                "type": "object",
                "properties": {
                    "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/ChatMessage"}},
                    "stream": {"type": ["boolean", "null"]},
                    "stream_options": {"type": ["object", "null"]},
                },
                "required": ["messages"],
            }
        ],
    }
    answer = {
        "application/json": {"schema": {"$ref": "#/components/schemas/ChatCompletion"}},
        "text/event-stream": {},
    }
    return {
        "operationId": f"chat_{_identifier(name)}",
        "tags": ["openai"],
        "summary": f"Chat with {name}",
        "description": entry.description.strip() or f"A chat completion by {name}; the path names the model.",
        "parameters": events_header(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": {"description": "A chat completion", "content": answer}, **OPENAI_ERROR},
    }


def _legacy(name: str) -> dict[str, Any]:
    data = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "operationId": f"run_pipeline_{_identifier(name)}",
        "tags": ["pipelines"],
        "summary": f"Run the pipeline {name}",
        "description": "Takes {component: {input: value}} and answers {component: {output: value}}.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": data}}},
        "responses": {
            "200": {"description": "The outputs", "content": {"application/json": {"schema": data}}},
            **ERROR,
        },
    }


def _adopt(schema: Mapping[str, Any], name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """*schema* with its definitions moved to the document's, under names of this deployment's own."""

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, str) and value.startswith("#/$defs/"):  # a $ref, or in a discriminator's mapping
            return f"#/components/schemas/{name}.{value.removeprefix('#/$defs/')}"
        return [moved(item) for item in value] if isinstance(value, (list, tuple)) else value

    for key, definition in (schema.get("$defs") or {}).items():
        schemas[f"{name}.{key}"] = moved(definition)
    return {key: moved(value) for key, value in schema.items() if key != "$defs"}


def _distinct(operations: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """The operations with ids that no other deployment has: ``a-b`` and ``a.b`` read the same as identifiers."""
    distinct = {}
    for method, operation in operations.items():
        wanted = operation["operationId"]
        chosen, serial = wanted, 2
        while chosen in taken:
            chosen, serial = f"{wanted}_{serial}", serial + 1
        taken.add(chosen)
        distinct[method] = operation if chosen == wanted else {**operation, "operationId": chosen}
    return distinct


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)
