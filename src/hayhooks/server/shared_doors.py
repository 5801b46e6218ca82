"""Doors that every server has, whatever it serves: its status and its health."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from hayhooks.server.dispatch import Door
from hayhooks.server.doors import Parts
from hayhooks.surfaces import admin, health
from hayhooks.surfaces._http import refuse


async def status_doors(parts: Parts, stack: AsyncExitStack, names: Sequence[str] = ("status",)) -> dict[str, Door]:
    """Those of the admin surface's prefixes."""
    handlers = await stack.enter_async_context(admin.serve(parts.runtime, parts.options, parts.workers))
    no, guard = refuse(parts.options), parts.guard
    checks = {name: guard.check_read if name in admin.READS else guard.check_change for name in names}
    return {name: Door(handlers[name], no, check, is_closed=True) for name, check in checks.items()}


async def health_door(parts: Parts, stack: AsyncExitStack) -> Door:
    """What answers below ``/health``, from the first moment on."""
    serving = health.serve(parts.runtime, parts.phase, parts.check_store, parts.settings.require)
    handler = await stack.enter_async_context(serving)
    return Door(handler, refuse(parts.options), parts.guard.look, is_early=True)
