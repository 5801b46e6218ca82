"""Writes the pages of ``docs/reference/`` from the program itself: ``python docs/generate.py``.

``python docs/generate.py --check`` changes nothing and fails when a committed page says something else.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hayhooks.cli.app import cli
from hayhooks.core.deployment import Deployment, Entry, Limits
from hayhooks.core.errors import Kind
from hayhooks.server.openapi import describe, fixed_paths
from hayhooks.settings import AppSettings
from hayhooks.surfaces._http import STATUS

PAGES = Path(__file__).parent / "reference"
_MADE = "<!-- Made by docs/generate.py; change the program, then run it again. -->"
_CONFIGURATION = f"""# Configuration

{_MADE}

Settings are environment variables. They can also stand in a file named `.env`, which is looked for in the working
directory and then in the directories above it; a variable of the environment wins over the file, and an option of
`hayhooks run` wins over both. Lists are written as JSON:
`HAYHOOKS_CORS_ALLOW_ORIGINS='["https://app.example.com"]'`. A value that a setting cannot take stops the start.

Client commands read the ones that concern them: `HAYHOOKS_HOST`, `HAYHOOKS_PORT`, `HAYHOOKS_USE_HTTPS`,
`HAYHOOKS_DISABLE_SSL`, `HAYHOOKS_ADMIN_KEY`, `HAYHOOKS_FILES_TO_IGNORE_PATTERNS`, and `HAYHOOKS_API_KEY`, the key they
send with calls where a proxy or a pipeline of yours asks for one.
"""
_CONFIGURATION_END = """
Haystack's own variables stay in force, such as `HAYSTACK_DESERIALIZATION_ALLOWLIST` and `HAYSTACK_TELEMETRY_ENABLED`,
which is off unless you set it.
"""
_COMMAND_LINE = f"""# Command line

{_MADE}

`hayhooks run` is the server, `hayhooks mcp run` and `hayhooks a2a run` are servers of one protocol; the other commands
talk to one. Results go to standard output, errors to standard error.
The exit code is 0 for success, 1 for a refusal or failure whose reason is printed, and 2 for a command that was written
wrongly. Commands that print data take `--json`.
"""
_API = f"""# HTTP API

{_MADE}

A running server describes itself, with the schemas of what is deployed, at `/docs`, `/redoc` and `/openapi.json`. This
page lists what is the same for every server. Paths are below `HAYHOOKS_ROOT_PATH`.
"""
_ERRORS = """
## Errors

Every error of these routes has one shape. `detail` is a sentence for the caller, `kind` a word for the program.
`errors` is there when a body did not fit: where, what, and pydantic's type of fault. `traceback` is there with
`HAYHOOKS_SHOW_TRACEBACKS` only.

```json
{"detail": "year: Input should be a valid integer", "kind": "invalid",
 "errors": [{"loc": ["body", "year"], "msg": "Input should be a valid integer", "type": "int_type"}]}
```

An `HTTPException` that a wrapper raises passes through with its status, headers and `detail`, which may then be any
JSON. Paths below `/v1`, and `/{name}/chat`, answer in [OpenAI's shape](../openai-chat.md#errors), those of Anthropic's
API in [Anthropic's](../anthropic.md#errors), those below `/a2a/{name}` in [A2A's](../a2a.md#tasks).

| Kind | Status | What it means |
|---|---|---|
"""
_ERRORS_END = """
A path that nothing answers is 404 with the kind `not_found`; a method that a path does not take is 405 with the kind
`invalid` and an `Allow` header.
"""

# First setting of each section; the order of the page is the order of the class.
_SECTIONS = {
    "host": "Where the server listens",
    "pipelines_dir": "Pipelines and files",
    "max_concurrent_runs": "Limits",
    "admin_key": "Security",
    "cors_allow_origins": "CORS, for runs",
    "log_level": "Logs",
}
# What a kind tells the caller to do. A kind without a line here cannot be documented, and the script fails.
_KINDS: dict[str, str] = {
    "invalid": "The request does not fit. `errors` says where. Mend it; the same request fails again.",
    "not_found": "No deployment of that name, or it has no such hook.",
    "conflict": "The name is taken. Overwrite it, or choose another.",
    "busy": "The deployment is full, and so is its queue; or the key is over its limits. Come back after `Retry-After` "
    "seconds.",
    "failed": "The pipeline's code, or the server's, raised. The server's log has the traceback.",
    "timeout": "The run took longer than its deployment allows, and was stopped.",
    "forbidden": "Management is not open to this caller: see the security model.",
    "unauthorized": "A key or token is needed, or the one that was sent does not count.",
    "too_large": "The body is larger than the server's limit.",
    "misdirected": "The `Host` header names a server that this is not.",
    "unsupported": "The body is compressed. Send it as it is.",
    "unavailable": "The server is starting, stopping or overloaded. Try again after `Retry-After` seconds.",
}
_OUTSIDE_OPENAPI = {
    "/docs": "The API's interactive page (Swagger UI). Works without the internet.",
    "/redoc": "The API's reading page (ReDoc). Works without the internet.",
    "/openapi.json": "The OpenAPI 3.1 document of what is deployed now.",
    "/a2a": "The [A2A](../a2a.md) agents that the caller may call.",
    "/a2a/{name}/.well-known/agent-card.json": "The card of an agent, which is called at `/a2a/{name}`.",
}
_TAGS = {
    "status": "Status",
    "config": "Management",
    "keys": "Keys",
    "pipelines": "Running",
    "openai": "OpenAI",
    "anthropic": "Anthropic",
}


def configuration() -> str:
    """The page of settings."""
    parts = [_CONFIGURATION]
    for name, field in AppSettings.model_fields.items():
        if name in _SECTIONS:
            parts.append(f"\n## {_SECTIONS[name]}\n\n| Variable | Type | Default | What it says |\n|---|---|---|---|\n")
        first, *others = variables(name, field)
        also = f" Also read as {', '.join(f'`{other}`' for other in others)}." if others else ""
        parts.append(f"| `{first}` | {_type(field)} | {_default(field)} | {_cell(field.description or '')}{also} |\n")
    return "".join([*parts, _CONFIGURATION_END])


def variables(name: str, field: FieldInfo) -> list[str]:
    """The variables that set *field*, the preferred one first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"HAYHOOKS_{name.upper()}"]


def command_line() -> str:
    """The page of commands."""
    parts = [_COMMAND_LINE]
    for path, command in commands(cli, "hayhooks"):
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        text = command.get_help(context).replace("\b\n", "")
        parts.append(f"\n## {path}\n\n```text\n{_trimmed(text)}\n```\n")
    return "".join(parts)


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """*command* and every command below it, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from commands(below, f"{path} {name}")


def api() -> str:
    """The page of routes and errors."""
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {title: [] for title in _TAGS.values()}
    for path, methods in {**fixed_paths(), **_deployment_paths()}.items():
        for method, operation in methods.items():
            operations[_TAGS[operation["tags"][0]]].append((method.upper(), path, operation))
    parts = [_API]
    for title, rows in operations.items():
        parts.append(f"\n## {title}\n\n| Method | Path | Operation id | |\n|---|---|---|---|\n")
        for method, path, operation in rows:
            text = operation["description"].rstrip(".")
            identifier = operation["operationId"].replace("_name_", "{name}")
            parts.append(f"| {method} | `{path}` | `{identifier}` | {_cell(text)}. |\n")
    parts.append("\n## Documentation\n\n| Method | Path | |\n|---|---|---|\n")
    parts += [f"| GET | `{path}` | {text} |\n" for path, text in _OUTSIDE_OPENAPI.items()]
    parts.append(_ERRORS)
    parts += [f"| `{kind}` | {STATUS[kind]} | {_KINDS[kind]} |\n" for kind in get_args(Kind)]
    return "".join([*parts, _ERRORS_END])


def _deployment_paths() -> dict[str, Any]:
    """The paths of a deployment named ``{name}`` that has every hook."""
    entries = {
        "run_api": Entry("run_api", "Run the deployment with its own arguments."),
        "run_chat_completion": Entry("run_chat_completion", "Chat completion by this deployment; as above."),
    }
    worker: Any = None  # described, never called
    return describe(Deployment("{name}", "", entries, worker, Limits(), takes_legacy_calls=True))[0]


def _type(field: FieldInfo) -> str:
    annotation = str(field.annotation)
    for word, shown in (
        ("SecretStr", "text"),
        ("list[str]", "JSON list of text"),
        ("Literal", " or ".join(f"`{choice}`" for choice in get_args(field.annotation))),
        ("float", "number"),
        ("int", "whole number"),
        ("bool", "`true` or `false`"),
    ):
        if word in annotation:
            return shown
    return "text"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is None or value == "":
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def pages() -> dict[Path, str]:
    """Every generated page."""
    return {
        PAGES / "configuration.md": configuration(),
        PAGES / "cli.md": command_line(),
        PAGES / "api.md": api(),
    }


def main() -> None:
    """Write the pages, or compare them."""
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in pages().items() if not path.is_file() or path.read_text() != text]
        sys.exit(f"Not current: {', '.join(stale)}. Run python docs/generate.py." if stale else 0)
    PAGES.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
