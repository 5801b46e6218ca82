"""Run the server: ``hayhooks run``."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hayhooks import settings as settings_module
from hayhooks.core.load import Load
from hayhooks.server.app import HayhooksApp
from hayhooks.server.connections import ConnectionLimits, Connections
from hayhooks.server.guard import is_loopback
from hayhooks.server.open_files import connections_within, raise_limit
from hayhooks.server.sockets import CannotListen, bind, cannot_listen
from hayhooks.settings import AppSettings, InvalidSettings
from hayhooks.telemetry import configure_logging, log

_MANY_CONNECTIONS = 2000  # fewer should surprise nobody
CLOSING_S = 10.0  # that teardowns may take, after runs have had the graceful time-out


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    pipelines_dir: str | None = None,
    root_path: str | None = None,
    additional_python_path: str | None = None,
    workers: int = 1,
    reload: bool = False,
) -> None:
    """Serve until a signal says stop; None means as the settings say.

    SIGTERM and SIGINT let runs finish for the graceful shutdown time-out; a second SIGINT stops at once.

    Raises:
        SystemExit: With a message when a setting or the address cannot be used, or the server could not start.
    """
    given = {
        "host": host,
        "port": port,
        "pipelines_dir": pipelines_dir,
        "root_path": root_path,
        "additional_python_path": additional_python_path,
        "reload": reload or None,
    }
    try:
        settings = prepare(given)
        sockets = bind(settings.host, settings.port)
        if workers > 1:
            from hayhooks.server.workers import run_workers

            code = run_workers(given, settings, sockets, workers)
        else:
            code = run_server(HayhooksApp(settings), settings, sockets, lambda: announce(settings, sockets))
    except (InvalidSettings, CannotListen) as error:
        sys.exit(f"Error: {error}")
    sys.exit(code)


def prepare(given: dict[str, Any]) -> AppSettings:
    """The settings of this process with what was *given*, and logs as they say. Raises InvalidSettings."""
    settings = settings_module.load(**given)
    # What runs in this process and asks for settings gets those that the server runs with.
    settings_module.settings = settings
    configure_logging(settings)
    return settings


def run_server(
    app: ASGIApp, settings: AppSettings, sockets: Sequence[socket.socket], on_listening: Callable[[], None]
) -> int:
    """Serve *app* on *sockets* until a signal says stop; the exit code. *on_listening* is called once it answers."""
    config = uvicorn.Config(
        app,
        http=connections(settings, app),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
        timeout_keep_alive=75,
    )
    server = ListeningServer(config, on_listening)
    try:
        server.run(list(sockets))
    except KeyboardInterrupt:  # uvicorn passes the signal on when all is done
        return 0
    return 0 if server.started else 1


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
    return Connections(limits, app.load if isinstance(app, HayhooksApp) else Load())


def announce(settings: AppSettings, sockets: Sequence[socket.socket]) -> None:
    """Say in the log where the server listens."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("Listening on http://{}:{}{} (docs at /docs)", host, sockets[0].getsockname()[1], settings.root_path)
    if not is_loopback(settings.host) and settings.admin_key is None:
        log.warning(
            "Listening beyond loopback without an admin key: deploying and undeploying are refused. "
            "Set HAYHOOKS_ADMIN_KEY to allow them to those who know it."
        )


def run_app(app: ASGIApp, *, host: str | None = None, port: int | None = None) -> None:
    """Serve *app*, as ``create_app`` gives it, in this process; host and port default to the settings."""
    settings = settings_module.settings
    uvicorn.run(
        app,
        http=connections(settings, app),
        host=host or settings.host,
        port=settings.port if port is None else port,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
    )


class ListeningServer(uvicorn.Server):
    """uvicorn that tells when it listens, and whose end nothing can hold up."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        try:
            await super().startup(sockets=sockets)
        except OSError as error:  # bound, but somebody else was first to listen
            await self.lifespan.shutdown()
            raise cannot_listen(self.config.host, self.config.port, error) from None
        if self.started:
            self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at once when asked a second time."""
        if self.should_exit and sig == signal.SIGINT:
            _end("Stopping at once", 130)
        if not self.should_exit:
            # Code of users' can refuse to end: a teardown(), a thread that some executor waits for, a setup().
            limit_s = (self.config.timeout_graceful_shutdown or 0) + CLOSING_S
            timer = threading.Timer(limit_s, _end, ("Not everything ended in time; stopping anyway", 1))
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)


def _end(reason: str, code: int) -> None:
    os.write(2, f"{reason}.\n".encode())  # not the logger: a signal may have come while it held its lock
    os._exit(code)
