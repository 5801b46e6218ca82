"""Arguments of a tool call as what an entry takes: JSON, and files apart from it."""

import base64
import binascii
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import msgspec
from starlette.datastructures import Headers

from hayhooks.core.deployment import Entry, Upload
from hayhooks.core.errors import InvalidRequest


def body_and_uploads(entry: Entry, arguments: Mapping[str, Any]) -> tuple[bytes, dict[str, list[Upload]] | None]:
    """The JSON text of all arguments but the files, and these; None when the entry takes no files.

    Raises:
        InvalidRequest: A file is not as the schema says.
    """
    if not entry.file_fields:
        return msgspec.json.encode(arguments), None
    others = {name: value for name, value in arguments.items() if name not in entry.file_fields}
    uploads: dict[str, list[Upload]] = {}
    for name, several in entry.file_fields.items():
        given = arguments.get(name)
        if given is None:
            continue
        files = given if several and isinstance(given, list) else [given]
        uploads[name] = [_upload(name, place, file) for place, file in enumerate(files)]
    return msgspec.json.encode(others), uploads


def _upload(name: str, place: int, file: Any) -> Upload:
    if isinstance(file, str):
        file = {"text": file}
    if not isinstance(file, Mapping):
        raise _invalid(name, place, "A file is an object with 'text' or 'base64'")
    said, encoded = file.get("text"), file.get("base64")
    if (said is None) == (encoded is None):
        raise _invalid(name, place, "A file has either 'text' or 'base64'")
    if isinstance(said, str):
        content, media_type = said.encode("utf-8", "replace"), "text/plain"
    elif isinstance(encoded, str):
        try:
            content, media_type = base64.b64decode(encoded, validate=True), "application/octet-stream"
        except (binascii.Error, ValueError):
            raise _invalid(name, place, "'base64' is no base64") from None
    else:
        raise _invalid(name, place, "'text' and 'base64' are strings")
    filename, kind = file.get("filename") or name, file.get("content_type") or media_type
    if not isinstance(filename, str) or not isinstance(kind, str):
        raise _invalid(name, place, "'filename' and 'content_type' are strings")
    return Upload(filename, kind, len(content), BytesIO(content), Headers({"content-type": kind}))


def _invalid(name: str, place: int, message: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {message}", [{"loc": ["body", name, place], "msg": message, "type": "file_type"}])
