"""``hayhooks pipeline run``: call a deployment and print its answer."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from hayhooks.cli.connection import CommandFailed, ExistingPath, complete_names, connection_options, server_client
from hayhooks.cli.progress import waiting

if TYPE_CHECKING:
    from hayhooks.client import Answer, Upload

DEFAULT_UPLOAD_PARAM = "files"


@click.command(short_help="Run a deployment.")
@click.argument("name", shell_complete=complete_names)
@click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    metavar="[PARAM=]PATH",
    type=click.Path(),
    help="File to send, for the parameter that takes files or for PARAM. Repeatable.",
)
@click.option(
    "--dir",
    "-d",
    "directories",
    multiple=True,
    type=ExistingPath(exists=True, file_okay=False, path_type=Path),
    help="Directory whose files are sent. Repeatable.",
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter: text or JSON, as the deployment's schema says; NAME=@FILE reads it from a file. Repeatable.",
)
@click.option("--stream", "-s", is_flag=True, help="Print the answer as it arrives.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the answer to FILE, - for stdout.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@connection_options
@click.pass_context
def run(
    context: click.Context,
    name: str,
    files: tuple[str, ...],
    directories: tuple[Path, ...],
    params: tuple[str, ...],
    stream: bool,
    output: str | None,
    as_json: bool,
) -> None:
    """Run the deployment NAME and print what it answers.

    \b
    hayhooks pipeline run chat -p question="What is Haystack?" --stream
    hayhooks pipeline run index -f report.pdf -p 'tags=["finance"]'
    """  # noqa: D301 - click wants the character itself: it keeps these lines as they are
    from hayhooks.cli.params import InvalidParam, param_values, upload_params

    if stream and as_json:
        raise click.UsageError("--stream and --json exclude each other: JSON is complete or nothing.")
    with server_client(context) as client:
        # What needs no interpretation needs no schema either.
        schema = client.request_schema(name) if params or files or directories else None
        try:
            values = param_values(params, schema)
        except InvalidParam as error:
            raise CommandFailed(f"--param: {error}") from error
        uploads = _uploads(files, directories, upload_params(schema))
        if stream:
            answer = client.call(name, values, uploads)
        else:
            with waiting(f"Running {name!r}"):
                answer = client.call(name, values, uploads)
        with answer, _destination(output) as out:
            _write(answer, out, stream=stream, as_json=as_json)


def _write(answer: "Answer", out: IO[bytes] | None, *, stream: bool, as_json: bool) -> None:
    """Write *answer* to *out*, None is stdout."""
    is_file = answer.is_attachment or not answer.is_text
    if is_file and as_json:
        raise CommandFailed(f"The answer is a file ({answer.content_type}), not JSON.", "Keep it with --output FILE.")
    if is_file and not answer.is_text and out is None and sys.stdout.isatty():
        name = f" {answer.filename!r}" if answer.filename else ""
        raise CommandFailed(
            f"The answer is a file{name} ({answer.content_type}), not for a terminal.", "Keep it with --output FILE."
        )
    if is_file:
        target = out or sys.stdout.buffer
        for piece in answer.pieces():
            target.write(piece)
        target.flush()
    elif answer.is_json:
        body = answer.json()
        _write_text(json.dumps(body, indent=2, ensure_ascii=False) if as_json else _readable(body), out, end="\n")
    elif as_json:
        _write_text(json.dumps({"result": "".join(_texts(answer))}, indent=2, ensure_ascii=False), out, end="\n")
    elif stream:
        _write_stream(_texts(answer), out)
    else:
        _write_stream(iter(["".join(_texts(answer))]), out)


def _write_stream(pieces: Iterator[str], out: IO[bytes] | None) -> None:
    last = ""
    for last in pieces:
        _write_text(last, out)
    if out is None and not last.endswith("\n"):
        click.echo()


def _write_text(text: str, out: IO[bytes] | None, end: str = "") -> None:
    if out is None:
        click.echo(text + end, nl=False)
    else:
        out.write((text + end).encode())
        out.flush()


def _texts(answer: "Answer") -> Iterator[str]:
    from hayhooks.client.api import text_pieces

    if answer.content_type != "text/event-stream":
        yield from text_pieces(answer)
        return
    line_is_open = False
    for text in text_pieces(answer):
        # Events of the user's text are continued, events that are JSON objects are lines of their own.
        if text.startswith("{") and text.endswith("}"):
            yield f"\n{text}\n" if line_is_open else f"{text}\n"
            line_is_open = False
        else:
            yield text
            line_is_open = not text.endswith("\n")


def _readable(body: Any) -> str:
    value = body["result"] if isinstance(body, Mapping) and set(body) == {"result"} else body
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _uploads(files: Sequence[str], directories: Sequence[Path], upload_params: Sequence[str]) -> list["Upload"]:
    default = upload_params[0] if upload_params else DEFAULT_UPLOAD_PARAM
    uploads = []
    for given in files:
        param, equals, rest = given.partition("=")
        if equals and (param in upload_params or not Path(given).exists()):
            uploads.append(_upload(param, Path(rest)))
        else:
            uploads.append(_upload(default, Path(given)))
    for directory in directories:
        from hayhooks.cli.sources import UnusableDirectory, directory_files

        try:
            found = directory_files(directory)
        except UnusableDirectory as error:
            raise CommandFailed(str(error)) from error
        uploads += [_upload(default, path, name) for name, path in found.items()]
    return uploads


def _upload(param: str, path: Path, name: str | None = None) -> "Upload":
    import mimetypes  # reads the system's tables

    from hayhooks.client import Upload

    if not path.is_file():
        raise CommandFailed(f"--file: {path} is not a file.")
    kind, encoding = mimetypes.guess_type(path.name)
    return Upload(param, name or path.name, path, kind if kind and not encoding else "application/octet-stream")


@contextmanager
def _destination(output: str | None) -> Iterator[IO[bytes] | None]:
    """The file to write to, None for stdout; a file that exists is replaced only when the answer is complete."""
    if output is None:
        yield None
        return
    if output == "-":
        yield sys.stdout.buffer
        return
    path = Path(output)
    # Replaced by a rename; what is no plain file (a device, a pipe) can only be written to.
    partial = path.with_name(f"{path.name}.part") if path.is_file() or not path.exists() else path
    try:
        with partial.open("wb") as file:
            yield file
        if partial != path:
            partial.replace(path)
    except OSError as error:
        raise CommandFailed(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        if partial != path:
            partial.unlink(missing_ok=True)
