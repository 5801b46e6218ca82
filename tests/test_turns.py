"""What workers tell each other through the state database, without the workers."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hayhooks.core.bundle import Bundle
from hayhooks.server.turns import ChangedElsewhere, NotEverywhere, WorkersSilent, WorkerTurns
from hayhooks.store.disk import StoreFailed
from hayhooks.store.shared import Shared
from hayhooks.store.shared_store import SharedStore, Target
from tests.support.deployments import answering

OTHER = os.getppid()  # a process that lives and never answers


class Full(Shared):
    """Its disk has no room for another answer."""

    def touch(self, serial: int) -> None:
        """Fail as SQLite does."""
        raise OSError("database or disk is full")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def shared(state: Path) -> Iterator[Shared]:
    shared = Shared(state)
    yield shared
    shared.close()


def write(state: Path, statement: str, *values: object) -> None:
    """Write what another worker would."""
    database = sqlite3.connect(state / "state.db")
    with database:
        database.execute(statement, values)
    database.close()


def dead_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def turns(state: Path, shared: Shared, timeout_s: float = 60.0) -> tuple[SharedStore, WorkerTurns]:
    async def catch_up(_name: str) -> None:
        """Nothing is behind."""

    store = SharedStore(state.parent / "pipelines", state, (), lambda _what, _error: None, shared)
    return store, WorkerTurns(store, shared, catch_up, timeout_s)


async def test_a_change_that_waits_is_refused_when_the_disk_has_no_room_for_answers(state: Path) -> None:
    store, peers = turns(state, Full(state))
    write(state, "INSERT INTO peers VALUES (?)", OTHER)
    async with peers.turn("a") as turn:
        with pytest.raises(StoreFailed, match="disk is full"):
            await turn.agree(None)
    store.close()


async def test_a_worker_that_lives_and_says_nothing_is_named(state: Path, shared: Shared) -> None:
    store, peers = turns(state, shared, timeout_s=0.05)
    write(state, "INSERT INTO peers VALUES (?)", OTHER)
    async with peers.turn("a") as turn:
        with pytest.raises(WorkersSilent, match=f"not changed: worker {OTHER}"):
            await turn.agree(None)
        with pytest.raises(WorkersSilent, match=f"is changed, but worker {OTHER}"):
            await turn.settle()
    assert shared.changes() == []
    store.close()


async def test_the_reason_of_a_worker_that_cannot_is_handed_on(state: Path, shared: Shared) -> None:
    store, peers = turns(state, shared)
    write(state, "INSERT INTO peers VALUES (?)", OTHER)
    async with peers.turn("a") as turn:
        (change,) = shared.changes()
        write(state, "INSERT INTO answers VALUES (?, ?, 'built', 'no memory')", change.serial, OTHER)
        with pytest.raises(NotEverywhere, match=f"worker {OTHER}: no memory"):
            await turn.agree(None)
    store.close()


async def test_the_turn_of_a_living_worker_is_waited_for_and_that_of_a_dead_one_is_taken(
    state: Path, shared: Shared
) -> None:
    store, peers = turns(state, shared, timeout_s=0.05)
    for pid, is_taken in ((OTHER, False), (dead_process(), True)):
        write(state, "INSERT OR REPLACE INTO open_changes VALUES (77, 'a', ?, 'agreed', 'v', 0)", pid)
        assert shared.join() is is_taken, "nobody joins between the decision and its record"
        if is_taken:
            async with peers.turn("a"):
                assert [change.pid for change in shared.changes()] == [os.getpid()]
        else:
            with pytest.raises(ChangedElsewhere, match=f"Worker {OTHER}"):
                async with peers.turn("a"):
                    pytest.fail("it is another's turn")
    store.close()


def test_one_that_has_died_is_forgotten_before_another_process_gets_its_id(state: Path, shared: Shared) -> None:
    for pid in (OTHER, dead_process()):
        write(state, "INSERT INTO peers VALUES (?)", pid)
        write(state, "INSERT INTO open_changes VALUES (NULL, ?, ?, 'begun', NULL, 0)", f"by-{pid}", pid)
    shared.changes()
    assert shared.is_beside_dead
    shared.bury_dead()
    assert not shared.is_beside_dead
    database = sqlite3.connect(state / "state.db")
    for table in ("peers", "open_changes"):
        assert database.execute(f"SELECT pid FROM {table}").fetchall() == [(OTHER,)]
    database.close()


def test_what_is_served_without_a_record_lasts_until_the_record_changes(state: Path, shared: Shared) -> None:
    store, _ = turns(state, shared)
    unsaved, saved, last = (store.put(Bundle("a", answering(text))) for text in ("unsaved", "saved", "last"))
    store.set_live(unsaved, save=False)
    assert store.targets() == {"a": Target(unsaved.version)}
    store.set_live(saved, save=True)
    assert store.targets() == {"a": Target(saved.version)}
    store.set_live(unsaved, save=False)
    assert store.targets() == {"a": Target(unsaved.version)}
    # As a program does that knows nothing of workers.
    write(state, "UPDATE live SET version = ? WHERE name = 'a'", last.version)
    assert store.targets() == {"a": Target(last.version)}
    store.set_undeployed("a")
    assert store.targets().get("a", Target(None)).version is None
    store.close()
