"""JSON Schemas of entries in the form that MCP asks for: objects in, objects out."""

from collections.abc import Mapping
from typing import Any

from hayhooks.core.deployment import Entry

Schema = dict[str, Any]

_FILE: Schema = {
    "type": "object",
    "description": "A file: either its text, or any bytes as base64.",
    "properties": {
        "filename": {"type": "string", "description": "Name with its extension."},
        "content_type": {"type": "string", "description": "Media type, such as application/pdf."},
        "text": {"type": "string", "description": "The content, of a file of text."},
        "base64": {"type": "string", "contentEncoding": "base64", "description": "The content, of any file."},
    },
}
RESULT = "result"  # the member that holds an answer which is no object itself


def input_schema(entry: Entry) -> Schema:
    """What the arguments of a tool are: the fields of the request, and files as objects."""
    schema = {key: value for key, value in entry.request_schema.items() if key != "title"}
    if not entry.file_fields:
        return {"type": "object", **schema}
    files = {
        name: {"type": "array", "items": _FILE} if several else _FILE for name, several in entry.file_fields.items()
    }
    required = [*schema.get("required", ()), *sorted(entry.required_files)]
    schema["properties"] = {**schema.get("properties", {}), **files}
    return {"type": "object", **schema, **({"required": required} if required else {})}


def output_schema(schema: Mapping[str, Any] | None) -> tuple[Schema | None, bool]:
    """What structured content is, and whether an answer is wrapped to be one.

    Up to the revision 2025-11-25 it must be an object; what is something else stands under ``result``.
    """
    if schema is None:
        return None, False
    if schema.get("type") == "object":
        return dict(schema), False
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer: Schema = {"type": "object", "properties": {RESULT: inner}, "required": [RESULT]}
    if "$defs" in schema:
        outer["$defs"] = schema["$defs"]
    return outer, True
