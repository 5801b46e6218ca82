"""Settings of the client commands, from the environment and a ``.env`` file.

The server's settings say the same with pydantic, whose import takes longer than a whole client command.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "HAYHOOKS_"

# As pydantic reads booleans.
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "localhost"}  # noqa: S104 - where a server listens, a client cannot call


class InvalidEnvironment(ValueError):
    """A variable has a value that cannot be read."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment tells the client commands."""

    host: str = "localhost"
    port: int = 1416
    use_https: bool = False
    disable_ssl: bool = False
    admin_key: str | None = None
    api_key: str | None = None
    files_to_ignore_patterns: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The server's URL."""
        host = _EVERYWHERE.get(self.host, self.host)
        return f"{'https' if self.use_https else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def read_environment(variables: Mapping[str, str] | None = None, directory: Path | None = None) -> Environment:
    """The settings in *variables* (default: the process's) over those of the ``.env`` file above *directory*.

    Raises:
        InvalidEnvironment: When a value cannot be read; the message names the variable.
    """
    given = {**dotenv_values(directory or Path.cwd()), **(os.environ if variables is None else variables)}
    found = {name.upper().removeprefix(PREFIX): value for name, value in given.items() if _is_ours(name)}
    try:
        port = int(found.get("PORT", "1416"))
    except ValueError:
        raise InvalidEnvironment(f"HAYHOOKS_PORT is {found['PORT']!r}, not a number.") from None
    return Environment(
        host=found.get("HOST", "localhost"),
        port=port,
        use_https=_flag(found, "USE_HTTPS"),
        disable_ssl=_flag(found, "DISABLE_SSL"),
        admin_key=found.get("ADMIN_KEY") or None,
        api_key=found.get("API_KEY") or None,
        files_to_ignore_patterns=_list(found, "FILES_TO_IGNORE_PATTERNS"),
    )


def dotenv_values(directory: Path) -> dict[str, str]:
    """The variables in the nearest ``.env`` file in *directory* or above it."""
    for place in (directory, *directory.parents):
        path = place / ".env"
        if path.is_file():
            import dotenv  # costs as much as the rest of a command, and most directories have no such file

            try:
                return {name: value for name, value in dotenv.dotenv_values(path).items() if value is not None}
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidEnvironment(f"Cannot read {path}: {error}.") from error
    return {}


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _flag(found: Mapping[str, str], name: str) -> bool:
    value = found.get(name, "false").strip().lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise InvalidEnvironment(f"{PREFIX}{name} is {found[name]!r}; write true or false.")


def _list(found: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        value = json.loads(found.get(name, "[]"))
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidEnvironment(f'{PREFIX}{name} must be a JSON list of strings, as ["*.log", "data"].')
    return tuple(value)
