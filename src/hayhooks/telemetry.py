"""Logs, written by listening to runs. No request bodies, ever."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from loguru import logger as log

from hayhooks.core.context import current_context
from hayhooks.core.errors import HayhooksError, RunFailed
from hayhooks.core.keys import APIKey
from hayhooks.core.names import printable
from hayhooks.core.principal import Principal
from hayhooks.core.run import Run
from hayhooks.log_lines import TextLines, json_line
from hayhooks.log_writer import LineWriter
from hayhooks.run_facts import RunFacts, is_answer
from hayhooks.settings import AppSettings

__all__ = ["configure_logging", "flush_logs", "log", "log_error", "log_key", "run_listener"]

_FORMAT = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | {message}"
_INFO = 20

_writer: LineWriter | None = None  # of this process's standard error, once logging is configured


def configure_logging(settings: AppSettings, *, is_own_process: bool = True) -> None:
    """Log to standard error, at the level and in the format that the settings ask for.

    Warnings of libraries that use the standard library's logging, and were told nothing else, go the same way. Where
    *is_own_process* is False, somebody may have configured loguru before: then that stays.
    """
    global _writer
    if is_own_process:
        log.remove()
    else:
        try:
            log.remove(0)  # its default
        except ValueError:
            return
    writer = _writer = LineWriter(sys.stderr)
    # diagnose would print the values of variables: bodies and keys among them. backtrace would print our own frames.
    options: dict[str, Any] = {"level": settings.log_level, "diagnose": False, "backtrace": False}
    if settings.logs_json:
        log.add(lambda message: writer.write(_json_of(message.record)), format="{message}", **options)
    else:
        style = settings.log_format or _FORMAT
        log.add(writer.write, format=style, colorize=_is_colored(), **options)
    # Only used where nobody has configured anything: a pipeline's own logging.basicConfig() still wins.
    logging.lastResort = _Passing(logging.WARNING)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [_Access()] if settings.access_log else [], False
    access.setLevel(logging.INFO if settings.access_log else logging.WARNING)


def flush_logs() -> None:
    """Write what still waits to be written."""
    if _writer is not None:
        _writer.flush()


def log_key(what: str, key: APIKey, caller: Principal) -> None:
    """Log who has made or revoked which API key."""
    scopes = ", ".join(sorted(key.scopes))
    log.info("API key {!r} ({}) for {} was {} by {} ({})", key.name, key.id, scopes, what, caller.name, caller.id)


def log_error(what: str, error: BaseException) -> None:
    """Log what no caller waits for: an error of ours with what the user's code raised, any other with its traceback."""
    exception = error.__cause__ if isinstance(error, HayhooksError) else error
    log.opt(exception=exception).error("{}: {}", what, error)


def run_listener(
    settings: AppSettings, is_idle: Callable[[], bool] = lambda: False
) -> Callable[[Run, BaseException | None], None]:
    """What is to be told of every run: it logs a line for each, and what the user's code raised.

    Lines are made later, many at a time, which costs half as much for each; but at once when the process *is_idle*, as
    the next call may come when they are made.
    """
    write: Callable[[RunFacts], None] | None = None
    writer = _writer
    if not settings.log_runs:
        write = None
    elif writer is None or (settings.log_format and not settings.logs_json):
        # Somebody else decides where lines go, or how they look.
        write = lambda facts: log.bind(**facts.fields()).info("{}", facts.text())  # noqa: E731
    elif log.level(settings.log_level).no <= _INFO:
        put = writer.write_soon
        render = _json_of_run if settings.logs_json else TextLines(is_colored=_is_colored()).of_run
        write = lambda facts: put(render(facts) if is_idle() else partial(render, facts))  # noqa: E731

    def listen(run: Run, error: BaseException | None) -> None:
        if isinstance(error, RunFailed) and not is_answer(error.__cause__):
            context = run.context
            ids = {"run_id": context.run_id, "request_id": context.request_id, "deployment": context.deployment}
            log.bind(**ids).opt(exception=error.__cause__).error(
                "Run {} of {} ({}, {}) failed", context.run_id, context.deployment, run.entry_name, run.via
            )
        if write is not None:
            write(RunFacts.of(run, error))

    return listen


class _Passing(logging.Handler):
    """Hands records of the standard library's logging on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, unless a run has said the same already."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HayhooksError) and record.name.startswith("uvicorn"):
            return
        level = record.levelname if record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "WARNING"
        log.bind(logger=record.name).opt(exception=error).log(level, "{}", record.getMessage())


class _Access(logging.Handler):
    """Logs uvicorn's line for each request, without the query: keys and names stand there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record."""
        client, method, path, version, status = record.args  # type: ignore[misc]
        path = printable(str(path).partition("?")[0])
        facts = {"client": client, "method": method, "path": path, "http_status": status}
        log.bind(**facts).info('{} "{} {} HTTP/{}" {}', client, method, path, version, status)


def _json_of(record: Any) -> str:
    context = current_context.get()
    fields = dict(record["extra"])
    if context is not None:
        fields = {
            "run_id": context.run_id, "request_id": context.request_id, "trace_id": context.trace_id,
            "deployment": context.deployment, **fields,
        }  # fmt: skip
    raised = record["exception"]
    if raised is not None and raised.value is not None:
        fields["exception"] = "".join(traceback.format_exception(raised.value))
    return json_line(record["level"].name, record["message"], fields, record["time"])


def _json_of_run(facts: RunFacts) -> str:
    return json_line("INFO", "run", facts.fields(), datetime.fromtimestamp(facts.ended_at, UTC))


def _is_colored() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
