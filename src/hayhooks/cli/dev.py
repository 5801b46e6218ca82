"""``hayhooks dev``: the server for whoever writes a pipeline."""

import gc
import sys
import tempfile
from pathlib import Path

import click


@click.command(short_help="Serve a directory while you work on it.")
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(exists=True))
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    help="Port to listen on, 0 for a free one. [default: HAYHOOKS_PORT, 1416]",
)
@click.option(
    "--additional-python-path",
    type=click.Path(),
    help="Directory that wrappers may import from. [default: HAYHOOKS_ADDITIONAL_PYTHON_PATH, none]",
)
def dev(directory: str, port: int | None, additional_python_path: str | None) -> None:
    """Serve DIR on this machine only, and deploy again whatever is edited there.

    DIR is a directory of pipelines, the directory of one deployment, which holds a pipeline_wrapper.py, or a pipeline's
    YAML file. The default is the current directory. Only what is edited is rebuilt; while it cannot be, its previous
    version stays live and the reason is shown. Nothing is remembered when the server stops.
    """
    gc.disable()
    from hayhooks.server.dev import NothingToServe, place_of
    from hayhooks.server.main import serve

    gc.enable()
    try:
        pipelines_dir, only = place_of(Path(directory))
    except NothingToServe as error:
        sys.exit(f"Error: {error}")
    with tempfile.TemporaryDirectory(prefix="hayhooks-dev-") as state_dir:
        serve(
            host="localhost",
            port=port,
            pipelines_dir=str(pipelines_dir),
            additional_python_path=additional_python_path,
            reload=True,
            state_dir=state_dir,
            only=only,
            shows_calls=True,
        )
