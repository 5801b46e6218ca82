"""What of MCP is plain HTTP: refusals, and where a client finds who gives out tokens. Needs no SDK."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from hayhooks.core.errors import HayhooksError
from hayhooks.surfaces._http import (
    JSON,
    STATUS,
    HTTPOptions,
    MethodNotAllowed,
    header,
    retry_headers,
    route_path,
    send_bytes,
    send_json,
)

PATH = "/mcp"
PREFIX = "mcp"
METADATA_PREFIX = ".well-known"
METADATA_PATH = "/.well-known/oauth-protected-resource"
SESSION_HEADER = b"mcp-session-id"
VERSION_HEADER = b"mcp-protocol-version"

# JSON-RPC 2.0, section 5.1; from -32000 on the codes are a server's own.
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32602, -32603
REFUSED = -32000
CANCELLED = -32800  # as the language server protocol, from which MCP has its cancelling, says it

Refuse = Callable[[BaseException, Scope, Send], Awaitable[None]]
Answer = Callable[[Scope, Receive, Send], Awaitable[None]]


def error_body(code: int, message: str, request_id: Any = None, data: Any = None) -> bytes:
    """A JSON-RPC error."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}, separators=(",", ":")).encode()


def refuse(options: HTTPOptions, issuer: str = "") -> Refuse:
    """What answers a request that does not get as far as the protocol.

    Where tokens of an *issuer* are taken, a client that has none is told where to read about it (RFC 9728, section 5).
    """

    async def answer(error: BaseException, scope: Scope, send: Send) -> None:
        if isinstance(error, MethodNotAllowed):
            allow = [(b"allow", ", ".join(error.allowed).encode())]
            await send_bytes(send, 405, error_body(REFUSED, f"Method not allowed. {error}"), JSON, allow)
            return
        if not isinstance(error, HayhooksError):
            message = "Internal server error. The server's log says why."
            await send_bytes(send, 500, error_body(INTERNAL_ERROR, message))
            return
        headers = retry_headers(error)
        if issuer and error.kind == "unauthorized":
            where = f'Bearer resource_metadata="{_base(scope)}{METADATA_PATH}{PATH}"'
            headers = [item for item in headers if item[0] != b"www-authenticate"]
            headers.append((b"www-authenticate", where.encode("latin-1", "replace")))
        body = error_body(REFUSED, str(error), data={"kind": error.kind})
        await send_bytes(send, STATUS[error.kind], body, JSON, headers)

    return answer


def metadata(issuer: str) -> Answer:
    """What answers with the OAuth metadata of this resource, where there is an *issuer*.

    Source: RFC 9728, sections 2 and 3.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if not issuer or path not in (METADATA_PATH, METADATA_PATH + PATH):
            await send_json(send, 404, {"detail": f"Nothing answers at {path[:120]!r}.", "kind": "not_found"})
        elif scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"detail": "Use GET.", "kind": "invalid"}, ((b"allow", b"GET, HEAD"),))
        else:
            about = {
                "resource": _base(scope) + PATH,
                "authorization_servers": [issuer],
                "bearer_methods_supported": ["header"],
                "resource_name": "Hayhooks",
            }
            await send_json(send, 200, about, ((b"cache-control", b"max-age=300"), (b"vary", b"host")))

    return answer


def _base(scope: Scope) -> str:
    """The address under which the caller reaches this server."""
    host = (header(scope, b"host") or b"localhost").decode("latin-1")
    host = "".join(character for character in host if character.isalnum() or character in ".-:[]_")
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path') or ''}"
