"""``hayhooks pipeline canary``, ``promote`` and ``abort``, and the options by which a deploy is a canary."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hayhooks.cli.connection import CommandFailed, complete_names, connection_options, server_client
from hayhooks.cli.output import print_columns, print_done, print_json
from hayhooks.cli.progress import waiting

if TYPE_CHECKING:
    from hayhooks.client import CanaryEnded, CanaryStatus

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S = 90.0
PERCENT = click.IntRange(1, 99)
_name = click.argument("name", shell_complete=complete_names)
_json = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")


def threshold_options(command: F) -> F:
    """Options that say when the server is to abort a canary by itself."""
    for option in (
        click.option(
            "--min-runs", type=click.IntRange(1, 1_000_000), help="Runs before it is judged. [default of a canary: 20]"
        ),
        click.option(
            "--max-error-percent",
            type=click.FloatRange(0, 100),
            help="Abort it when more of its runs fail, and more than of the live version. [default of a canary: 10]",
        ),
    ):
        command = option(command)
    return command


def canary_options(command: F) -> F:
    """Options of a deploy that may be one of a canary."""
    share = click.option(
        "--canary",
        type=PERCENT,
        metavar="PERCENT",
        help="Do not replace what is live: give the new version this share of its runs, 1 to 99.",
    )
    return share(threshold_options(command))


@click.command(short_help="Show or change a deployment's canary.")
@_name
@click.option("--percent", type=PERCENT, help="Give it this share of the runs from now on.")
@threshold_options
@_json
@connection_options
@click.pass_context
def canary(
    context: click.Context,
    name: str,
    percent: int | None,
    max_error_percent: float | None,
    min_runs: int | None,
    as_json: bool,
) -> None:
    """Show how the canary of the deployment NAME fares beside the live version, or change its share."""
    with server_client(context, timeout_s=TIMEOUT_S, manages=True) as client:
        if (percent, max_error_percent, min_runs) == (None, None, None):
            status = client.canary(name)
        else:
            status = client.change_canary(name, percent, max_error_percent=max_error_percent, min_runs=min_runs)
    if as_json:
        print_json(status.raw)
    else:
        _print_status(status)


@click.command(short_help="Make a canary the live version.")
@_name
@_json
@connection_options
@click.pass_context
def promote(context: click.Context, name: str, as_json: bool) -> None:
    """Make the canary of the deployment NAME its live version, for all runs."""
    with server_client(context, manages=True) as client, waiting(f"Promoting the canary of {name!r}"):
        ended = client.promote(name)
    _print_ended(ended, "is live now", as_json)


@click.command(short_help="Withdraw a canary.")
@_name
@_json
@connection_options
@click.pass_context
def abort(context: click.Context, name: str, as_json: bool) -> None:
    """Give the canary of the deployment NAME no more runs; those under way end on it."""
    with server_client(context, manages=True) as client, waiting(f"Aborting the canary of {name!r}"):
        ended = client.abort(name)
    _print_ended(ended, "gets no more runs", as_json)


def check_canary_options(canary: int | None, max_error_percent: float | None, min_runs: int | None) -> dict[str, Any]:
    """The options for the client; thresholds without a canary end the command."""
    if canary is None and (max_error_percent, min_runs) != (None, None):
        raise CommandFailed("--max-error-percent and --min-runs are for a canary.", "Say its share: --canary 10")
    return {"canary": canary, "max_error_percent": max_error_percent, "min_runs": min_runs}


def _print_ended(ended: "CanaryEnded", what: str, as_json: bool) -> None:
    if as_json:
        print_json(ended.raw)
    else:
        print_done(f"Version {ended.version[:12]} of {ended.name!r} {what}.")


def _print_status(status: "CanaryStatus") -> None:
    if status.state == "none":
        click.echo(f"{status.name!r} has no canary.")
    else:
        raw, rest = status.raw, 100 - status.percent
        click.echo(f"{status.name!r} has a canary ({status.state}) since {_time(raw.get('began_at'))}.")
        click.echo()
        head = ("", "VERSION", "SHARE", "RUNS", "FAILED", "")
        print_columns(
            [
                head,
                _row("canary", status.version, status.percent, status.runs, status.failures),
                _row("live", raw.get("stable_version"), rest, status.stable_runs, status.stable_failures),
            ]
        )
        click.echo()
        click.echo(
            f"It is aborted when more than {raw.get('max_error_percent'):g} % of at least {raw.get('min_runs')} runs "
            "fail, and more than of the live version."
        )
    if status.last_outcome is not None:
        click.echo(_last(status.last_outcome))


def _row(what: str, version: str | None, percent: int, runs: int, failures: int) -> tuple[str, ...]:
    share = f"{100 * failures / runs:.1f} %" if runs else ""
    return what, (version or "-")[:12], f"{percent} %", str(runs), str(failures), share


def _last(outcome: Mapping[str, Any]) -> str:
    by = " by the server" if outcome.get("is_automatic") else ""
    version, state = str(outcome.get("version"))[:12], outcome.get("state")
    return f"The last one, {version}, was {state}{by} at {_time(outcome.get('ended_at'))}: {outcome.get('reason')}"


def _time(seconds: Any) -> str:
    return datetime.fromtimestamp(float(seconds or 0)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
