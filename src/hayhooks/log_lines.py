"""Lines of a log, as text or as JSON."""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from hayhooks.run_facts import RunFacts


class TextLines:
    """Lines as people read them: time, level, message."""

    def __init__(self, *, is_colored: bool) -> None:
        green, bold, end = ("\x1b[32m", "\x1b[1m", "\x1b[0m") if is_colored else ("", "", "")
        self._time = (green, end)
        self._level = f"{end} | {bold}INFO    {end} | "
        self._second = (-1, "")  # the latest one, and how it is written

    def of_run(self, facts: RunFacts) -> str:
        """A line of the level INFO that tells of a run."""
        whole = int(facts.ended_at)
        second, text = self._second
        if second != whole:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
            self._second = (whole, text)
        milliseconds = int((facts.ended_at - whole) * 1000)
        return f"{self._time[0]}{text}.{milliseconds:03d}{self._level}{facts.text()}\n"


def json_line(level: str, message: str, fields: dict[str, Any], at: datetime | None = None) -> str:
    """One JSON object, with *fields* that are None left out."""
    when = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    known = {name: value for name, value in fields.items() if value is not None}
    entry = {"time": when, "level": level, "message": message, **known}
    try:
        return msgspec.json.encode(entry, enc_hook=str).decode() + "\n"
    except (TypeError, ValueError, RecursionError):  # keys that are no text, lone surrogates
        told = {ascii(name)[1:-1]: ascii(value) for name, value in known.items()}
        return (
            msgspec.json.encode({"time": when, "level": level, "message": ascii(message)[1:-1], **told}).decode() + "\n"
        )
