"""Run the server: ``hayhooks run``."""

import sys

import uvicorn
from starlette.types import ASGIApp

from hayhooks import settings as settings_module
from hayhooks.server.app import create_app
from hayhooks.server.guard import is_loopback
from hayhooks.settings import AppSettings
from hayhooks.telemetry import configure_logging, log


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

    SIGTERM and SIGINT let runs finish for the graceful shutdown time-out; a second signal stops at once.
    """
    settings = settings_module.load(
        host=host,
        port=port,
        pipelines_dir=pipelines_dir,
        root_path=root_path,
        additional_python_path=additional_python_path,
    )
    # What runs in this process and asks for settings gets those that the server runs with.
    for name, value in settings:
        setattr(settings_module.settings, name, value)
    configure_logging(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
        timeout_keep_alive=75,
    )
    server = AnnouncingServer(config, settings)
    server.run()
    if not server.started:
        sys.exit(1)


def run_app(app: ASGIApp, *, host: str | None = None, port: int | None = None) -> None:
    """Serve *app*, as ``create_app`` gives it, in this process; host and port default to the settings."""
    settings = settings_module.settings
    uvicorn.run(app, host=host or settings.host, port=settings.port if port is None else port)


class AnnouncingServer(uvicorn.Server):
    """uvicorn that says where it listens in a line of ours."""

    def __init__(self, config: uvicorn.Config, settings: AppSettings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start, then announce the address."""
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        if not self.started:
            return
        settings = self._settings
        port = next((bound.sockets[0].getsockname()[1] for bound in self.servers if bound.sockets), settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        log.info("Listening on http://{}:{}{} (docs at /docs)", host, port, settings.root_path)
        if not is_loopback(settings.host) and settings.admin_key is None:
            log.warning(
                "Listening beyond loopback without an admin key: deploying and undeploying are refused. "
                "Set HAYHOOKS_ADMIN_KEY to allow them to those who know it."
            )
