"""``hayhooks status``: what a server serves."""

from typing import TYPE_CHECKING

import click

from hayhooks.cli.connection import connection_options, server_client
from hayhooks.cli.output import print_columns, print_json

if TYPE_CHECKING:
    from hayhooks.client import ServerStatus

TIMEOUT_S = 30.0


@click.command(short_help="Show what the server serves.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@connection_options
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what the server serves, and what it could not load and why."""
    with server_client(context, timeout_s=TIMEOUT_S, manages=True) as client:
        answer = client.status()
    if as_json:
        print_json(answer.raw)
    else:
        _print(answer, client.url)


def _print(answer: "ServerStatus", url: str) -> None:
    version = f" {answer.version}" if answer.version else ""
    click.echo(f"{click.style(f'Hayhooks{version} is up', fg='green')} at {url}")
    if answer.deployments:
        click.echo()
        head = ("NAME", "VERSION", "CALLED BY")
        rows = [(live.name, (live.version or "-")[:12], ", ".join(live.entries) or "-") for live in answer.deployments]
        print_columns([head, *rows])
    else:
        click.echo("Nothing is deployed. Deploy a wrapper with `hayhooks pipeline deploy-files DIR`.")
    workers = answer.workers
    if workers is not None:
        processes = "1 process" if workers.count == 1 else f"{workers.count} processes"
        ended = f"{workers.runs} ended since the start, {workers.failed} of them failed"
        click.echo(f"\nRuns in {processes}: {workers.running} running, {workers.queued} waiting; {ended}.")
    if answer.failed:
        click.echo()
        click.echo(click.style(f"Not loaded: {len(answer.failed)}", fg="red"))
        for name, reason in sorted(answer.failed.items()):
            first, *more = reason.strip().splitlines() or ["no reason given"]
            click.echo(f"  {click.style(name, bold=True)}: {first}")
            for line in more:
                click.echo(f"    {line}")
