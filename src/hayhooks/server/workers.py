"""Several server processes on one port: start them, replace one that dies, stop them all."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from hayhooks.server.admin_key import open_keys
from hayhooks.server.app import HayhooksApp
from hayhooks.server.main import CLOSING_S, announce, prepare, run_server
from hayhooks.server.main_doors import response_store
from hayhooks.server.state_directory import state_directory
from hayhooks.server.tally import Tallies, Tally
from hayhooks.settings import AppSettings
from hayhooks.store.presence import Presence
from hayhooks.store.processes import is_gone_worker
from hayhooks.store.shared import Shared
from hayhooks.store.shared_store import SharedStore
from hayhooks.surfaces.openai.responses_state import fail_orphans
from hayhooks.telemetry import log, log_error

_SLACK_S = 5.0  # a worker ends itself before that
_QUICK_S = 10.0  # a worker that lives no longer has hardly served
_LAST_DELAY_S = 30.0


def run_workers(given: dict[str, Any], settings: AppSettings, sockets: Sequence[socket.socket], count: int) -> int:
    """Serve with *count* processes until a signal says stop; the exit code.

    All accept from the same *sockets*, so a worker that dies takes no waiting connection with it.
    """
    # Decided once: a worker that could not write there would keep a state of its own.
    directory = state_directory(settings)
    os.environ["HAYHOOKS_STATE_DIR"] = str(directory)
    # Once, not in every worker: what a crash has interrupted is finished, what it left is removed.
    where = (Path(settings.pipelines_dir), directory, settings.files_to_ignore_patterns, log_error)
    presence = Presence(directory)
    is_first = presence.is_first
    store = SharedStore(
        *where, Shared(directory), kept_versions=settings.kept_versions, only=settings.only, presence=presence
    )
    store.find()
    store.close()
    open_keys(directory, settings).close()
    responses = response_store(directory, settings)
    try:
        fail_orphans(responses, (lambda _: True) if is_first else is_gone_worker)
    except OSError as error:
        log_error("What was said before cannot be read", error)
    responses.close()
    code = _Supervisor(given, settings, sockets, count, directory).run()
    presence.close()
    return code


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    number: int
    process: SpawnProcess
    is_ready: Connection
    started_s: float  # by the monotonic clock


class _Supervisor:
    def __init__(
        self,
        given: dict[str, Any],
        settings: AppSettings,
        sockets: Sequence[socket.socket],
        count: int,
        state_dir: Path,
    ) -> None:
        self._state_dir = state_dir
        self._tallies = Tallies(count)
        self._given = given
        self._settings = settings
        self._sockets = sockets
        self._count = count
        self._spawn = multiprocessing.get_context("spawn")
        # Never written to: it ends when this process does, however it does, and the workers with it.
        self._life, self._own_life = self._spawn.Pipe(duplex=False)
        self._workers: list[_Worker] = []
        self._due: dict[int, float] = {}  # numbers of those to be started, and when
        self._quick_ends = 0  # in a row
        self._ready: set[_Worker] = set()
        self._is_announced = False
        self._is_stopping = False
        self._code = 0

    def run(self) -> int:
        with _signals() as signals:
            self._workers = [self._start(number) for number in range(self._count)]
            while self._workers or self._due:
                sentinels = {worker.process.sentinel: worker for worker in self._workers}
                starting = {worker.is_ready: worker for worker in self._workers if worker not in self._ready}
                wait_s = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
                for happened in wait([signals, *sentinels, *starting], wait_s):
                    if happened is signals:
                        self._on_signals(signals.recv(64))
                    elif isinstance(happened, Connection):
                        self._on_ready(starting[happened])
                    elif isinstance(happened, int):
                        self._on_end(sentinels[happened])
                self._start_due()
        return self._code

    def _start(self, number: int) -> _Worker:
        is_ready, tell_ready = self._spawn.Pipe(duplex=False)
        arguments = (self._given, list(self._sockets), self._life, tell_ready, self._tallies, number)
        process = self._spawn.Process(target=work, args=arguments, name="hayhooks-worker")
        process.start()
        tell_ready.close()
        return _Worker(number, process, is_ready, time.monotonic())

    def _start_due(self) -> None:
        for number, due_s in list(self._due.items()):
            if due_s <= time.monotonic():
                del self._due[number]
                self._workers.append(self._start(number))

    def _on_ready(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        try:
            worker.is_ready.recv()
        except EOFError:  # it ended instead
            self._on_end(worker)
            return
        self._ready.add(worker)
        if not self._is_announced and not self._is_stopping and len(self._ready) == self._count:
            self._is_announced = True
            announce(self._settings, self._sockets)

    def _on_end(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        worker.process.join()
        worker.is_ready.close()
        self._workers.remove(worker)
        self._bury(worker)
        if self._is_stopping:
            return
        if worker not in self._ready and not self._is_announced:
            # It would fail in the same way again.
            log.error("A worker could not start; stopping.")
            self._code = worker.process.exitcode or 1
            self._stop()
            return
        self._ready.discard(worker)
        is_quick = time.monotonic() - worker.started_s < _QUICK_S
        self._quick_ends = self._quick_ends + 1 if is_quick else 0
        delay_s = restart_delay_s(self._quick_ends)
        self._due[worker.number] = time.monotonic() + delay_s
        log.error(
            "Worker {} died ({}); starting another{}",
            worker.process.pid, worker.process.exitcode, f" in {delay_s:g} s" if delay_s else "",
        )  # fmt: skip

    def _bury(self, worker: _Worker) -> None:
        self._tallies.bury(worker.number)
        try:
            Shared.bury(self._state_dir, worker.process.pid or 0)
        except OSError as error:  # the others see for themselves that it is gone
            log_error("It cannot be written down that a worker has died", error)

    def _on_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in (signal.SIGINT, signal.SIGTERM):
                self._kill() if self._is_stopping else self._stop()

    def _stop(self) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        for sock in self._sockets:  # as long as one process has it open, callers queue up there in vain
            sock.close()
        self._due.clear()
        for worker in self._workers:
            worker.process.terminate()
        runs_s = self._settings.drain_delay_s + self._settings.graceful_shutdown_timeout
        timer = threading.Timer(runs_s + CLOSING_S + _SLACK_S, self._kill)
        timer.daemon = True
        timer.start()

    def _kill(self) -> None:
        for worker in list(self._workers):
            worker.process.kill()


def restart_delay_s(quick_ends: int) -> float:
    """Seconds until a worker is started in the place of a dead one, when that many in a row died soon after a start."""
    return min(_LAST_DELAY_S, 0.5 * 2.0 ** (quick_ends - 2)) if quick_ends > 1 else 0.0


def work(
    given: dict[str, Any],
    sockets: list[socket.socket],
    parent_life: Connection,
    tell_ready: Connection,
    tallies: Tallies,
    number: int,
) -> None:
    """One worker: the target of its process."""
    threading.Thread(target=_end_with, args=(parent_life,), daemon=True).start()
    settings = prepare(given)
    app = HayhooksApp(settings, is_worker=True, tally=Tally(tallies, number))
    sys.exit(run_server(app, settings, sockets, partial(tell_ready.send, True), is_worker=True))


def _end_with(parent_life: Connection) -> None:
    try:
        parent_life.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of the signals that arrive can be read."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    old = signal.set_wakeup_fd(writer.fileno())
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
