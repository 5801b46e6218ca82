"""MCP: at ``/mcp`` on the main port, or on a port of its own."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from hayhooks.server.dispatch import Door
from hayhooks.server.doors import Doors, Parts
from hayhooks.server.extras import MCP
from hayhooks.server.shared_doors import health_door, status_doors
from hayhooks.surfaces import health


def beside_others(parts: Parts, stack: AsyncExitStack) -> Mapping[str, Door]:
    """On the main port, where the packages are installed."""
    return {}


async def alone(parts: Parts, stack: AsyncExitStack) -> Doors:
    """On a port of its own. Raises ExtraNotInstalled."""
    MCP.require()
    return Doors({**await status_doors(parts, stack), health.PREFIX: await health_door(parts, stack)})
