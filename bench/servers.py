"""Starts a peer on a free port of its own, waits until it serves everything, and stops it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import http, procfs
from bench.fleets import Fleet
from bench.peers import Peer, environment

HOST = "127.0.0.1"
_STALLED_S = 15  # a server that answers and lists no more for so long will not


class Server:
    """A running peer, serving one fleet from a temporary directory. Use it as a context manager.

    Its process is the leader of a group of its own, so that it can be measured, paused and ended with its workers.
    """

    def __init__(self, peer: Peer, fleet: Fleet, *, start_within_s: float = 120) -> None:
        self.peer = peer
        self.port = _free_port()
        self._home = Path(tempfile.mkdtemp(prefix="bench-"))
        pipelines = self._home / "pipelines"
        fleet.write(pipelines)
        self._log = self._home / "log"
        with self._log.open("wb") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(
                peer.command(pipelines, self.port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=environment(),
                start_new_session=True,
            )
        try:
            self._wait(fleet.size, began + start_within_s)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The leader of the server's process group."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Seconds of processor time used so far."""
        return procfs.cpu_s(self.pid)

    def pause(self) -> None:
        """Take the processor from it while another server is measured."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove its directory. Benchmarks do not wait for a graceful end."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def log_tail(self) -> str:
        """The last lines that the server wrote, without those about requests."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines if "GET /status" not in line)[-2000:]

    def _wait(self, deployments: int, deadline: float) -> None:
        """Return as soon as /status lists all *deployments*."""
        listed = -1  # nothing answers yet
        changed = time.perf_counter()
        while (now := time.perf_counter()) < deadline and (listed < 0 or now < changed + _STALLED_S):
            if self._process.poll() is not None:
                raise http.CallError(f"{self.peer.name} ended at start:\n{self.log_tail()}")
            try:
                found = len(http.call(HOST, self.port, "GET", "/status", timeout_s=10, key=self.peer.key)["pipelines"])
            except (OSError, http.CallError):
                found = -1
            if found >= deployments:
                return
            if found != listed:
                listed, changed = found, now
            time.sleep(0.01)
        raise http.CallError(f"{self.peer.name} served {max(listed, 0)} of {deployments} at last:\n{self.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
