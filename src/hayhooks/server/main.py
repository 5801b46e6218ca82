"""Run the server: ``hayhooks run``."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hayhooks import settings as settings_module
from hayhooks.core.load import Load
from hayhooks.server.app import HayhooksApp
from hayhooks.server.connections import ConnectionLimits, Connections
from hayhooks.server.dev import ways_to_call
from hayhooks.server.doors import Serves
from hayhooks.server.drain import ENDING_S, drain
from hayhooks.server.extras import ExtraNotInstalled, require_packages
from hayhooks.server.open_files import connections_within, raise_limit
from hayhooks.server.sockets import CannotListen, bind, cannot_listen, waiting_in
from hayhooks.settings import AppSettings, InvalidSettings
from hayhooks.telemetry import configure_logging, flush_logs, log

CLOSING_S = ENDING_S + 10.0  # that teardowns may take, after runs have had the graceful time-out and were ended
_MANY_CONNECTIONS = 2000  # fewer should surprise nobody


def serve(
    serves: Serves = "all",
    *,
    host: str | None = None,
    port: int | None = None,
    pipelines_dir: str | None = None,
    root_path: str | None = None,
    additional_python_path: str | None = None,
    workers: int = 1,
    reload: bool = False,
    require: Sequence[str] = (),
    state_dir: str | None = None,
    only: str = "",
    external_url: str | None = None,
    shows_calls: bool = False,
) -> None:
    """Serve until a signal says stop; None means as the settings say.

    A server that *serves* one protocol alone has a host and a port of its own in the settings.

    SIGTERM and SIGINT let runs finish for the graceful shutdown time-out; a second one stops at once.

    Raises:
        SystemExit: With a message when a setting or the address cannot be used, packages are missing, or the server
            could not start.
    """
    of_its_own = "" if serves == "all" else f"{serves}_"
    given = {
        f"{of_its_own}host": host,
        f"{of_its_own}port": port,
        "pipelines_dir": pipelines_dir,
        "root_path": root_path,
        "additional_python_path": additional_python_path,
        "reload": reload or None,
        "require": list(require) or None,
        "state_dir": state_dir,
        "only": only or None,
        "a2a_external_url": external_url,
    }
    try:
        require_packages(serves)
        settings = prepare(given, serves)
        sockets = bind(settings.host, settings.port)
        if workers > 1:
            from hayhooks.server.workers import run_workers

            code = run_workers(given, settings, sockets, workers)
        else:
            app = HayhooksApp(settings, serves=serves, listens_early=True)

            def on_ready() -> None:
                announce(settings, sockets, serves)
                if shows_calls and app.runtime is not None:
                    for line in ways_to_call(url_of(settings, sockets), app.runtime.deployments):
                        log.info("{}", line)

            code = run_server(app, settings, sockets, on_ready)
    except (InvalidSettings, CannotListen, ExtraNotInstalled) as error:
        sys.exit(f"Error: {error}")
    sys.exit(code)


def prepare(given: dict[str, Any], serves: Serves = "all") -> AppSettings:
    """The settings of this process with what was *given*, and logs as they say. Raises InvalidSettings.

    Their ``host`` and ``port`` are where it listens, whatever it *serves*.
    """
    settings = settings_module.load(**given)
    if serves == "mcp":
        settings = settings.model_copy(update={"host": settings.mcp_host, "port": settings.mcp_port})
    elif serves == "a2a":
        settings = settings.model_copy(update={"host": settings.a2a_host, "port": settings.a2a_port})
    # What runs in this process and asks for settings gets those that the server runs with.
    settings_module.settings = settings
    configure_logging(settings)
    return settings


def run_server(
    app: HayhooksApp,
    settings: AppSettings,
    sockets: Sequence[socket.socket],
    on_ready: Callable[[], None],
    *,
    is_worker: bool = False,
) -> int:
    """Serve *app* on *sockets* until a signal says stop; the exit code. *on_ready* is called once it serves all."""
    config = uvicorn.Config(
        app,
        http=connections(settings, app),
        host=settings.host,
        port=settings.port,
        log_config=None,  # its warnings and access lines go the way of ours
        log_level=None if settings.access_log else "warning",
        access_log=settings.access_log,
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
        timeout_keep_alive=75,
    )
    server = ListeningServer(config, app, on_ready, drain_delay_s=settings.drain_delay_s, is_worker=is_worker)
    server.run(list(sockets))
    return 0 if server.started and not server.has_failed else 1


def url_of(settings: AppSettings, sockets: Sequence[socket.socket]) -> str:
    """Where the server listens."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{sockets[0].getsockname()[1]}{settings.root_path}"


def connections(settings: AppSettings, app: ASGIApp) -> Any:
    """Connections within what the settings and the system allow, for uvicorn to make."""
    possible = connections_within(raise_limit())
    wanted = settings.max_connections
    if possible < (wanted or _MANY_CONNECTIONS):
        log.warning(
            "The limit on open files allows {} connections only. Raise it: ulimit -n, LimitNOFILE of systemd, "
            "--ulimit nofile of Docker.",
            possible,
        )
    limits = ConnectionLimits(
        max_connections=min(wanted or possible, possible),
        max_header_bytes=settings.max_header_bytes,
        slow_reader_timeout_s=settings.slow_reader_timeout_s,
        slow_writer_timeout_s=settings.slow_writer_timeout_s,
    )
    return Connections(limits, app.load, app.begin) if isinstance(app, HayhooksApp) else Connections(limits, Load())


_WHAT = {"all": "docs at /docs", "mcp": "MCP at /mcp", "a2a": "A2A agents"}


def announce(settings: AppSettings, sockets: Sequence[socket.socket], serves: Serves = "all") -> None:
    """Say in the log where the server listens."""
    log.info("Listening on {} ({})", url_of(settings, sockets), _WHAT[serves])


def run_app(app: ASGIApp, *, host: str | None = None, port: int | None = None) -> None:
    """Serve *app*, as ``create_app`` gives it, in this process; host and port default to the settings.

    Logs are as the settings say, unless the program has configured loguru itself.
    """
    settings = settings_module.settings
    configure_logging(settings, is_own_process=False)
    config = uvicorn.Config(
        app,
        http=connections(settings, app),
        host=host or settings.host,
        port=settings.port if port is None else port,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
    )
    server = uvicorn.Server(config)
    if isinstance(app, HayhooksApp):
        server = ListeningServer(config, app, drain_delay_s=settings.drain_delay_s)
    try:
        server.run()
    except KeyboardInterrupt:
        return


class ListeningServer(uvicorn.Server):
    """uvicorn that says when it is ready, lets runs finish when it stops, and whose end nothing can hold up.

    *is_worker* says that another process starts and stops it, and decides when it has to end at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: HayhooksApp,
        on_ready: Callable[[], None] = lambda: None,
        *,
        drain_delay_s: float = 0.0,
        is_worker: bool = False,
    ) -> None:
        super().__init__(config)
        self.has_failed = False
        self._app = app
        self._on_ready = on_ready
        self._drain_delay_s = drain_delay_s
        self._drains_at_s = 0.0
        self._is_worker = is_worker

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so once all is built."""
        try:
            await super().startup(sockets=sockets)
        except OSError as error:  # bound, but somebody else was first to listen
            await self.lifespan.shutdown()
            raise cannot_listen(self.config.host, self.config.port, error) from None
        if self._app.life.start is not None:
            self._app.life.start.add_done_callback(self._on_start)
        elif self.started:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop now: the others may need some time to hear that no more calls should come here."""
        is_over = await super().on_tick(counter)
        return is_over and not (self.should_exit and time.monotonic() < self._drains_at_s)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, let calls under way finish for a while, end the rest, close everything."""
        listening = [sock.dup() for server in self.servers for sock in server.sockets]
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        protocol = self.config.http_protocol_class
        if isinstance(protocol, Connections):
            protocol.is_draining = True
        for connection in waiting_in(listening):
            await asyncio.get_running_loop().connect_accepted_socket(self._connected, connection)
        await drain(self.server_state, self._app.runtime, float(self.config.timeout_graceful_shutdown or 0))
        await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at once when asked a second time."""
        if self.should_exit:
            if not self._is_worker:
                _end("Stopping at once", 128 + sig)
            return
        # Code of users' can refuse to end: a teardown(), a thread that some executor waits for, a setup().
        limit_s = self._drain_delay_s + (self.config.timeout_graceful_shutdown or 0) + CLOSING_S
        timer = threading.Timer(limit_s, _end, ("Not everything ended in time; stopping anyway", 1))
        timer.daemon = True
        timer.start()
        self._drains_at_s = time.monotonic() + self._drain_delay_s
        self._app.life.phase = "draining"
        self.should_exit = True

    def _connected(self) -> asyncio.BaseProtocol:
        """What uvicorn makes of a connection."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _on_start(self, start: "asyncio.Task[None]") -> None:
        error = None if start.cancelled() else start.exception()
        if error is None:
            if not self.should_exit:
                self._on_ready()
            return
        log.opt(exception=error).critical("The server could not start")
        self.has_failed = True
        self.should_exit = True


def _end(reason: str, code: int) -> None:
    flush_logs()
    os.write(2, f"{reason}.\n".encode())  # not the logger: a signal may have come while it held its lock
    os._exit(code)
