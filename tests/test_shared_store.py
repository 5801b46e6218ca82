"""Several stores in one state directory, as processes that serve the same have them, without the processes."""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hayhooks.core.bundle import Bundle
from hayhooks.store.presence import Presence
from hayhooks.store.shared import Shared
from hayhooks.store.shared_store import SharedStore
from hayhooks.store.state import State
from tests.support.deployments import write

NEIGHBOUR = os.getppid()  # a process that lives


def dead_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Place:
    """A pipelines and a state directory, in which stores are opened that tell of no error."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.pipelines = root / "pipelines"
        self.state = root / "state"
        self.state.mkdir()
        self._stack = stack

    def open(self) -> SharedStore:
        """One that has found what to serve."""
        store = SharedStore(
            self.pipelines, self.state, (), self._fail, Shared(self.state), kept_versions=1, presence=self.enter()
        )
        self._stack.callback(store.close)
        store.find()
        return store

    def enter(self) -> Presence:
        presence = Presence(self.state)
        self._stack.callback(presence.close)
        return presence

    @contextmanager
    def records(self) -> Iterator[State]:
        state = State(self.state / "state.db")
        yield state
        state.close()

    def versions(self) -> set[str]:
        """What lies there of the name that the tests use."""
        return {home.name for home in (self.state / "versions" / "a").iterdir()}

    def _fail(self, what: str, error: BaseException) -> None:
        raise AssertionError(what) from error


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def number(count: int) -> Bundle:
    return Bundle("a", {"pipeline_wrapper.py": str(count).encode()})


def deploy(store: SharedStore, bundle: Bundle) -> str:
    """Make it live for a moment."""
    store.set_live(store.put(bundle), save=True)
    store.release("a", bundle.version)
    return bundle.version


def test_a_version_that_another_process_lays_down_or_runs_is_not_dropped_until_it_is_released(place: Place) -> None:
    one, other = place.open(), place.open()
    building = one.put(number(0)).version
    for count in range(1, 4):
        newest = deploy(other, number(count))
    assert place.versions() == {building, newest}
    one.release("a", building)
    newest = deploy(other, number(4))
    assert place.versions() == {newest}


def test_what_a_killed_process_has_used_is_dropped(place: Place) -> None:
    one, other = place.open(), place.open()
    one.put(number(0))
    one._shared._database.rows("UPDATE uses SET pid = ?", (dead_process(),))  # as if it had been another's
    newest = deploy(other, number(1))
    assert place.versions() == {newest}


def test_what_is_being_written_by_another_process_is_left_and_the_rest_of_a_killed_one_is_removed(place: Place) -> None:
    deploy(place.open(), number(0))
    home = place.state / "versions" / "a"
    drafts = {pid: home / f".x.p{pid}.{uuid.uuid4().hex}.tmp" for pid in (NEIGHBOUR, os.getpid(), dead_process())}
    for draft in drafts.values():
        draft.mkdir()
    place.open()
    assert [pid for pid, draft in drafts.items() if draft.exists()] == [NEIGHBOUR]


def test_one_that_comes_later_changes_no_record_while_it_starts_and_finishes_in_its_turn(place: Place) -> None:
    bundle = number(1)
    first = place.open()
    deploy(first, bundle)
    shown = place.pipelines / "a" / "pipeline_wrapper.py"
    with place.records() as records:
        record = records.get("a")
        assert record is not None
        records.set(record.with_(is_synced=False))
        shown.unlink()
        later = place.open()
        assert records.get("a") == record.with_(is_synced=False)
        assert (later.unfinished(), shown.exists()) == (["a"], False)
        later.finish("a")
        assert (later.unfinished(), shown.read_bytes()) == ([], b"1")
        shown.unlink()  # by somebody, while the others serve it
        again = place.open()
        assert [found.bundle.version for found in again.find() if found.bundle is not None] == [bundle.version]
        assert records.get("a") is not None


def test_the_first_alone_finds_what_to_serve_before_others_come_in(place: Place) -> None:
    write(place.pipelines / "a", {"pipeline_wrapper.py": b"1"})
    first = place.enter()
    others: list[bool] = []
    threads = [threading.Thread(target=lambda: others.append(place.enter().is_first)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert (first.is_first, others) == (True, [])
    first.settle()
    for thread in threads:
        thread.join()
    assert others == [False, False, False]
    first.close()
    assert not place.enter().is_first  # the others are still there
