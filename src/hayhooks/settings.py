"""Every setting of the server: from ``HAYHOOKS_*`` variables and a ``.env`` file of the working directory or above."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dotenv import find_dotenv
from pydantic import (
    AliasChoices,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)  # fmt: skip
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_MB = 1024 * 1024
_JWT_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)
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

    def __init__(self, **given: Any) -> None:
        if "_env_file" not in given:
            given["_env_file"] = find_dotenv(usecwd=True) or None
        super().__init__(**given)

    host: str = Field(
        default="localhost", description="Address to listen on, and where client commands find the server."
    )
    port: int = Field(default=1416, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    root_path: str = Field(default="", description="Path prefix under which a reverse proxy serves this server.")
    use_https: bool = Field(default=False, description="Client commands speak HTTPS to the server.")
    disable_ssl: bool = Field(default=False, description="Client commands do not verify the server's certificate.")

    mcp_host: str = Field(default="localhost", description="Address that `hayhooks mcp run` listens on.")
    mcp_port: int = Field(default=1417, ge=0, le=65535, description="Its port; 0 takes a free one.")
    a2a_host: str = Field(default="localhost", description="Address that `hayhooks a2a run` listens on.")
    a2a_port: int = Field(default=1418, ge=0, le=65535, description="Its port; 0 takes a free one.")
    a2a_external_url: str = Field(
        default="",
        description="URL by which other agents reach the server, for agent cards. Empty: as they ask for it.",
    )
    a2a_v0_3_compat: bool = Field(default=True, description="Agents that speak A2A 0.3 are answered, too.")
    a2a_tasks_max_age_s: PositiveFloat = Field(
        default=30 * 24 * 3600.0, description="Seconds for which tasks of A2A are kept after their last change."
    )
    a2a_tasks_max_count: PositiveInt = Field(
        default=10_000, description="How many tasks are kept; the oldest go first."
    )
    a2a_tasks_max_bytes: PositiveInt = Field(
        default=1024**3, description="Bytes of tasks that are kept; the oldest go first."
    )
    a2a_push_hosts: list[str] = Field(
        default_factory=list,
        description="Hosts (`name` or `name:port`) that push notifications may go to; `*` is every host with public "
        "addresses only. Empty: agents offer none.",
    )

    pipelines_dir: str = Field(default="./pipelines", description="Directory whose pipelines are deployed at start.")
    only: str = Field(default="", description="Name of the one pipeline of that directory to serve. Empty: all.")
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
    kept_versions: int = Field(
        default=10,
        ge=2,
        description="Versions kept of each name, for rolling back. Those in use, and the live one, are never dropped.",
    )
    reload: bool = Field(
        default=False, description="Deploy again, while the server runs, what changes in that directory."
    )
    require: list[str] = Field(
        default_factory=list,
        description="Deployments (names, or glob patterns of them) that must be live for `/health/ready` to say so.",
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
    max_total_runs: PositiveInt | None = Field(
        default=10_000, description="Runs of one worker at once, waiting ones included; more are answered with 503."
    )
    max_total_streams: PositiveInt | None = Field(
        default=10_000, description="Open streams of one worker; more are answered with 503."
    )
    max_delay_s: PositiveFloat | None = Field(
        default=0.5,
        description="Seconds by which a worker may be behind its work; once it is, so much is answered with 503 that "
        "it is no more than a fifth of that.",
    )
    run_timeout_s: PositiveFloat | None = Field(
        default=None,
        description="Seconds that a run may take, waiting included; then it is stopped and answered with 504.",
    )
    max_body_bytes: PositiveInt = Field(default=100 * _MB, description="Largest body that is read into memory.")
    max_upload_bytes: PositiveInt = Field(
        default=10 * 1024 * _MB, description="Largest multipart body; its files are spooled to disk."
    )
    max_header_bytes: PositiveInt = Field(
        default=64 * 1024, description="Largest head of a request, address and header fields together."
    )
    max_connections: PositiveInt | None = Field(
        default=None,
        description="Connections of one worker; more get 503. Unset: as many as the limit on open files allows.",
    )
    slow_writer_timeout_s: PositiveFloat = Field(
        default=30.0,
        description="Seconds in which the head of a request must arrive, and a body at least 240 bytes per second.",
    )
    slow_reader_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="Seconds after which a caller who does not read an answer is cut off, and its run stopped.",
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
    responses_max_bytes: PositiveInt = Field(
        default=1024**3,
        description="Bytes of responses, and as many of conversations, that are kept; the oldest go first.",
    )
    worker_timeout_s: PositiveFloat = Field(
        default=120.0,
        description="Seconds that a deploy waits for the other workers of `--workers` to build the same version.",
    )
    graceful_shutdown_timeout: NonNegativeInt = Field(
        default=5, description="Seconds that runs may take to finish when the server stops."
    )
    drain_delay_s: NonNegativeFloat = Field(
        default=0.0,
        description="Seconds for which a server that is told to stop still takes calls, while `/health/ready` is 503.",
    )

    admin_key: SecretStr | None = Field(
        default=None,
        description="Key that may do everything. Without it, a server that listens beyond loopback or requires a login "
        "makes one at its first start, and shows it once.",
    )
    require_login: bool | None = Field(
        default=None,
        description="Calling runs needs a key or token, except of deployments that say `public = True`. "
        "Unset: only where tokens of an issuer are taken.",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names besides loopback by which a server on loopback may be managed, as behind a proxy.",
    )
    jwt_issuer: str = Field(
        default="",
        description="Issuer (`iss`) of the JSON Web Tokens that callers may show, to the letter. Empty: none may.",
    )
    jwt_audience: str = Field(
        default="", description="Audience (`aud`) that tokens must be for; several are separated by commas."
    )
    jwt_jwks_url: str = Field(
        default="",
        description="Where the issuer's signing keys are. Empty: its `/.well-known/openid-configuration` says it.",
    )
    jwt_algorithms: list[str] = Field(
        default_factory=lambda: [
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "EdDSA",
        ],
        description="Signature algorithms that tokens may use; those with a shared secret are not among them.",
    )
    jwt_scopes_claim: str = Field(
        default="scope",
        description="Claim of a token with its scopes: a list, or a text with spaces. Dots lead into objects, as in "
        "`realm_access.roles`.",
    )
    jwt_scope_prefix: str = Field(
        default="",
        description="Only those scopes of a token count that begin with this, which is left out: `hayhooks:`.",
    )
    jwt_leeway_s: NonNegativeFloat = Field(
        default=30.0, le=300, description="Seconds that the issuer's clock and this one may differ."
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
    log_format: str = Field(
        default="",
        description="`json` for one JSON object per line, or a loguru format. Empty: time, level and message.",
    )
    log_runs: bool = Field(default=True, description="A line, at INFO, for each run when it ends.")
    access_log: bool = Field(default=False, description="A line, at INFO, for each HTTP request, too.")

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

    @field_validator("require")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        if not all(pattern.strip() for pattern in patterns):
            raise ValueError("must hold names or patterns, none of them empty")
        return patterns

    @field_validator("a2a_external_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
            raise ValueError("must be an http:// or https:// URL, without a query")
        return url.rstrip("/")

    @field_validator("a2a_push_hosts")
    @classmethod
    def _are_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not host.strip() or "/" in host or "@" in host or (host != "*" and "*" in host):
                raise ValueError("must hold host names, each with or without a port, or '*'")
        return [host.strip() for host in hosts]

    @field_validator("admin_key")
    @classmethod
    def _empty_is_none(cls, key: SecretStr | None) -> SecretStr | None:
        return key if key is not None and key.get_secret_value() else None

    @field_validator("jwt_algorithms")
    @classmethod
    def _are_public_key_algorithms(cls, algorithms: list[str]) -> list[str]:
        # With one for shared secrets, whoever knows the public key could sign (RFC 8725, section 2.1).
        if not algorithms or not set(algorithms) <= _JWT_ALGORITHMS:
            raise ValueError(f"must be some of {', '.join(sorted(_JWT_ALGORITHMS))}")
        return algorithms

    @model_validator(mode="after")
    def _knows_whose_tokens(self) -> "AppSettings":
        if not self.jwt_issuer:
            for name in ("jwt_audience", "jwt_jwks_url"):
                if getattr(self, name):
                    raise ValueError(
                        f"HAYHOOKS_{name.upper()} is set, and HAYHOOKS_JWT_ISSUER is not: set both or none"
                    )
            return self
        if not self.jwt_audiences:
            raise ValueError(
                "HAYHOOKS_JWT_AUDIENCE must be set with HAYHOOKS_JWT_ISSUER: otherwise tokens that the issuer made "
                "for other services would open this one"
            )
        variable = "HAYHOOKS_JWT_JWKS_URL" if self.jwt_jwks_url else "HAYHOOKS_JWT_ISSUER"
        if not is_safe_source(self.jwt_jwks_url or self.jwt_issuer):
            raise ValueError(f"{variable} must be an https:// URL, or http:// on this machine: keys come from there")
        missing = [name for name in ("jwt", "cryptography") if find_spec(name) is None]
        if missing:
            raise ValueError(
                f"HAYHOOKS_JWT_ISSUER needs packages that are not installed ({', '.join(missing)}): "
                "pip install 'hayhooks[jwt]'"
            )
        return self

    @field_validator("root_path")
    @classmethod
    def _has_a_slash(cls, path: str) -> str:
        return "/" + path.strip("/") if path.strip("/") else ""

    @property
    def jwt_audiences(self) -> list[str]:
        """The audiences one by one."""
        return [audience.strip() for audience in self.jwt_audience.split(",") if audience.strip()]

    @property
    def requires_login(self) -> bool:
        """Whether runs need a key or token where a deployment says nothing of it."""
        return bool(self.jwt_issuer) if self.require_login is None else self.require_login

    @property
    def logs_json(self) -> bool:
        """Whether lines of the log are JSON."""
        return self.log_format.strip().lower() == "json"

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
        return AppSettings(_env_file=env_file, **chosen)
    except ValidationError as error:
        lines = [_fault(found) for found in error.errors(include_url=False)]
        raise InvalidSettings("; ".join(lines)) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = _variable((field[1],)) if field else "A variable"
        raise InvalidSettings(f'{name} must be JSON, for example ["one", "two"].') from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"Cannot read {env_file}: {error}") from None


def is_safe_source(url: str) -> bool:
    """Whether what comes from *url* is what its host sent: https, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "http":
        return host == "localhost" or (host.replace(".", "").isdigit() and host.startswith("127.")) or host == "::1"
    return parts.scheme == "https" and bool(host)


def _fault(found: Any) -> str:
    if not found["loc"]:  # several variables together, which the message names
        return str(found["msg"]).removeprefix("Value error, ")
    return f"{_variable(found['loc'])}: {_reason(found)}"


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
