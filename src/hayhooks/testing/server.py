"""Start ``hayhooks run`` as a process of its own, wait until it listens, stop it at the end."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hayhooks.client import Client

_LISTENING = re.compile(r"Listening on (http://\S+)")


class ServerDidNotStart(RuntimeError):
    """The server ended, or said nothing in time; the message holds its log."""


class RunningServer:
    """A server process. Its log is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]", pipelines_dir: Path, api_key: str | None) -> None:
        self.process = process
        self.pipelines_dir = pipelines_dir
        self.url = ""
        self._api_key = api_key
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def client(self) -> Client:
        """A client of this server, with its admin key when it has one."""
        return Client(self.url, api_key=self._api_key)

    @property
    def log(self) -> str:
        """What the server has written so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for_log(self, pattern: str, timeout_s: float = 60.0) -> "re.Match[str]":
        """Wait until a line of the log matches *pattern*.

        Raises:
            ServerDidNotStart: The server ended or *timeout_s* passed before that.
        """
        compiled = re.compile(pattern)
        with self._changed:
            found = self._changed.wait_for(lambda: self._search(compiled) or not self._reader.is_alive(), timeout_s)
            match = self._search(compiled)
        if match is None:
            why = "ended" if found else f"said nothing in {timeout_s:g} s"
            raise ServerDidNotStart(f"The server {why} before its log had {pattern!r}:\n{self.log}")
        return match

    def stop(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Send *sig*, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(timeout_s)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def _search(self, pattern: "re.Pattern[str]") -> "re.Match[str] | None":
        return next((match for line in self._lines if (match := pattern.search(line))), None)

    def _read(self) -> None:
        assert self.process.stderr is not None
        try:
            for line in self.process.stderr:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        except ValueError:  # closed while we read
            return
        finally:
            with self._changed:
                self._changed.notify_all()


@contextmanager
def running_server(
    pipelines_dir: Path,
    *,
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    timeout_s: float = 60.0,
    command: Sequence[str] = ("run",),
) -> Iterator[RunningServer]:
    """Serve *pipelines_dir* on a free port until the block ends, with that *command* of ``hayhooks``.

    Variables of *env* are added to this process's, without its ``HAYHOOKS_*``. The working directory is the parent of
    *pipelines_dir*, which is created when missing.

    Raises:
        ServerDidNotStart: With the server's log.
    """
    server = start_server(pipelines_dir, env=env, host=host, command=command)
    try:
        address = server.wait_for_log(_LISTENING.pattern, timeout_s)[1]
        server.url = address.replace("//0.0.0.0", "//127.0.0.1")
        yield server
    finally:
        server.stop()


def start_server(
    pipelines_dir: Path,
    *,
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    command: Sequence[str] = ("run",),
) -> RunningServer:
    """Start the process and return at once; it may not listen yet. The caller must stop it."""
    pipelines_dir = pipelines_dir.absolute()
    pipelines_dir.parent.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HAYHOOKS_")}
    variables = {**clean, **(env or {}), "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "hayhooks", *command]
    program += ["--host", host, "--port", "0", "--pipelines-dir", str(pipelines_dir)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        program, cwd=pipelines_dir.parent, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    return RunningServer(process, pipelines_dir, variables.get("HAYHOOKS_ADMIN_KEY"))
