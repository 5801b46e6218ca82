"""Answers of runs as content blocks and structured content."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message

from hayhooks.core.errors import TooLarge

Block = dict[str, Any]

COMPLETE = {"resultType": "complete"}  # in every result, from 2026-07-28 on; others do not mind

_BLOCK: TypeAdapter[Any] = TypeAdapter(mcp_types.ContentBlock)
_BLOCK_TYPES = frozenset({"text", "image", "audio", "resource", "resource_link"})
_MAX_FILE_BYTES = 64 * 1024 * 1024  # it is held in memory three times, and no model reads as much


@dataclass(slots=True)
class Content:
    """What a tool call answers."""

    blocks: list[Block] = field(default_factory=list)
    structured: Any = None
    is_error: bool = False

    def result(self, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A CallToolResult."""
        result: dict[str, Any] = {**COMPLETE, "content": self.blocks, "isError": self.is_error}
        if self.structured is not None:
            result["structuredContent"] = self.structured
        if meta:
            result["_meta"] = dict(meta)
        return result


def text(said: str) -> Block:
    """A block of text."""
    return {"type": "text", "text": said}


def blocks_of(value: Any) -> list[Block]:
    """*value* as blocks: those that it consists of, images of Haystack's as images, and otherwise its text.

    A hook that makes blocks itself, of the classes of ``mcp_types`` or as dictionaries, gets them through.
    """
    items = value if isinstance(value, list) else [value]
    own = [_own_block(item) for item in items]
    if items and all(block is not None for block in own):
        return [block for block in own if block is not None]
    if isinstance(value, str):
        return [text(value)]
    return [text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))]


def file_block(data: bytes, media_type: str, uri: str) -> Block:
    """The bytes of a file as the block for its kind."""
    kind = media_type.partition(";")[0].strip().lower()
    main = kind.partition("/")[0]
    if main in ("image", "audio"):
        return {"type": main, "data": base64.b64encode(data).decode(), "mimeType": kind}
    about = {"uri": uri, "mimeType": kind or "application/octet-stream"}
    if main == "text" or kind.endswith(("json", "xml", "yaml")):
        return {"type": "resource", "resource": {**about, "text": data.decode("utf-8", "replace")}}
    return {"type": "resource", "resource": {**about, "blob": base64.b64encode(data).decode()}}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a Response of a hook's sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def filename(self) -> str | None:
        """The name that it gives to the file."""
        _, found, name = self.headers.get("content-disposition", "").partition("filename=")
        return name.strip('"; ') if found else None

    def blocks(self, uri: str) -> list[Block]:
        """As blocks: text as it is, files as files."""
        media_type = self.headers.get("content-type", "")
        kind = media_type.partition(";")[0].strip().lower()
        if self.filename is None and (kind in ("", "text/plain", "application/json")):
            return [text(self.body.decode("utf-8", "replace"))]
        return [file_block(self.body, media_type, f"{uri}/{self.filename}" if self.filename else uri)]


async def answer_of(response: ASGIApp, scope: Any) -> Answered:
    """Let a Response of a hook's answer, to us.

    Raises:
        TooLarge: It is more than a tool can hand over.
    """
    status, headers, parts, size = 200, {}, [], 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers, size
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in message["headers"]}
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            size += len(part)
            if size > _MAX_FILE_BYTES:
                raise TooLarge(f"The answer is larger than {_MAX_FILE_BYTES} bytes.")
            parts.append(part)

    # From 2.4 on a response leaves it to us to notice that the caller has left; extensions would send files by path.
    asked = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", **(scope or {})}
    asked = {**asked, "method": "GET", "asgi": {"version": "3.0", "spec_version": "2.4"}, "extensions": {}}
    asked["headers"] = [item for item in asked["headers"] if item[0] not in (b"range", b"if-range")]
    await response(asked, receive, send)
    return Answered(status, headers, b"".join(parts))


def _own_block(item: Any) -> Block | None:
    if not isinstance(item, dict):
        return None
    if item.get("type") in _BLOCK_TYPES:
        try:
            block = _BLOCK.validate_python(item, by_name=False)
        except ValidationError:
            return None
        dumped: Block = block.model_dump(by_alias=True, mode="json", exclude_none=True)
        return dumped
    if isinstance(item.get("base64_image"), str) and isinstance(item.get("mime_type"), str):  # Haystack's ImageContent
        return {"type": "image", "data": item["base64_image"], "mimeType": item["mime_type"]}
    return None
