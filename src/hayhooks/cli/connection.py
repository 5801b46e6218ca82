"""Which server the client commands talk to, and how their errors are told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from hayhooks.cli.environment import Environment, InvalidEnvironment, read_environment

if TYPE_CHECKING:
    from hayhooks.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_URL = "hayhooks.url"
_API_KEY = "hayhooks.api_key"


class CommandFailed(click.ClickException):
    """Ends a command: the reason goes to stderr, what to do next below it, and the exit code is 1."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the reason and the hint."""
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(self.hint, file=file, err=file is None)


class ExistingPath(click.Path):
    """A path that must be there: when it is not, the command has failed, however rightly it was written."""

    def fail(self, message: str, param: click.Parameter | None = None, ctx: click.Context | None = None) -> NoReturn:
        """Raise CommandFailed."""
        raise CommandFailed(message)


def connection_options(command: F) -> F:
    """Options that say which server to talk to; before a command they count for it, after it they win."""
    for option in (
        click.option(
            "--api-key",
            metavar="KEY",
            expose_value=False,
            callback=_remember(_API_KEY),
            help="Key of the server. [default: HAYHOOKS_ADMIN_KEY or HAYHOOKS_API_KEY]",
        ),
        click.option(
            "--url",
            metavar="URL",
            expose_value=False,
            callback=_remember(_URL),
            help="Server to talk to. [default: HAYHOOKS_HOST and HAYHOOKS_PORT, http://localhost:1416]",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def server_client(
    context: click.Context, *, timeout_s: float | None = None, manages: bool = False
) -> Iterator["Client"]:
    """A client of the server that the options and the environment name; its errors end the command.

    A command that *manages* the server prefers the admin key, another one the API key.
    """
    from hayhooks.client import Client, ClientError  # not needed for --help

    environment = environment_of_command()
    keys = (environment.admin_key, environment.api_key) if manages else (environment.api_key, environment.admin_key)
    try:
        yield Client(
            context.meta.get(_URL) or environment.url,
            api_key=context.meta.get(_API_KEY) or keys[0] or keys[1],
            timeout_s=timeout_s,
            verify_tls=not environment.disable_ssl,
        )
    except ClientError as error:
        raise CommandFailed(str(error), error.hint) from error


def environment_of_command() -> Environment:
    """The settings of client commands; a variable that cannot be read ends the command."""
    try:
        return read_environment()
    except InvalidEnvironment as error:
        raise CommandFailed(str(error)) from error


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of live deployments that begin with *incomplete*, none when no server answers quickly."""
    try:
        with server_client(context, timeout_s=1, manages=True) as client:
            return [name for name in client.status().names if name.startswith(incomplete)]
    except click.ClickException:  # a shell that completes shows no errors
        return []


def _remember(key: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            context.meta[key] = value  # shared by the contexts of all nested commands
        return value

    return callback
