"""MCP over standard input and output, for clients that start their servers themselves."""

from mcp.server.stdio import stdio_server

from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions
from hayhooks.surfaces.mcp.changes import Changes
from hayhooks.surfaces.mcp.protocol import Protocol


async def talk(runtime: Runtime, options: HTTPOptions) -> None:
    """Answer until the input ends. Whoever started this program may do everything: it is their own."""
    changes = Changes(runtime)
    protocol = Protocol(runtime, options, changes, lambda _: None)
    with changes.watching():
        async with stdio_server() as (incoming, outgoing):
            await protocol.run(incoming, outgoing, protocol.create_initialization_options())
