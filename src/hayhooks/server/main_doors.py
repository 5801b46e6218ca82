"""The main port: every surface on it, each under its own prefixes and verbs."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from starlette.types import Receive, Scope, Send

from hayhooks.server import a2a_doors, mcp_doors
from hayhooks.server.dispatch import Door, takes_legacy_calls
from hayhooks.server.docs_pages import PREFIXES as DOCS_PREFIXES
from hayhooks.server.docs_pages import docs_app
from hayhooks.server.doors import Doors, Parts
from hayhooks.server.extras import EXTRAS
from hayhooks.server.shared_doors import health_door, status_doors
from hayhooks.settings import AppSettings
from hayhooks.store.responses import SQLiteResponses
from hayhooks.surfaces import admin, canary, health, rest
from hayhooks.surfaces import keys as keys_surface
from hayhooks.surfaces._http import refuse
from hayhooks.surfaces.anthropic import surface as anthropic
from hayhooks.surfaces.openai import surface as openai
from hayhooks.telemetry import log, log_key

_FINISH_S = 5  # for background responses, after connections have had the graceful time-out


async def everything(parts: Parts, stack: AsyncExitStack) -> Doors:
    """All surfaces; those whose packages are not installed are left out."""
    runtime, options, guard, settings = parts.runtime, parts.options, parts.guard, parts.settings
    enter = stack.enter_async_context
    canary_api = await enter(canary.serve(runtime, options))
    rest_handlers = await enter(rest.serve(runtime, options))
    anthropic_api = await enter(anthropic.serve(runtime, options))
    keys_handlers = await enter(keys_surface.serve(parts.keys, options, log_key))
    responses = response_store(parts.directory, settings)
    stack.callback(responses.close)
    finish_s = min(settings.graceful_shutdown_timeout, _FINISH_S)
    kept = openai.Kept(responses, parts.is_gone, finish_s)
    openai_handlers = await enter(openai.serve(runtime, options, kept, parts.files, guard.check_kept))
    refuse_rest, refuse_openai = refuse(options), openai.refuse(options)
    docs = Door(docs_app(title=parts.title), refuse_rest)
    api = Door(openai_handlers["api"], refuse_openai)
    messages = Door(anthropic_api, anthropic.refuse(options))
    missing = [extra for extra in EXTRAS if not extra.is_installed]
    if missing:
        log.info("Not served: {}", ", ".join(f"{extra.title} ({extra.how_to_install})" for extra in missing))
    prefixes: dict[str, Door] = {
        **dict.fromkeys(DOCS_PREFIXES, docs),
        **dict.fromkeys(openai.PREFIXES, api),
        **dict.fromkeys(anthropic.PREFIXES, messages),
        **dict.fromkeys(anthropic.SHARED, _either(anthropic.is_ours, messages, api)),
        **await status_doors(parts, stack, (*admin.READS, *admin.CHANGES)),
        **{name: Door(handler, refuse_rest, guard.check_admin, True) for name, handler in keys_handlers.items()},
        canary.PREFIX: Door(canary_api, refuse_rest, canary.checking(guard.check_read, guard.check_change), True),
        health.PREFIX: await health_door(parts, stack),
        **mcp_doors.beside_others(parts, stack),
        **await a2a_doors.beside_others(parts, stack),
    }
    verbs = {
        "run": Door(rest_handlers.verbs["run"], refuse_rest, begin=rest_handlers.begin_run),
        "": Door(rest_handlers.verbs[""], refuse_rest, suits=takes_legacy_calls),
    }
    verbs["chat"] = Door(openai_handlers["chat"], refuse_openai)
    return Doors(prefixes, verbs)


def response_store(directory: Path, settings: AppSettings) -> SQLiteResponses:
    """The store of responses in that state directory."""
    return SQLiteResponses(
        directory / "responses.db",
        max_age_s=settings.responses_max_age_s,
        max_count=settings.responses_max_count,
        max_bytes=settings.responses_max_bytes,
    )


def _either(is_firsts: Callable[[Scope], bool], first: Door, other: Door) -> Door:
    """Two surfaces under one prefix: neither knows of the other."""

    async def shared(scope: Scope, receive: Receive, send: Send) -> None:
        await (first if is_firsts(scope) else other).app(scope, receive, send)

    async def no(error: BaseException, scope: Scope, send: Send) -> None:
        await (first if is_firsts(scope) else other).refuse(error, scope, send)

    return Door(shared, no)
