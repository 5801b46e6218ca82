"""Every setting of the server: from ``HAYHOOKS_*`` variables and a ``.env`` file of the working directory or above."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from dotenv import find_dotenv
from pydantic import (
    AliasChoices,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)  # fmt: skip
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_MB = 1024 * 1024
_OTHER_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL", "NOTSET": "TRACE"}  # as the standard library says them


class InvalidSettings(ValueError):
    """A variable has a value that its setting cannot take; the message names it."""


class AppSettings(BaseSettings):
    """The settings; ``hayhooks.settings.settings`` holds those of this process.

    Lists are JSON, as in ``HAYHOOKS_CORS_ALLOW_ORIGINS='["https://app.example"]'``.
    """

    model_config = SettingsConfigDict(
        env_prefix="HAYHOOKS_", env_file_encoding="utf-8", extra="ignore", populate_by_name=True
    )

    host: str = Field(
        default="localhost", description="Address to listen on, and where client commands find the server."
    )
    port: int = Field(default=1416, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    root_path: str = Field(default="", description="Path prefix under which a reverse proxy serves this server.")
    use_https: bool = Field(default=False, description="Client commands speak HTTPS to the server.")
    disable_ssl: bool = Field(default=False, description="Client commands do not verify the server's certificate.")

    pipelines_dir: str = Field(default="./pipelines", description="Directory whose pipelines are deployed at start.")
    state_dir: str = Field(
        default="",
        description="Directory for kept versions, uploads and databases. Empty: in `.hayhooks` beside the pipelines.",
    )
    additional_python_path: str = Field(
        default="",
        validation_alias=AliasChoices("HAYHOOKS_ADDITIONAL_PYTHON_PATH", "HAYHOOKS_ADDITIONAL_PYTHONPATH"),
        description="Directory put on the Python path, for code that several wrappers share.",
    )
    files_to_ignore_patterns: list[str] = Field(
        default_factory=list,
        description="Glob patterns of file and directory names that are never part of a deployment.",
    )
    reload: bool = Field(
        default=False, description="Deploy again, while the server runs, what changes in that directory."
    )
    startup_deploy_workers: PositiveInt = Field(default=4, description="Pipelines deployed at the same time at start.")
    yaml_result: Literal["components", "outputs"] = Field(
        default="components",
        description="What `/run` of a YAML pipeline answers: `{component: {socket: value}}`, or its declared outputs.",
    )
    streaming_components: str = Field(
        default="",
        description="Components that stream by default: `all`, or a comma list. Empty: the last one that can.",
    )

    max_concurrent_runs: PositiveInt | None = Field(
        default=1000, description="Runs of one deployment at once, where its wrapper sets none."
    )
    max_queued_runs: NonNegativeInt | None = Field(
        default=1000, description="Runs of one deployment that may wait for a slot; more are answered with 429."
    )
    run_timeout_s: PositiveFloat | None = Field(
        default=None,
        description="Seconds that a run may take, waiting included; then it is stopped and answered with 504.",
    )
    max_body_bytes: PositiveInt = Field(default=100 * _MB, description="Largest body that is read into memory.")
    max_upload_bytes: PositiveInt = Field(
        default=10 * 1024 * _MB, description="Largest multipart body; its files are spooled to disk."
    )
    files_max_file_bytes: PositiveInt = Field(
        default=512 * _MB, description="Largest file that can be uploaded to `/v1/files`."
    )
    files_max_total_bytes: PositiveInt = Field(
        default=10 * 1024 * _MB, description="All files kept there together; more are refused with 413."
    )
    heartbeat_s: PositiveFloat = Field(
        default=15.0,
        description="Seconds of silence after which a stream sends a comment, so that proxies keep it open.",
    )
    events: Literal["auto", "chunk", "bare", "off"] = Field(
        default="auto",
        description="Form of events in chat streams whose caller asks for none: a `chunk` without choices, a `bare` "
        '`{"event": ...}`, or none; `auto` is bare for Open WebUI, otherwise a chunk.',
    )
    responses_max_age_s: PositiveFloat = Field(
        default=30 * 24 * 3600.0, description="Seconds for which OpenAI responses and conversations are kept."
    )
    responses_max_count: PositiveInt = Field(
        default=10_000,
        description="How many responses, conversations, and items of one conversation are kept; the oldest go first.",
    )
    worker_timeout_s: PositiveFloat = Field(
        default=120.0,
        description="Seconds that a deploy waits for the other workers of `--workers` to build the same version.",
    )
    graceful_shutdown_timeout: NonNegativeInt = Field(
        default=5, description="Seconds that runs may take to finish when the server stops."
    )

    admin_key: SecretStr | None = Field(
        default=None,
        description="Key that deploying and undeploying ask for. Needed when the server listens beyond loopback.",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names besides loopback by which a server on loopback may be managed, as behind a proxy.",
    )
    show_tracebacks: bool = Field(default=False, description="Errors carry the traceback of the user's code.")

    cors_allow_origins: list[str] = Field(default_factory=lambda: ["*"], description="Origins that may call runs.")
    cors_allow_methods: list[str] = Field(default_factory=lambda: ["*"], description="Methods allowed to them.")
    cors_allow_headers: list[str] = Field(default_factory=lambda: ["*"], description="Headers allowed to them.")
    cors_allow_credentials: bool = Field(default=False, description="Whether browsers may send credentials.")
    cors_allow_origin_regex: str | None = Field(default=None, description="Regular expression for further origins.")
    cors_expose_headers: list[str] = Field(default_factory=list, description="Headers that pages may read.")
    cors_max_age: int = Field(default=600, ge=0, description="Seconds for which a browser keeps a preflight answer.")

    log_level: str = Field(
        default="INFO",
        validation_alias=AliasChoices("HAYHOOKS_LOG_LEVEL", "HAYHOOKS_LOG", "LOG"),
        description="Least severe level that is logged.",
    )
    log_format: str = Field(default="", description="A loguru format. Empty: time, level and message.")

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, level: str) -> str:
        known = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
        found = _OTHER_LEVELS.get(level.strip().upper(), level.strip().upper())
        if found not in known:
            if level == os.environ.get("LOG"):  # somebody else's variable, the path of a file perhaps
                return "INFO"
            raise ValueError(f"must be one of {', '.join(known)}")
        return found

    @field_validator("cors_allow_origin_regex")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        return pattern or None

    @field_validator("admin_key")
    @classmethod
    def _empty_is_none(cls, key: SecretStr | None) -> SecretStr | None:
        return key if key is not None and key.get_secret_value() else None

    @field_validator("root_path")
    @classmethod
    def _has_a_slash(cls, path: str) -> str:
        return "/" + path.strip("/") if path.strip("/") else ""

    @property
    def state_path(self) -> Path:
        """The state directory; one for each pipelines directory, as several may lie side by side."""
        if self.state_dir:
            return Path(self.state_dir)
        pipelines = Path(self.pipelines_dir).absolute()
        return pipelines.parent / ".hayhooks" / (pipelines.name or "root")


def load(**given: Any) -> AppSettings:
    """Settings from the environment and the nearest ``.env``; *given* values that are not None win.

    Raises:
        InvalidSettings: A variable has a value that its setting cannot take.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    env_file = find_dotenv(usecwd=True) or None
    try:
        return AppSettings(_env_file=env_file, **chosen)  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [f"{_variable(found['loc'])}: {_reason(found)}" for found in error.errors(include_url=False)]
        raise InvalidSettings("; ".join(lines)) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = _variable((field[1],)) if field else "A variable"
        raise InvalidSettings(f'{name} must be JSON, for example ["one", "two"].') from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"Cannot read {env_file}: {error}") from None


def _variable(loc: tuple[int | str, ...]) -> str:
    """The variable behind the place where pydantic found a fault."""
    name, *below = loc
    variable = name if str(name).isupper() else f"HAYHOOKS_{str(name).upper()}"
    return f"{variable}[{']['.join(map(str, below))}]" if below else str(variable)


def _reason(found: Any) -> str:
    value = "" if "admin_key" in str(found["loc"]).lower() else f", not {str(found['input'])[:80]!r}"
    reason = str(found["msg"]).removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:] + value


settings: AppSettings


def __getattr__(name: str) -> Any:
    # Made when first asked for: whoever imports this module to load other settings must not fail on these.
    if name != "settings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("settings", load())
