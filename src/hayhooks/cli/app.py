"""The root command and what belongs to every command."""

import os

import click

from hayhooks._version import __version__
from hayhooks.cli.completion import completion
from hayhooks.cli.connection import connection_options
from hayhooks.cli.dev import dev
from hayhooks.cli.keys import keys
from hayhooks.cli.pipeline import pipeline
from hayhooks.cli.protocols import a2a, mcp
from hayhooks.cli.run import run
from hayhooks.cli.status import status


@click.group(
    context_settings={"max_content_width": 100},
    epilog="Settings come from HAYHOOKS_* variables and from a .env file in this directory or above it.",
)
@click.version_option(__version__, prog_name="hayhooks", message="%(prog)s %(version)s")
@connection_options
@click.pass_context
def cli(context: click.Context) -> None:
    """Serve Haystack pipelines and agents, and talk to a server that does."""
    if os.environ.get("NO_COLOR"):
        context.color = False


cli.add_command(run)
cli.add_command(dev)
cli.add_command(mcp)
cli.add_command(a2a)
cli.add_command(status)
cli.add_command(pipeline)
cli.add_command(keys)
cli.add_command(completion)


def main() -> None:
    """Entry point of the ``hayhooks`` command."""
    cli(prog_name="hayhooks")
