"""Compose settings, store, engine and surfaces into one FastAPI app."""

import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks import settings as settings_module
from hayhooks._version import __version__
from hayhooks.core.deployment import Limits
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.engines.inline import InlineEngine
from hayhooks.server.dispatch import Dispatch
from hayhooks.server.docs_pages import PREFIXES as DOCS_PREFIXES
from hayhooks.server.docs_pages import docs_app
from hayhooks.server.guard import Guard, is_loopback
from hayhooks.server.openapi import OpenAPI
from hayhooks.server.reconcile import Reconciler
from hayhooks.server.reload import following_directory
from hayhooks.server.state_directory import state_directory
from hayhooks.server.tally import Tallies, Tally
from hayhooks.server.turns import WorkerTurns
from hayhooks.settings import AppSettings
from hayhooks.store.followed import FollowedStore
from hayhooks.store.kept_files import DiskFiles
from hayhooks.store.responses import SQLiteResponses
from hayhooks.store.shared import Shared, is_gone_worker
from hayhooks.store.shared_store import SharedStore
from hayhooks.surfaces import admin, rest
from hayhooks.surfaces._http import HTTPOptions, error_body, send_bytes, send_json
from hayhooks.surfaces.anthropic import surface as anthropic
from hayhooks.surfaces.openai import surface as openai
from hayhooks.telemetry import log, log_error, log_run

_FINISH_S = 5  # for background responses, after connections have had the graceful time-out


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """A FastAPI app that serves everything in the pipelines directory.

    Add routes, routers and middleware to it as to any FastAPI app: yours win over ours. *settings* default to those
    of the process, ``hayhooks.settings.settings``.
    """
    return HayhooksApp(settings or settings_module.settings)


class HayhooksApp(FastAPI):
    """FastAPI with our dispatch between the user's middleware and the user's routes.

    *is_shared* says that other processes serve the same directories and must be followed; *tally* counts this one's
    runs among theirs.
    """

    def __init__(self, settings: AppSettings, *, is_shared: bool = False, tally: Tally | None = None) -> None:
        super().__init__(
            title="Hayhooks", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, lifespan=_lifespan
        )
        self.hayhooks_settings = settings
        self.is_shared = is_shared
        self.tally = tally or Tally(Tallies(1), 0)
        self.runtime: Runtime | None = None
        self._documents = OpenAPI(
            lambda: (self.runtime.revision, self.runtime.deployments) if self.runtime is not None else (-1, {}),
            super().openapi,
            needs_admin_key=settings.admin_key is not None,
        )
        self._dispatch: Dispatch | None = None
        # Variables by which OpenTelemetry loads a provider of its own accord.
        self._is_traced = any(name.startswith("OTEL_PYTHON_") and name.endswith("_PROVIDER") for name in os.environ)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, below the root path that the settings name when the server names none."""
        root_path = self.hayhooks_settings.root_path
        if root_path and not scope.get("root_path") and scope["type"] in ("http", "websocket"):
            scope["root_path"] = root_path
        if scope["type"] == "http" and not self._is_traced and "opentelemetry.sdk" not in sys.modules:
            # FastAPI asks the environment three times per request whether anybody traces; here nobody can.
            scope["app"] = self
            if self.middleware_stack is None:
                self.middleware_stack = self.build_middleware_stack()
            await self.middleware_stack(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """The user's middleware around our dispatch; what FastAPI's own routes need lies inside, for them alone."""
        users, self.user_middleware = self.user_middleware, []
        try:
            inner = super().build_middleware_stack()
        finally:
            self.user_middleware = users
        settings = self.hayhooks_settings
        dispatch = Dispatch(
            inner,
            lambda: self.router.routes,
            lambda: self.runtime.live if self.runtime is not None else {},
            {
                "allow_origins": settings.cors_allow_origins,
                "allow_methods": settings.cors_allow_methods,
                "allow_headers": settings.cors_allow_headers,
                "allow_credentials": settings.cors_allow_credentials,
                "allow_origin_regex": settings.cors_allow_origin_regex,
                "expose_headers": settings.cors_expose_headers,
                "max_age": settings.cors_max_age,
            },
        )
        self._dispatch = dispatch
        app: ASGIApp = dispatch
        for middleware in reversed(users):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        if users:
            handler = self.exception_handlers.get(500) or self.exception_handlers.get(Exception)
            app = ServerErrorMiddleware(app, handler=handler, debug=self.debug)
        return app

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of what is live, with the user's own routes."""
        return self._documents.document()

    def open(self, runtime: Runtime, prefixes: Mapping[str, ASGIApp], verbs: Mapping[str, ASGIApp]) -> None:
        """Begin to answer: what the lifespan has started."""
        self.runtime = runtime
        if self._dispatch is None:  # a lifespan entered by hand, as tests do
            self.middleware_stack = self.build_middleware_stack()
        assert self._dispatch is not None
        dispatch = self._dispatch
        dispatch.prefixes = {**prefixes, "openapi.json": self._answer_openapi}
        dispatch.closed = frozenset(admin.PREFIXES)
        dispatch.verbs = verbs

    async def _answer_openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"detail": "Use GET.", "kind": "invalid"}, ((b"allow", b"GET"),))
            return
        if "openapi" in vars(self):  # a function of the user's in its place, as FastAPI's manual shows
            await send_json(send, 200, self.openapi())
            return
        await send_bytes(send, 200, self._documents.body(scope.get("root_path") or ""))


@asynccontextmanager
async def _lifespan(app: HayhooksApp) -> AsyncIterator[None]:
    settings = app.hayhooks_settings
    _extend_python_path(settings)
    directory = state_directory(settings)
    where = (Path(settings.pipelines_dir), directory, settings.files_to_ignore_patterns, log_error)
    shared = Shared(directory) if app.is_shared else None
    store = FollowedStore(*where) if shared is None else SharedStore(*where, shared)
    reconciler = turns = None
    if shared is not None and isinstance(store, SharedStore):
        reconciler = Reconciler(store, shared)
        turns = WorkerTurns(store, shared, reconciler.catch_up, settings.worker_timeout_s)

    def on_run_end(run: Run, error: BaseException | None) -> None:
        app.tally.count(run, error)
        log_run(run, error)

    engine = InlineEngine(
        store.place,
        Limits(settings.max_concurrent_runs, settings.max_queued_runs, settings.run_timeout_s),
        settings.yaml_result,
        _components(settings.streaming_components),
    )
    files = DiskFiles(
        directory / "files",
        max_file_bytes=settings.files_max_file_bytes,
        max_total_bytes=settings.files_max_total_bytes,
    )
    runtime = Runtime(
        store,
        engine,
        files=files,
        on_run_end=on_run_end,
        on_error=log_error,
        peers=turns,
    )
    options = HTTPOptions(
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        heartbeat_s=settings.heartbeat_s,
        show_tracebacks=settings.show_tracebacks,
        events=settings.events,
    )
    guard = Guard(
        admin_key=settings.admin_key.get_secret_value() if settings.admin_key else None,
        listens_beyond=not is_loopback(settings.host),
        allowed_hosts=settings.allowed_hosts,
        origins=settings.cors_allow_origins,
        origin_regex=settings.cors_allow_origin_regex,
    )
    # The libraries live as long as the process: out of the collector's sight, freeing a retired version is quick.
    gc.collect()
    gc.freeze()
    async with AsyncExitStack() as stack:
        admin_handlers = await stack.enter_async_context(
            admin.serve(runtime, options, lambda with_each: app.tally.status(runtime, with_each=with_each))
        )
        rest_handlers = await stack.enter_async_context(rest.serve(runtime, options))
        anthropic_api = await stack.enter_async_context(anthropic.serve(runtime, options))
        stack.callback(store.close)
        stack.callback(files.close)
        responses = response_store(directory, settings)
        stack.callback(responses.close)
        stack.push_async_callback(runtime.stop)
        is_gone = is_gone_worker if app.is_shared else (lambda _: True)
        finish_s = min(settings.graceful_shutdown_timeout, _FINISH_S)
        kept = openai.Kept(responses, is_gone, app.is_shared, finish_s)
        openai_handlers = await stack.enter_async_context(openai.serve(runtime, options, kept, files, guard.check_kept))
        begin_reloading = None
        if settings.reload:
            watching = following_directory(runtime, store, Path(settings.pipelines_dir))
            begin_reloading = await stack.enter_async_context(watching)
        await runtime.start(settings.startup_deploy_workers)
        docs = docs_app(title=app.title)
        prefixes: dict[str, ASGIApp] = {
            **dict.fromkeys(DOCS_PREFIXES, docs),
            **dict.fromkeys(openai.PREFIXES, openai_handlers["api"]),
            **dict.fromkeys(anthropic.PREFIXES, anthropic_api),
            **dict.fromkeys(anthropic.SHARED, _either(anthropic.is_ours, anthropic_api, openai_handlers["api"])),
            **{prefix: _reading(guard, admin_handlers[prefix], options) for prefix in admin.READS},
            **{prefix: _changing(guard, admin_handlers[prefix], options) for prefix in admin.CHANGES},
        }
        app.open(runtime, prefixes, {**rest_handlers, "chat": openai_handlers["chat"]})
        if reconciler is not None:
            await stack.enter_async_context(reconciler.following(runtime))
        if begin_reloading is not None:
            begin_reloading()
        await stack.enter_async_context(app.tally.showing(runtime))
        log.info("Serving {} deployments from {}", len(runtime.deployments), settings.pipelines_dir)
        yield


def _either(is_firsts: Callable[[Scope], bool], first: ASGIApp, other: ASGIApp) -> ASGIApp:
    """Two surfaces under one prefix: neither knows of the other."""

    async def shared(scope: Scope, receive: Receive, send: Send) -> None:
        await (first if is_firsts(scope) else other)(scope, receive, send)

    return shared


def response_store(directory: Path, settings: AppSettings) -> SQLiteResponses:
    """The store of responses in that state directory."""
    return SQLiteResponses(
        directory / "responses.db", max_age_s=settings.responses_max_age_s, max_count=settings.responses_max_count
    )


def _reading(guard: Guard, handler: ASGIApp, options: HTTPOptions) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["may_manage"] = guard.check_read(scope)
        except Exception as error:
            await _refuse(error, send, options)
        else:
            await handler(scope, receive, send)

    return guarded


def _changing(guard: Guard, handler: ASGIApp, options: HTTPOptions) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            guard.check_change(scope)
        except Exception as error:
            await _refuse(error, send, options)
        else:
            await handler(scope, receive, send)

    return guarded


async def _refuse(error: Exception, send: Send, options: HTTPOptions) -> None:
    status, body, headers = error_body(error, show_tracebacks=options.show_tracebacks)
    await send_json(send, status, body, headers)


def _extend_python_path(settings: AppSettings) -> None:
    if settings.additional_python_path:
        path = str(Path(settings.additional_python_path).expanduser().absolute())
        if path not in sys.path:
            sys.path.append(path)


def _components(setting: str) -> Any:
    names = [name.strip() for name in setting.split(",") if name.strip()]
    return None if not names else "all" if names == ["all"] else names
