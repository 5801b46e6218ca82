"""Workers of one server serve the same: each follows the store's records, and a deploy waits until all have.

The records are the truth; nothing is sent from worker to worker. A counter of SQLite's says that somebody has written,
and reading it costs microseconds (https://www.sqlite.org/pragma.html#pragma_data_version).
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Outcome
from hayhooks.core.errors import HayhooksError
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import DEPLOYED, KEPT_VERSIONS, UNDEPLOYED, Cause
from hayhooks.store.followed import FollowedStore
from hayhooks.telemetry import log, log_error

Target = str | None  # a version, or None: not to be served

POLL_S = 0.05
_WAIT_POLL_S = 0.01
_WAIT_S = 60.0  # a worker that has not built a version by then is not waited for

_SCHEMA = """
CREATE TABLE IF NOT EXISTS unsaved (name TEXT PRIMARY KEY, version TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS workers (pid INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS applied (
    pid INTEGER NOT NULL, name TEXT NOT NULL, version TEXT, PRIMARY KEY (pid, name)
) STRICT;
"""


class Shared:
    """What the workers agree on beside the store's records: unsaved deployments, and who has applied what.

    It is forgotten when the server starts, and lies in the same file as the records. Thread-safe.
    """

    def __init__(self, state_dir: Path) -> None:
        self._lock = threading.Lock()
        # The counter tells of changes by other connections only, so this one is not the store's.
        self._database = _connect(state_dir)
        self._database.executescript(_SCHEMA)

    @staticmethod
    def forget(state_dir: Path) -> None:
        """Begin anew, before the first worker starts."""
        database = _connect(state_dir)
        try:
            database.executescript(_SCHEMA)
            database.executescript("DELETE FROM unsaved; DELETE FROM workers; DELETE FROM applied;")
        finally:
            database.close()

    def counter(self) -> int:
        """Differs from before when another connection has written."""
        with self._lock:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def unsaved(self) -> dict[str, str]:
        """Versions that are served without being saved."""
        with self._lock:
            return dict(self._database.execute("SELECT name, version FROM unsaved"))

    def set_unsaved(self, name: str, version: str | None) -> None:
        """Serve that version, which is not saved; None when a saved one, or none, is to be served again."""
        if version is None:
            self._write("DELETE FROM unsaved WHERE name = ?", (name,))
        else:
            self._write("INSERT OR REPLACE INTO unsaved VALUES (?, ?)", (name, version))

    def join(self, applied: Mapping[str, Target]) -> None:
        """From now on deploys wait for this process, which has *applied* these."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            pid = os.getpid()
            self._database.execute("DELETE FROM applied WHERE pid = ?", (pid,))
            rows = [(pid, name, version) for name, version in applied.items()]
            self._database.executemany("INSERT INTO applied VALUES (?, ?, ?)", rows)
            self._database.execute("INSERT OR REPLACE INTO workers VALUES (?)", (pid,))

    def leave(self) -> None:
        """Deploys no longer wait for this process."""
        self._write("DELETE FROM workers WHERE pid = ?", (os.getpid(),))

    def set_applied(self, name: str, version: Target) -> None:
        """Say that this process serves that version now, or has failed to."""
        self._write("INSERT OR REPLACE INTO applied VALUES (?, ?, ?)", (os.getpid(), name, version))

    def laggards(self, name: str, version: Target) -> list[int]:
        """Processes that live and have not applied *version* of *name* yet."""
        with self._lock:
            rows = self._database.execute(
                "SELECT w.pid FROM workers w LEFT JOIN applied a ON a.pid = w.pid AND a.name = ?"
                " WHERE a.pid IS NULL OR a.version IS NOT ?",
                (name, version),
            )
            return [pid for (pid,) in rows if _is_alive(pid)]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _write(self, statement: str, row: Sequence[object]) -> None:
        with self._lock:
            self._database.execute(statement, row)


class SharedStore(FollowedStore):
    """A store whose directories other workers use, too."""

    # What one worker has put, and is still building, another does not drop.
    _grace_s = 3600.0

    def __init__(
        self,
        pipelines_dir: Path,
        state_dir: Path,
        ignore: Sequence[str],
        on_error: Callable[[str, BaseException], None],
        shared: Shared,
        *,
        kept_versions: int = KEPT_VERSIONS,
        only: str = "",
    ) -> None:
        super().__init__(pipelines_dir, state_dir, ignore, on_error, kept_versions=kept_versions, only=only)
        self.shared = shared

    def set_live(self, bundle: Bundle, *, save: bool, cause: Cause = DEPLOYED) -> None:
        """Make *bundle* the live version of its name in all workers; with *save* also after a restart."""
        super().set_live(bundle, save=save, cause=cause)
        self.shared.set_unsaved(bundle.name, None if save else bundle.version)

    def set_undeployed(self, name: str, cause: Cause = UNDEPLOYED) -> None:
        """Nothing of that name is live any more in any worker, also after a restart."""
        super().set_undeployed(name, cause)
        self.shared.set_unsaved(name, None)

    def promote(self, outcome: Outcome) -> None:
        """Make a canary's version the live one in all workers, also after a restart."""
        super().promote(outcome)
        self.shared.set_unsaved(outcome.canary.name, None)

    def targets(self) -> dict[str, Target]:
        """What each name that was ever changed should be."""
        return {**self.recorded(), **self.shared.unsaved()}

    def close(self) -> None:
        """Close the database, which other processes go on using."""
        super().close()
        self.shared.close()

    def _pointer(self, name: str) -> str:
        return self.shared.unsaved().get(name) or super()._pointer(name)

    def _end_invalid(self, canaries: Sequence[Canary]) -> None:
        """Nothing: what looks left over may be another worker's. It was done before the workers started."""

    def _is_needed(self, name: str) -> bool:
        return super()._is_needed(name) or name in self.shared.unsaved()


class Reconciler:
    """Keeps one worker's registry on the store's records."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._shared = store.shared
        self._counter = -1
        # What was there before this worker looked for what to serve: later changes differ from it.
        self._known: dict[str, Target] = store.recorded()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def following(self, runtime: Runtime) -> AsyncIterator[None]:
        """Follow the records inside the block; deploys by other workers wait for this one.

        It begins with what has changed while this worker started.
        """
        await self._catch_up(runtime)
        await in_thread(self._shared.join, dict(self._known))
        await self._catch_up(runtime)
        following = asyncio.ensure_future(self._follow(runtime))
        try:
            yield
        finally:
            following.cancel()
            await in_thread(self._shared.leave)
            await asyncio.gather(following, *self._tasks, return_exceptions=True)

    async def settle(self, name: str, version: Target) -> None:
        """Wait until every worker has applied this change, which was made here, or a later one."""
        await in_thread(self._shared.set_applied, name, version)
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while laggards := await in_thread(self._shared.laggards, name, version):
            if (await in_thread(self._store.targets)).get(name) != version:
                return  # somebody has changed it again, and waits for that
            if asyncio.get_running_loop().time() > deadline:
                log.warning("Workers {} do not serve the new {} yet", laggards, name)
                return
            await asyncio.sleep(_WAIT_POLL_S)

    async def _follow(self, runtime: Runtime) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                counter = self._shared.counter()
                if counter != self._counter:
                    self._counter = counter
                    await self._start_changes(runtime)
            except Exception as error:  # a boundary: the next look may succeed
                log_error("The state of the other workers cannot be read", error)

    async def _catch_up(self, runtime: Runtime) -> None:
        await self._start_changes(runtime)
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def _start_changes(self, runtime: Runtime) -> None:
        targets = await in_thread(self._store.targets)
        known, self._known = self._known, targets
        for name in sorted({*known, *targets}):
            if name not in known or name not in targets or known[name] != targets[name]:
                # Each in a task of its own: one that takes long to build does not delay another.
                task = asyncio.ensure_future(self._apply(runtime, name))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _apply(self, runtime: Runtime, name: str) -> None:
        seen: Target = None

        def look() -> Bundle | None:
            nonlocal seen
            targets = self._store.targets()  # read again: this may have waited for a later change
            if name not in targets:
                # Its record was dropped with its files, or what lies there is to be served as it is.
                bundle = self._store.look(name)
                seen = bundle.version if bundle is not None else None
                return bundle
            seen = targets[name]
            if seen is None:
                return None
            kept = self._store.version(name, seen)
            if kept is None:
                raise VersionLost(name, seen)
            return kept

        try:
            await runtime.follow(name, look)
        except Exception as error:  # a boundary: this worker goes on with what it has
            log_error(f"Deployment {name!r} could not be taken over from another worker", error)
        await in_thread(self._shared.set_applied, name, seen)


class VersionLost(HayhooksError):
    """The files of a version are gone."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"Version {version[:12]} of {name!r} is not in the state directory any more.")


def _connect(state_dir: Path) -> sqlite3.Connection:
    database = sqlite3.connect(state_dir / "state.db", timeout=30, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    return database


def is_gone_worker(pid: int) -> bool:
    """Whether the worker of that process id has ended; a new one that got its id is another."""
    return pid == os.getpid() or not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
