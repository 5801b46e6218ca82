"""Compose settings, store, engine and surfaces into one FastAPI app."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks import settings as settings_module
from hayhooks._version import __version__
from hayhooks.core.access import Access
from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Limits
from hayhooks.core.load import Load, LoadLimits
from hayhooks.core.quotas import Quotas
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.engines.inline import InlineEngine
from hayhooks.server.admin_key import open_keys
from hayhooks.server.canaries import CanaryReconciler, log_outcome
from hayhooks.server.dispatch import Callers, Dispatch, Door
from hayhooks.server.doors import Doors, Parts, Serves, opening
from hayhooks.server.garbage import collecting_rarely
from hayhooks.server.guard import Guard, is_loopback
from hayhooks.server.identities import Identities
from hayhooks.server.life import Life
from hayhooks.server.openapi import OpenAPI
from hayhooks.server.reconcile import Reconciler
from hayhooks.server.reload import following_directory
from hayhooks.server.state_directory import state_directory
from hayhooks.server.tally import Tallies, Tally
from hayhooks.server.tokens import tokens_of
from hayhooks.server.turns import WorkerTurns
from hayhooks.settings import AppSettings
from hayhooks.store.kept_files import DiskFiles
from hayhooks.store.keys import SQLiteKeys
from hayhooks.store.presence import Presence
from hayhooks.store.processes import is_gone_worker
from hayhooks.store.shared import Shared
from hayhooks.store.shared_store import SharedStore
from hayhooks.surfaces import health
from hayhooks.surfaces._direct import Answer, PlainRequest
from hayhooks.surfaces._http import HTTPOptions, caller_of, refuse, send_bytes, send_json
from hayhooks.telemetry import log, log_error, run_listener

_REFUSE = refuse(HTTPOptions())


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """A FastAPI app that serves everything in the pipelines directory.

    Add routes, routers and middleware to it as to any FastAPI app: yours win over ours. *settings* default to those
    of the process, ``hayhooks.settings.settings``.
    """
    return HayhooksApp(settings or settings_module.settings)


class HayhooksApp(FastAPI):
    """FastAPI with our dispatch between the user's middleware and the user's routes.

    *serves* says which surfaces it has; what is deployed, and how it is run, is the same with all of them. Other apps
    that serve the same directories are followed, and follow. *is_worker* says that the process which has started this
    one has done what is done once for all workers; *tally* counts this one's runs among theirs. With *listens_early*
    the lifespan begins before what is deployed at start has been built; ``life.start`` is the task that does it.
    """

    def __init__(
        self,
        settings: AppSettings,
        *,
        serves: Serves = "all",
        is_worker: bool = False,
        listens_early: bool = False,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(
            title="Hayhooks", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, lifespan=_lifespan
        )
        self.hayhooks_settings = settings
        self.serves = serves
        self.is_worker = is_worker
        self.listens_early = listens_early
        self.life = Life()
        self.tally = tally or Tally(Tallies(1), 0)
        self.runtime: Runtime | None = None
        self.load = Load(LoadLimits(settings.max_total_runs, settings.max_total_streams, settings.max_delay_s))
        self.http_options = HTTPOptions(
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            heartbeat_s=settings.heartbeat_s,
            show_tracebacks=settings.show_tracebacks,
            events=settings.events,
            load=self.load,
        )
        self._documents = OpenAPI(
            lambda: (self.runtime.revision, self.runtime.deployments) if self.runtime is not None else (-1, {}),
            super().openapi,
            needs_admin_key=settings.admin_key is not None or settings.requires_login or not is_loopback(settings.host),
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

    def begin(self, request: PlainRequest, answer: Answer) -> bool:
        """Begin to answer *request* at once; False, and nothing has happened, where the app is to be called for it.

        Whatever stands around our dispatch, or looks at every request, is never passed by.
        """
        if self._dispatch is None or self.middleware_stack is not self._dispatch:
            return False
        if self._is_traced or "opentelemetry.sdk" in sys.modules:
            return False
        request.scope["app"] = self
        root_path = self.hayhooks_settings.root_path
        if root_path and not request.scope.get("root_path"):
            request.scope["root_path"] = root_path
        return self._dispatch.begin(request, answer)

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
            Door(self._answer_nowhere, _REFUSE),
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

    def open(self, runtime: Runtime, callers: Callers, doors: Doors) -> None:
        """Begin to answer: what the lifespan has started."""
        self.runtime = runtime
        if self._dispatch is None:  # a lifespan entered by hand, as tests do
            self.middleware_stack = self.build_middleware_stack()
        assert self._dispatch is not None
        dispatch = self._dispatch
        dispatch.callers = callers
        dispatch.prefixes = doors.prefixes
        if self.serves == "all":
            dispatch.prefixes = {**doors.prefixes, "openapi.json": Door(self._answer_openapi, _REFUSE)}
        dispatch.verbs = doors.verbs
        dispatch.is_starting = True

    def be_ready(self) -> None:
        """Begin to answer calls."""
        assert self._dispatch is not None
        self._dispatch.is_starting = False
        if self.life.phase == "starting":
            self.life.phase = "ready"

    async def _answer_openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"detail": "Use GET.", "kind": "invalid"}, ((b"allow", b"GET"),))
            return
        if "openapi" in vars(self):  # a function of the user's in its place, as FastAPI's manual shows
            await send_json(send, 200, self.openapi())
            return
        root_path = scope.get("root_path") or ""
        if self.runtime is not None and self.runtime.hides:
            mine = self.runtime.open_to(caller_of(scope), "read")
            body = self._documents.body_of(mine, root_path)
            await send_bytes(send, 200, body, headers=((b"vary", b"authorization, x-api-key"),))
            return
        await send_bytes(send, 200, self._documents.body(root_path))

    async def _answer_nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say that nothing answers, and of a deployment that it is there only to those who may know it."""
        if self.runtime is None:
            detail = "The application's lifespan has not run. In a test, use `with TestClient(app) as client:`."
            await send_json(send, 503, {"detail": detail, "kind": "unavailable"})
            return
        path = scope["path"]
        name = scope.get("deployment", "")
        if not name or self.runtime.may(name, caller_of(scope), "read"):
            await send_json(send, 404, {"detail": f"Nothing answers at {path[:120]!r}.", "kind": "not_found"})
        else:
            await _REFUSE(self.runtime.refusal(name[:80], caller_of(scope)), scope, send)


@asynccontextmanager
async def _lifespan(app: HayhooksApp) -> AsyncIterator[None]:
    settings = app.hayhooks_settings
    _extend_python_path(settings)
    directory = state_directory(settings)
    where = (Path(settings.pipelines_dir), directory, settings.files_to_ignore_patterns, log_error)
    presence = await in_thread(Presence, directory)
    is_first = presence.is_first
    shared = Shared(directory)
    store = SharedStore(*where, shared, kept_versions=settings.kept_versions, only=settings.only, presence=presence)
    reconciler = Reconciler(store, shared)
    canary_reconciler = CanaryReconciler(store, directory)
    turns = WorkerTurns(store, shared, reconciler.catch_up, settings.worker_timeout_s)
    log_run = run_listener(settings, lambda: app.load.runs == 0)

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
    load = app.load
    load.delay_s, load.limit_waiting, load.favour_loop = engine.delay_s, engine.limit_waiting, engine.favour_loop
    load.catch_up = engine.catch_up
    runtime = Runtime(
        store,
        engine,
        files=files,
        quotas=Quotas(),
        access=Access(settings.requires_login),
        load=load,
        on_run_end=on_run_end,
        on_error=log_error,
        peers=turns,
        on_canary_change=canary_reconciler.settle,
        on_canary_end=log_outcome,
    )
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
    # Of several workers none makes an admin key: it is shown once.
    keys = SQLiteKeys(directory / "state.db") if app.is_worker else open_keys(directory, settings)
    callers = Identities(keys, admin_key, tokens_of(settings))
    listens_beyond = not is_loopback(settings.host)
    guard = Guard(
        needs_key=admin_key is not None or settings.requires_login or listens_beyond,
        listens_beyond=listens_beyond,
        requires_login=settings.requires_login,
        allowed_hosts=settings.allowed_hosts,
        origins=settings.cors_allow_origins,
        origin_regex=settings.cors_allow_origin_regex,
    )
    open_doors = opening(app.serves)
    async with AsyncExitStack() as stack:
        stack.enter_context(collecting_rarely())
        stack.callback(presence.close)
        stack.callback(store.close)
        stack.callback(files.close)
        stack.callback(keys.close)
        stack.push_async_callback(runtime.stop)
        parts = Parts(
            settings,
            directory,
            runtime,
            app.http_options,
            guard,
            keys,
            files,
            check_store=store.check,
            phase=lambda: app.life.phase,
            workers=lambda with_each: app.tally.status(runtime, with_each=with_each),
            is_worker=app.is_worker,
            is_gone=(lambda _: True) if is_first else is_gone_worker,
            title=app.title,
        )
        doors = await open_doors(parts, stack)
        begin_reloading = None
        if settings.reload:
            watching = following_directory(runtime, store, Path(settings.pipelines_dir), only=settings.only)
            begin_reloading = await stack.enter_async_context(watching)
        app.open(runtime, callers, doors)

        # What follows others ends first, and not before it has begun: the server may be stopped while it starts.
        following = await stack.enter_async_context(AsyncExitStack())

        async def start() -> None:
            await runtime.start(settings.startup_deploy_workers)
            await following.enter_async_context(reconciler.following(runtime, turns))
            await following.enter_async_context(canary_reconciler.following(runtime))
            if begin_reloading is not None:
                begin_reloading()
            await following.enter_async_context(app.tally.showing(runtime))
            app.be_ready()
            log.info("Serving {} deployments from {}", len(runtime.deployments), settings.pipelines_dir)
            for reason in health.not_live(settings.require, runtime.live, runtime.failures):
                log.warning("Not ready: {}", reason)

        if app.listens_early:
            app.life.start = asyncio.ensure_future(start())
            stack.push_async_callback(_finish, app.life.start, runtime)
        else:
            await start()
        try:
            yield
        finally:
            app.life.phase = "draining"


async def _finish(start: "asyncio.Task[None]", runtime: Runtime) -> None:
    """Let what is being built be finished, so that it can be closed; what is not begun is left."""
    runtime.close_door()
    await asyncio.wait([start])


def _extend_python_path(settings: AppSettings) -> None:
    if settings.additional_python_path:
        path = str(Path(settings.additional_python_path).expanduser().absolute())
        if path not in sys.path:
            sys.path.append(path)


def _components(setting: str) -> Any:
    names = [name.strip() for name in setting.split(",") if name.strip()]
    return None if not names else "all" if names == ["all"] else names
