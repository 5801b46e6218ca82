"""A2A: below ``/a2a`` on the main port, or on a port of its own."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from starlette.types import Receive, Scope, Send

from hayhooks.server.dispatch import Door
from hayhooks.server.doors import Doors, Parts
from hayhooks.server.extras import A2A
from hayhooks.server.shared_doors import health_door
from hayhooks.surfaces import health
from hayhooks.surfaces._http import refuse, send_json


def beside_others(parts: Parts, stack: AsyncExitStack) -> Mapping[str, Door]:
    """On the main port, where the packages are installed."""
    return {}


async def alone(parts: Parts, stack: AsyncExitStack) -> Doors:
    """On a port of its own. Raises ExtraNotInstalled."""
    A2A.require()

    async def status(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"status": "ok", "agents": []})

    no = refuse(parts.options)
    return Doors(
        {
            "status": Door(status, no, parts.guard.check_read, is_closed=True),
            health.PREFIX: await health_door(parts, stack),
        }
    )
