"""Logs, written by listening to runs. No request bodies, ever."""

import sys

from loguru import logger as log

from hayhooks.core.errors import HayhooksError, RunFailed
from hayhooks.core.keys import APIKey
from hayhooks.core.principal import Principal
from hayhooks.core.run import Run
from hayhooks.settings import AppSettings

__all__ = ["configure_logging", "log", "log_error", "log_key", "log_run"]

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"


def configure_logging(settings: AppSettings) -> None:
    """Log to standard error, at the level and in the format that the settings ask for."""
    log.remove()
    # diagnose would print the values of variables: bodies and keys among them. backtrace would print our own frames.
    style = settings.log_format or _FORMAT
    log.add(sys.stderr, level=settings.log_level, format=style, diagnose=False, backtrace=False)


def log_run(run: Run, error: BaseException | None) -> None:
    """Log a failed run with what the user's code raised."""
    if isinstance(error, RunFailed):
        cause = error.__cause__
        if _is_answer(cause):
            return
        log.opt(exception=cause).error(
            "Run {} of {} ({}, {}) failed", run.context.run_id, run.context.deployment, run.entry_name, run.via
        )


def log_key(what: str, key: APIKey, caller: Principal) -> None:
    """Log who has made or revoked which API key."""
    scopes = ", ".join(sorted(key.scopes))
    log.info("API key {!r} ({}) for {} was {} by {} ({})", key.name, key.id, scopes, what, caller.name, caller.id)


def log_error(what: str, error: BaseException) -> None:
    """Log what no caller waits for: an error of ours with what the user's code raised, any other with its traceback."""
    exception = error.__cause__ if isinstance(error, HayhooksError) else error
    log.opt(exception=exception).error("{}: {}", what, error)


def _is_answer(cause: BaseException | None) -> bool:
    """Whether the user's code raised an HTTPException: an answer, not an accident."""
    return hasattr(cause, "status_code") and hasattr(cause, "detail")
