"""The words of which the OpenAPI document is made."""

from typing import Any


def ref(name: str) -> dict[str, Any]:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_answer(schema: dict[str, Any], description: str = "Successful Response") -> dict[str, Any]:
    """An answer of JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def object_of(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    """The schema of an object with these properties."""
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
ERROR = {"default": json_answer(ref("Error"), "What went wrong")}
OPENAI_ERROR = {"default": json_answer(ref("OpenAIError"), "What went wrong, in OpenAI's shape")}


def json_body(schema: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """A request body of JSON, or of *others*: content type to schema."""
    content = {"application/json": {"schema": schema}}
    return {"required": True, "content": content | {kind: {"schema": other} for kind, other in others.items()}}


def name_parameter(name: str = "pipeline_name") -> list[dict[str, Any]]:
    """The parameter of a path that is a name or an id."""
    return [{"name": name, "in": "path", "required": True, "schema": STRING}]


def events_header() -> list[dict[str, Any]]:
    """The header that names the form of events in a stream of chat."""
    what = "The form of events in a stream: `chunk`, `bare` or `off`; else as the server's settings say."
    schema = {**STRING, "examples": ["chunk", "bare", "off"]}  # no enum: without a stream it is not looked at
    return [{"name": "X-Hayhooks-Events", "in": "header", "required": False, "schema": schema, "description": what}]


def operation(
    operation_id: str, tag: str, summary: str, ok: dict[str, Any], errors: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """One operation; its description defaults to the summary."""
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": more.pop("description", summary + "."),
        **more,
        "responses": {"200": ok, **errors},
    }
