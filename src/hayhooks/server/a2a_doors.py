"""A2A: below ``/a2a`` on the main port, or on a port of its own."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from hayhooks.server.dispatch import Door
from hayhooks.server.doors import Doors, Parts
from hayhooks.server.extras import A2A
from hayhooks.server.shared_doors import health_door
from hayhooks.store.processes import is_gone_worker
from hayhooks.store.sqlite import open_database
from hayhooks.surfaces import health
from hayhooks.surfaces.a2a import surface
from hayhooks.surfaces.a2a.options import A2AOptions

_FINISH_S = 5  # for runs whose callers have left, after connections have had the graceful time-out


async def beside_others(parts: Parts, stack: AsyncExitStack) -> Mapping[str, Door]:
    """On the main port, where the packages are installed."""
    if not A2A.is_installed:
        return {}
    serving = surface.serve(parts.runtime, parts.options, _options(parts), parts.guard.check_kept)
    handlers = await stack.enter_async_context(serving)
    return {surface.PREFIX: Door(handlers.below, handlers.refuse)}


async def alone(parts: Parts, stack: AsyncExitStack) -> Doors:
    """On a port of its own. Raises ExtraNotInstalled."""
    A2A.require()
    serving = surface.serve(
        parts.runtime, parts.options, _options(parts), parts.guard.check_kept, below="", begins=True
    )
    handlers = await stack.enter_async_context(serving)

    return Doors(
        {
            "status": Door(handlers.status, handlers.refuse, parts.guard.check_read, is_closed=True),
            ".well-known": Door(handlers.only_card, handlers.refuse),
            health.PREFIX: await health_door(parts, stack),
        },
        _All(Door(handlers.below, handlers.refuse)),
    )


class _All(Mapping[str, Door]):
    """One door for everything below a name: what is there is for the protocol to say."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def __getitem__(self, verb: str) -> Door:
        return self._door

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _options(parts: Parts) -> A2AOptions:
    settings = parts.settings
    return A2AOptions(
        database=parts.directory / "a2a.db",
        prepare=_prepare,
        is_gone=is_gone_worker,
        finish_s=min(settings.graceful_shutdown_timeout, _FINISH_S),
        max_age_s=settings.a2a_tasks_max_age_s,
        max_count=settings.a2a_tasks_max_count,
        max_bytes=settings.a2a_tasks_max_bytes,
        external_url=settings.a2a_external_url,
        speaks_0_3=settings.a2a_v0_3_compat,
        push_hosts=settings.a2a_push_hosts,
        openid_url=f"{settings.jwt_issuer.rstrip('/')}/.well-known/openid-configuration"
        if settings.jwt_issuer
        else None,
    )


def _prepare(path: Path) -> None:
    open_database(path, "", is_durable=False).close()
