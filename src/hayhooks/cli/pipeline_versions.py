"""``hayhooks pipeline versions`` and ``rollback``: what a deployment was before, and back to it."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from hayhooks.cli.changes import print_deployed
from hayhooks.cli.connection import complete_names, connection_options, server_client
from hayhooks.cli.output import human_bytes, print_columns, print_json
from hayhooks.cli.progress import waiting

if TYPE_CHECKING:
    from hayhooks.client import DeploymentVersion

_TIMEOUT_S = 30.0
_DIGITS = 12

json_option = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")


@click.command("versions", short_help="List the versions of a deployment.")
@click.argument("name", shell_complete=complete_names)
@json_option
@connection_options
@click.pass_context
def versions(context: click.Context, name: str, as_json: bool) -> None:
    """List the versions that NAME has had, newest first: when, by whom and how each became live.

    Those with a size can be rolled back to, also after an undeploy.
    """
    with server_client(context, timeout_s=_TIMEOUT_S, manages=True) as client:
        found = client.versions(name)
    if as_json:
        print_json(found.raw)
        return
    if not any(version.is_live for version in found.versions):
        click.echo(f"{found.name!r} is not live ({found.state.lower() or 'no versions are told'}).")
    if found.versions:
        print_columns([("VERSION", "LIVE", "SINCE", "BY", "HOW", "SIZE"), *map(_row, found.versions)])


@click.command("rollback", short_help="Make an earlier version live again.")
@click.argument("name", shell_complete=complete_names)
@click.argument("version", required=False)
@json_option
@connection_options
@click.pass_context
def rollback(context: click.Context, name: str, version: str | None, as_json: bool) -> None:
    """Make VERSION of NAME live again: the first digits are enough. Without it, the version before the live one.

    After an undeploy, the version that was live last.
    """
    with server_client(context, manages=True) as client:
        with waiting(f"Rolling back {name!r}"):
            deployed = client.rollback(name, version)
        told = (deployed.version or "")[:_DIGITS]
        print_deployed(client, deployed, as_json, f"Version {told} is live again:")


def _row(version: "DeploymentVersion") -> tuple[str, ...]:
    at_s = version.deployed_at
    files = version.raw.get("files") or {}
    count = files.get("count", 0)
    return (
        version.version[:_DIGITS],
        "yes" if version.is_live else "",
        datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S") if at_s is not None else "-",
        version.deployed_by or "-",
        version.how or "-",
        f"{count} file{'' if count == 1 else 's'}, {human_bytes(files.get('bytes', 0))}"
        if version.kept
        else "not kept",
    )
