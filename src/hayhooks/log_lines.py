"""Lines of a log: written in order, in batches where there are many, as text or as JSON."""

import atexit
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_BATCH_S = 0.02
_MOST_WAITING = 10_000
# Several processes may share the stream: what is written at once stays whole up to this (POSIX, PIPE_BUF).
_PIECE_BYTES = 4096


class LineWriter:
    """Writes to *stream*, at once or soon, always in the order of the calls. Thread-safe.

    What waits is written after 20 ms by a thread, before anything that is written at once, and when Python ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_awake = False
        self._thread: threading.Thread | None = None
        atexit.register(self.flush)

    def write(self, text: str) -> None:
        """Write *text* now, and before it all that waits."""
        with self._lock:
            self._write_waiting()
            self._put(text)

    def write_soon(self, line: str) -> None:
        """Write *line* soon; now when too much waits already, so that a stream that is stuck costs no memory."""
        self._lines.append(line)
        if not self._is_awake:
            self._is_awake = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hayhooks-log", daemon=True)
                self._thread.start()
            self._wake.set()
        if len(self._lines) > _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write all that waits. For the last moment, too: it does not wait long for another thread."""
        if self._lock.acquire(timeout=1):
            try:
                self._write_waiting()
            finally:
                self._lock.release()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_BATCH_S)
            self._wake.clear()
            self._is_awake = False  # before reading: what comes in between wakes us once more
            with self._lock:
                self._write_waiting()

    def _write_waiting(self) -> None:
        lines = self._lines
        piece: list[str] = []
        size = 0
        for _ in range(len(lines)):
            line = lines.popleft()
            line_bytes = len(line) if line.isascii() else len(line.encode("utf-8", "backslashreplace"))
            if piece and size + line_bytes > _PIECE_BYTES:
                self._put("".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += line_bytes
        if piece:
            self._put("".join(piece))

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, unread, or in use by who was interrupted for the end
            return


class TextLines:
    """Lines as people read them: time, level, message."""

    def __init__(self, *, is_colored: bool) -> None:
        green, bold, end = ("\x1b[32m", "\x1b[1m", "\x1b[0m") if is_colored else ("", "", "")
        self._time = (green, end)
        self._level = f"{end} | {bold}INFO    {end} | "
        self._second = (-1, "")  # the latest one, and how it is written

    def info(self, message: str) -> str:
        """A line of the level INFO."""
        now_s = time.time()
        whole = int(now_s)
        second, text = self._second
        if second != whole:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
            self._second = (whole, text)
        return f"{self._time[0]}{text}.{int((now_s - whole) * 1000):03d}{self._level}{message}\n"


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
