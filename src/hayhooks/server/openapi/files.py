"""What the document says of files."""

from typing import Any

from hayhooks.server.openapi.words import (
    BINARY,
    BOOLEAN,
    INTEGER,
    OPENAI_ERROR,
    STRING,
    json_answer,
    name_parameter,
    object_of,
    operation,
    ref,
)

SCHEMAS: dict[str, Any] = {
    "FileObject": {
        **object_of(
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
    "FilesResponse": object_of(
        ["object", "data", "first_id", "last_id", "has_more"],
        object={"const": "list"},
        data={"type": "array", "items": ref("FileObject")},
        first_id={"type": ["string", "null"]},
        last_id={"type": ["string", "null"]},
        has_more=BOOLEAN,
    ),
    "FileDeleted": object_of(["id", "object", "deleted"], id=STRING, object={"const": "file"}, deleted={"const": True}),
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    return {**_paths("/v1", ""), **_paths("", "_alias")}


def _paths(prefix: str, suffix: str) -> dict[str, dict[str, Any]]:
    form = object_of(
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
    one = name_parameter("file_id")
    part = {
        "name": "Range", "in": "header", "required": False, "schema": STRING,
        "description": "One range of bytes, such as bytes=0-1023; answered with 206, or 416 when it has none.",
    }  # fmt: skip
    bytes_ok = {"description": "The bytes of the file", "content": {"*/*": {"schema": BINARY}}}

    def of_files(name: str, summary: str, ok: dict[str, Any], **more: Any) -> dict[str, Any]:
        return operation(f"openai_files_{name}{suffix}", "openai", summary, ok, OPENAI_ERROR, **more)

    content = of_files("content", "Read a file", bytes_ok, parameters=[*one, part])
    content["responses"]["206"] = {**bytes_ok, "description": "The bytes of the range"}
    return {
        f"{prefix}/files": {
            "post": of_files(
                "create",
                "Upload a file",
                json_answer(ref("FileObject")),
                requestBody={"required": True, "content": {"multipart/form-data": {"schema": form}}},
            ),
            "get": of_files(
                "list",
                "List files",
                json_answer(ref("FilesResponse")),
                parameters=[
                    {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in query.items()
                ],
            ),
        },
        f"{prefix}/files/{{file_id}}": {
            "get": of_files("get", "Describe a file", json_answer(ref("FileObject")), parameters=one),
            "delete": of_files("delete", "Delete a file", json_answer(ref("FileDeleted")), parameters=one),
        },
        f"{prefix}/files/{{file_id}}/content": {
            "get": content,
        },
    }
