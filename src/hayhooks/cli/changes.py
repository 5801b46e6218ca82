"""How commands tell what a deploy changed, or would."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hayhooks.cli.output import print_done, print_json

if TYPE_CHECKING:
    from hayhooks.client import Client, Deployed, Tried


def print_deployed(client: "Client", deployed: "Deployed", as_json: bool, done: str = "Deployed") -> None:
    """Print that *deployed* is live, and what breaks its callers."""
    if as_json:
        print_json(deployed.raw)
        return
    where = f" at {client.url}{deployed.endpoint}" if deployed.endpoint else ""
    canary = deployed.raw.get("canary")
    share = f" as a canary with {canary['percent']} % of the runs" if canary else ""
    print_done(f"{done} {deployed.name!r}{share}{where}")
    _print_breaking(deployed.breaking)


def print_tried(tried: "Tried", as_json: bool) -> None:
    """Print what a dry run found."""
    if as_json:
        print_json(tried.raw)
        return
    canary = tried.raw.get("canary")
    if canary:
        what = f"would be a canary with {canary['percent']} % of the runs"
    else:
        what = "would be new" if tried.is_new else "would replace the live version"
    print_done(f"{tried.name!r} can be deployed: version {tried.version[:12]} {what}. Nothing was changed.")
    _print_breaking(tried.breaking)
    harmless = [sentence for sentence in tried.changes if sentence not in tried.breaking]
    if harmless:
        click.echo("Other changes:")
        for sentence in harmless:
            click.echo(f"  {sentence}")


def _print_breaking(sentences: Sequence[str]) -> None:
    if sentences:
        click.echo(click.style("Breaks callers:", fg="yellow", bold=True), err=True)
        for sentence in sentences:
            click.echo(click.style(f"  {sentence}", fg="yellow"), err=True)
