"""``hayhooks keys``: make, list and revoke API keys, through a server or in its state directory."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from hayhooks.cli.connection import CommandFailed, connection_options, server_client
from hayhooks.cli.output import print_columns, print_done, print_json

if TYPE_CHECKING:
    from hayhooks.client import CreatedKey, KeyInfo

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S = 30.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


class Keys(Protocol):
    """Where the keys are."""

    def list_keys(self) -> "Sequence[KeyInfo]":
        """All of them."""

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires_in_s: float | None = None,
        requests_per_minute: int | None = None,
        max_concurrent_runs: int | None = None,
    ) -> "CreatedKey":
        """Make one."""

    def revoke_key(self, key_id: str) -> "KeyInfo":
        """Revoke one."""


class Duration(click.ParamType[float]):
    """A time such as ``12h`` or ``30d``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        found = re.fullmatch(r"([1-9]\d{0,8})([smhdwy])", str(value))
        if found is None:
            self.fail(f"{value!r} is no time: write a number and s, m, h, d, w or y, as in 30d.", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


def place_options(command: F) -> F:
    """Options that go around the server, for those who cannot get in."""
    for option in (
        click.option("--local", is_flag=True, help="Without a server: in the state directory that settings name."),
        click.option(
            "--state-dir",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Without a server: in this state directory. Running servers see the change within a second.",
        ),
    ):
        command = option(command)
    return command


@click.group(short_help="Make, list and revoke API keys.")
@connection_options
def keys() -> None:
    """Make, list and revoke the API keys of a server."""


@keys.command("create", short_help="Make an API key and print it, this once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="What it may do: run, read, deploy, admin, or run:PATTERN for some deployments. Repeatable. [default: run]",
)
@click.option(
    "--expires", type=Duration(), metavar="TIME", help="How long it works, as 12h or 30d. [default: for good]"
)
@click.option("--rate", type=click.IntRange(min=1), help="Runs per minute and server process. [default: no limit]")
@click.option("--concurrency", type=click.IntRange(min=1), help="Runs at once, likewise. [default: no limit]")
@json_option
@place_options
@connection_options
@click.pass_context
def create(
    context: click.Context,
    name: str,
    scopes: tuple[str, ...],
    expires: float | None,
    rate: int | None,
    concurrency: int | None,
    as_json: bool,
    state_dir: Path | None,
    local: bool,
) -> None:
    """Make an API key named NAME. It is printed alone on a line, and cannot be shown again."""
    with _place(context, state_dir, local) as place:
        made = place.create_key(
            name, scopes or ("run",), expires_in_s=expires, requests_per_minute=rate, max_concurrent_runs=concurrency
        )
    if as_json:
        print_json({**made.info.raw, "key": made.key})
        return
    click.echo(f"Made the key {made.info.name!r} ({made.info.id}) for {', '.join(made.info.scopes)}.", err=True)
    click.echo(
        "It is not shown again. Callers send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.", err=True
    )
    click.echo(made.key)


@keys.command("list", short_help="List API keys.")
@json_option
@place_options
@connection_options
@click.pass_context
def list_keys(context: click.Context, as_json: bool, state_dir: Path | None, local: bool) -> None:
    """List all API keys, also those that do not work any more. The keys themselves are not known."""
    with _place(context, state_dir, local) as place:
        found = place.list_keys()
    if as_json:
        print_json([dict(key.raw) for key in found])
    elif not found:
        click.echo("There are no API keys. Make one with `hayhooks keys create NAME`.")
    else:
        head = ("ID", "NAME", "STATE", "SCOPES", "EXPIRES", "RATE", "CONCURRENCY")
        print_columns([head, *(_row(key) for key in found)])


@keys.command("revoke", short_help="Revoke an API key.")
@click.argument("key", metavar="ID|NAME")
@json_option
@place_options
@connection_options
@click.pass_context
def revoke(context: click.Context, key: str, as_json: bool, state_dir: Path | None, local: bool) -> None:
    """Revoke an API key, for good. Its holder is refused within a second."""
    with _place(context, state_dir, local) as place:
        found = place.list_keys()
        chosen = [one for one in found if one.id == key]
        chosen = chosen or [one for one in found if one.name == key and one.state == "active"]
        if not chosen:
            raise CommandFailed(f"No key works that has the id or name {key!r}.", "`hayhooks keys list` shows all.")
        revoked = place.revoke_key(chosen[0].id)
    if as_json:
        print_json(dict(revoked.raw))
    else:
        print_done(f"Revoked the key {revoked.name!r} ({revoked.id}).")


@contextmanager
def _place(context: click.Context, state_dir: Path | None, is_local: bool) -> Iterator[Keys]:
    if is_local and state_dir is None:
        from hayhooks.settings import InvalidSettings, load  # slower than the rest of a command

        try:
            state_dir = load().state_path
        except InvalidSettings as error:
            raise CommandFailed(str(error)) from error
    if state_dir is None:
        with server_client(context, timeout_s=TIMEOUT_S, manages=True) as client:
            yield client
        return
    from hayhooks.cli.local_keys import LocalKeys, NoKeys

    try:
        with LocalKeys.opened(state_dir) as place:
            yield place
    except NoKeys as error:
        raise CommandFailed(str(error)) from error


def _row(key: "KeyInfo") -> tuple[str, ...]:
    expires = "never" if key.expires_at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(key.expires_at))
    rate = "-" if key.requests_per_minute is None else f"{key.requests_per_minute}/min"
    return (
        key.id, key.name, key.state, ", ".join(key.scopes), expires, rate, str(key.max_concurrent_runs or "-"),
    )  # fmt: skip
