"""What went wrong, for callers of tools: what they can mend is an answer, what is not there a fault of the protocol."""

from typing import Any

import msgspec
from mcp.shared.exceptions import MCPError

from hayhooks.core.errors import HayhooksError, InvalidRequest
from hayhooks.surfaces._http import error_body
from hayhooks.surfaces.mcp.content import Content, text
from hayhooks.surfaces.mcp.wire import INVALID_PARAMS


def unknown(what: str, name: object, why: str = "") -> MCPError:
    """The error for a tool, a prompt or a resource that is not there, or not for this caller."""
    return MCPError(INVALID_PARAMS, f"Unknown {what}: {str(name)[:120]}.{f' {why}' if why else ''}")


def failure(error: HayhooksError, *, show_tracebacks: bool) -> dict[str, Any]:
    """A CallToolResult that says what went wrong: the model that called can read it, and do better."""
    _, body, _ = error_body(error, show_tracebacks=show_tracebacks)
    detail = body["detail"]
    said = detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()
    if isinstance(error, InvalidRequest) and len(error.errors) > 1:
        said = "; ".join(f"{'.'.join(map(str, found['loc'][1:]))}: {found['msg']}" for found in error.errors)
    meta: dict[str, Any] = {"hayhooks/kind": body["kind"]}
    for key, name in (("retry_after_s", "hayhooks/retry_after_s"), ("request_id", "hayhooks/run")):
        if getattr(error, key, None) is not None:
            meta[name] = getattr(error, key)
    content = Content([text(said)], is_error=True)
    if "traceback" in body:
        content.blocks.append(text(body["traceback"]))
    return content.result(meta)
