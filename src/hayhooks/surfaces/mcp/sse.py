"""The transport of the revision 2024-11-05: one stream of events down, one address for messages up."""

from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions, require
from hayhooks.surfaces.mcp.protocol import Protocol


class EventStreams:
    """Serves it with the SDK's own. A session lives in this process, as long as its stream is open."""

    def __init__(
        self,
        runtime: Runtime,
        options: HTTPOptions,
        protocol: Protocol,
        security: TransportSecuritySettings,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._protocol = protocol
        self._transport = SseServerTransport("/messages/", security, options.max_body_bytes)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a stream, and answer on it until the client leaves or the server stops."""
        require(scope, "GET")
        self._options.load.enter_stream()
        try:
            async with self._transport.connect_sse(scope, receive, send) as (incoming, outgoing):
                unwatch = self._runtime.watch_door(incoming.close)
                try:
                    await self._protocol.run(incoming, outgoing, self._protocol.create_initialization_options())
                finally:
                    unwatch()
        finally:
            self._options.load.leave_stream()

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message of an open stream's client."""
        require(scope, "POST")
        await self._transport.handle_post_message(scope, receive, send)
