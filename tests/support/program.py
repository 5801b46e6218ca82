"""A Python program that a user might write around the server, run as a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Program:
    """A process whose output, both streams, is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What it has written so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: str, timeout_s: float = 90.0) -> "re.Match[str]":
        """Wait until a line of the output matches."""
        compiled = re.compile(pattern)

        def found() -> "re.Match[str] | None":
            return next((match for line in self._lines if (match := compiled.search(line))), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._reader.is_alive(), timeout_s)
            match = found()
        assert match, f"no {pattern!r} in:\n{self.output}"
        return match

    def end(self, sig: signal.Signals | None = None, timeout_s: float = 60.0) -> int:
        """Send *sig* when given, wait for the end, and return the exit code."""
        if sig is not None:
            self.process.send_signal(sig)
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def running(directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """``python ARGUMENTS`` in *directory*, killed at the end of the block when it still runs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HAYHOOKS_")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)  # or it compiles all its libraries again, every time
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    program = Program(process)
    try:
        yield program
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        program._reader.join()
        assert process.stdout is not None
        process.stdout.close()
