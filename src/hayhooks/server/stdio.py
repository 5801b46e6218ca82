"""``hayhooks mcp run --stdio``: no port, but standard input and output, for a client that starts its server itself."""

import asyncio
import signal
import sys
from contextlib import suppress

from hayhooks.server.app import HayhooksApp
from hayhooks.server.extras import ExtraNotInstalled, require_packages
from hayhooks.server.main import prepare
from hayhooks.settings import AppSettings, InvalidSettings


def serve_stdio(*, pipelines_dir: str | None = None, additional_python_path: str | None = None) -> None:
    """Serve until the input ends, or a signal says stop. The log goes to standard error.

    Raises:
        SystemExit: With a message when a setting cannot be used, or packages are missing.
    """
    try:
        require_packages("mcp")
        settings = prepare({"pipelines_dir": pipelines_dir, "additional_python_path": additional_python_path}, "mcp")
    except (InvalidSettings, ExtraNotInstalled) as error:
        sys.exit(f"Error: {error}")
    with suppress(asyncio.CancelledError):
        asyncio.run(_talk(settings))


async def _talk(settings: AppSettings) -> None:
    from hayhooks.surfaces.mcp.stdio import talk

    task = asyncio.current_task()
    assert task is not None
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    app = HayhooksApp(settings, serves="mcp")
    async with app.router.lifespan_context(app):
        assert app.runtime is not None
        await talk(app.runtime, app.http_options)
