"""One request of a client that speaks a revision before 2026-07-28, and its answer: JSON, or a stream of events."""

from collections.abc import Mapping
from typing import Any

import anyio
import msgspec
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from starlette.types import Scope, Send

from hayhooks.surfaces._http import JSON, Header, HTTPOptions, send_bytes
from hayhooks.surfaces._streams import StreamSender

SSE: Header = (b"content-type", b"text/event-stream")
HEARTBEAT = b": still working\n\n"
_TRANSPORT = TransportContext(kind="streamable-http", can_send_request=False)


class HTTPRequest:
    """What handlers see of the HTTP request."""

    __slots__ = ("scope",)

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


class Exchange:
    """The SDK's context of one request. Notifications make its answer a stream, and so does a long silence.

    The server asks the client nothing: the answer could come to another process.
    """

    def __init__(
        self, scope: Scope, send: Send, options: HTTPOptions, headers: list[Header], request_id: Any, token: Any
    ) -> None:
        self.transport = _TRANSPORT
        self.can_send_request = False
        self.request_id = request_id
        self.message_metadata = ServerMessageMetadata(request_context=HTTPRequest(scope))
        self.cancel_requested = anyio.Event()
        self._token = token
        self._send = send
        self._headers = headers
        # Whoever waits long needs a sign of life, or a proxy on the way ends the connection.
        self._stream = StreamSender(send, (SSE, *headers), options, HEARTBEAT)

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: Any = None) -> dict[str, Any]:
        """Refuse."""
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: Any = None) -> None:
        """Send a notification that belongs to this request."""
        await self._stream.write(event_of(notification(method, params)))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far it is, to a caller who asked."""
        if self._token is None:
            return
        params: dict[str, Any] = {"progressToken": self._token, "progress": progress}
        params |= {} if total is None else {"total": total}
        params |= {} if message is None else {"message": message}
        await self.notify("notifications/progress", params)

    async def answer(self, body: bytes) -> None:
        """Send the response, as what the answer has become."""
        if self._stream.has_begun:
            await self._stream.end(event_of(body))
        else:
            self._stream.close()
            await send_bytes(self._send, 200, body, JSON, self._headers)

    def close(self) -> None:
        """It is over."""
        self._stream.close()


def notification(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A JSON-RPC notification."""
    message = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
    return msgspec.json.encode(message)


def event_of(message: bytes) -> bytes:
    """A JSON-RPC message as an event of a stream. JSON has no line breaks of its own."""
    return b"event: message\ndata: " + message + b"\n\n"
