"""``hayhooks mcp run`` and ``hayhooks a2a run``: servers of one protocol each."""

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _options(prefix: str, port: int) -> Callable[[F], F]:
    """What both have in common; *port* is the one they listen on by default."""
    name = prefix.upper()
    options = (
        click.option("--host", "-h", help=f"Address to listen on. [default: HAYHOOKS_{name}_HOST, localhost]"),
        click.option(
            "--port",
            "-p",
            type=click.IntRange(0, 65535),
            help=f"Port to listen on, 0 for a free one. [default: HAYHOOKS_{name}_PORT, {port}]",
        ),
        click.option(
            "--pipelines-dir",
            "-d",
            type=click.Path(file_okay=False),
            help="Directory whose pipelines are deployed at start. [default: HAYHOOKS_PIPELINES_DIR, ./pipelines]",
        ),
        click.option(
            "--additional-python-path",
            type=click.Path(),
            help="Directory that wrappers may import from. [default: HAYHOOKS_ADDITIONAL_PYTHON_PATH, none]",
        ),
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(short_help="Serve deployments as MCP tools.")
def mcp() -> None:
    """The Model Context Protocol: every deployment is a tool."""


@mcp.command("run", short_help="Run an MCP server.")
@_options("mcp", 1417)
@click.option("--stdio", is_flag=True, help="Talk over standard input and output, to the client that started this.")
def run_mcp(
    host: str | None, port: int | None, pipelines_dir: str | None, additional_python_path: str | None, stdio: bool
) -> None:
    """Run a server that speaks MCP alone, until it is stopped.

    It deploys everything in the pipelines directory, then answers on http://localhost:1417/mcp. The main server,
    hayhooks run, speaks MCP as well, at /mcp on its own port.
    """
    gc.disable()  # as in hayhooks run
    from hayhooks.server.main import serve
    from hayhooks.server.stdio import serve_stdio

    gc.enable()
    if stdio:
        if host is not None or port is not None:
            raise click.UsageError("With --stdio there is no --host and no --port.")
        serve_stdio(pipelines_dir=pipelines_dir, additional_python_path=additional_python_path)
        return
    serve("mcp", host=host, port=port, pipelines_dir=pipelines_dir, additional_python_path=additional_python_path)


@click.group(short_help="Serve deployments as A2A agents.")
def a2a() -> None:
    """The Agent2Agent protocol: every deployment that can chat is an agent."""


@a2a.command("run", short_help="Run an A2A server.")
@_options("a2a", 1418)
@click.option(
    "--external-url",
    metavar="URL",
    help="URL by which other agents reach this server. [default: HAYHOOKS_A2A_EXTERNAL_URL, as they ask for it]",
)
def run_a2a(
    host: str | None,
    port: int | None,
    pipelines_dir: str | None,
    additional_python_path: str | None,
    external_url: str | None,
) -> None:
    """Run a server that speaks A2A alone, until it is stopped.

    It deploys everything in the pipelines directory, then answers on http://localhost:1418. The main server, hayhooks
    run, speaks A2A as well, below /a2a on its own port.
    """
    gc.disable()
    from hayhooks.server.main import serve

    gc.enable()
    serve(
        "a2a",
        host=host,
        port=port,
        pipelines_dir=pipelines_dir,
        additional_python_path=additional_python_path,
        external_url=external_url,
    )
