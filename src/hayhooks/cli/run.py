"""``hayhooks run``: the server."""

import gc

import click


@click.command(short_help="Run the server.")
@click.option("--host", "-h", help="Address to listen on. [default: HAYHOOKS_HOST, localhost]")
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    help="Port to listen on, 0 for a free one. [default: HAYHOOKS_PORT, 1416]",
)
@click.option(
    "--pipelines-dir",
    "-d",
    type=click.Path(file_okay=False),
    help="Directory whose pipelines are deployed at start. [default: HAYHOOKS_PIPELINES_DIR, ./pipelines]",
)
@click.option("--root-path", help="Path that a proxy puts before the server's own. [default: HAYHOOKS_ROOT_PATH, none]")
@click.option(
    "--additional-python-path",
    type=click.Path(),
    help="Directory that wrappers may import from. [default: HAYHOOKS_ADDITIONAL_PYTHON_PATH, none]",
)
@click.option("--workers", "-w", type=click.IntRange(min=1), default=1, show_default=True, help="Server processes.")
@click.option(
    "--require",
    multiple=True,
    metavar="PATTERN",
    help="Deployment that must be live for /health/ready; * and ? match. May be given several times. "
    "[default: HAYHOOKS_REQUIRE, none]",
)
@click.option("--reload", "-r", is_flag=True, help="Deploy again what changes in the pipelines directory.")
def run(
    host: str | None,
    port: int | None,
    pipelines_dir: str | None,
    root_path: str | None,
    additional_python_path: str | None,
    workers: int,
    require: tuple[str, ...],
    reload: bool,
) -> None:
    """Run the server until it is stopped.

    It deploys everything in the pipelines directory, then answers on http://localhost:1416.
    """
    # What is imported stays: looking for garbage among it is a tenth of the time that the imports take.
    gc.disable()
    from hayhooks.server.main import serve  # the only command that needs the server

    gc.enable()

    serve(
        host=host,
        port=port,
        pipelines_dir=pipelines_dir,
        root_path=root_path,
        additional_python_path=additional_python_path,
        workers=workers,
        reload=reload,
        require=require,
    )
