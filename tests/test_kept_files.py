"""The store of uploaded files: limits, expiry, other processes, and a process that is killed."""

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hayhooks.core.errors import HayhooksError, KeptFileNotFound, TooLarge
from hayhooks.core.files import KeptFile, new_file_id
from hayhooks.core.principal import ADMIN, ANONYMOUS, Principal
from hayhooks.store.disk import StoreFailed
from hayhooks.store.kept_files import ORPHAN_S, DiskFiles

ANNA, BEN = (Principal(f"key:{name}", name, "key", frozenset({"run"})) for name in ("anna", "ben"))
OLD = KeptFile(new_file_id(1), "a", None, 1, "user_data", 1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[DiskFiles]:
    store = DiskFiles(tmp_path, max_file_bytes=100, max_total_bytes=250, clock=clock)
    yield store
    store.close()


def keep(store: DiskFiles, content: bytes = b"x", caller: Principal = ANONYMOUS, **more: int) -> KeptFile:
    return store.of(caller).keep(io.BytesIO(content), filename="a", content_type=None, purpose="user_data", **more)


@pytest.mark.parametrize("change", ["keep", "delete"])
def test_whatever_the_step_at_which_it_is_cut_short_files_are_whole_or_not_there(change: str) -> None:
    command = [sys.executable, "-m", "tests.support.killed_files", change]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    cuts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cuts) > 10
    before, after = ({"old"}, {"old", "new"}) if change == "keep" else ({"old", "doomed"}, {"old"})
    for cut in cuts:
        assert set(cut["names"]) in (before, after), cut
        assert all(cut["names"].values()), cut
        assert cut["is_tidy"], cut
    assert [set(cut["names"]) for cut in cuts if cut["is_complete"]] == [after]
    order = [set(cut["names"]) == after for cut in cuts]
    assert order == sorted(order)


def test_each_caller_has_their_own_files_and_an_admin_has_all(store: DiskFiles, clock: Clock) -> None:
    kept = {}
    for caller in (ANNA, BEN, ADMIN):
        kept[caller.id] = keep(store, caller=caller)
        clock.now_s += 1
    annas = store.of(ANNA)
    assert annas.page(limit=10) == ([kept[ANNA.id]], False)
    assert annas.page(limit=10, after=kept[ADMIN.id].file_id) == ([kept[ANNA.id]], False)
    for look in (annas.get, annas.open, annas.delete):
        with pytest.raises(KeptFileNotFound, match=f"{kept[BEN.id].file_id}"):
            look(kept[BEN.id].file_id)
    everything = store.of(ADMIN)
    assert {file.file_id for file in everything.page(limit=10)[0]} == {file.file_id for file in kept.values()}
    assert store.of(BEN).get(kept[BEN.id].file_id) == kept[BEN.id]
    everything.delete(kept[BEN.id].file_id)
    assert store.of(BEN).page(limit=10) == store.of(ANONYMOUS).page(limit=10) == ([], False)


def test_files_of_a_release_that_knew_no_callers_are_anonymous(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / OLD.file_id).write_bytes(b"x")
    database = sqlite3.connect(tmp_path / "files.db")
    database.execute(
        "CREATE TABLE files (file_id TEXT PRIMARY KEY, filename TEXT NOT NULL, content_type TEXT, size INTEGER NOT NULL"
        ", purpose TEXT NOT NULL, created_s INTEGER NOT NULL, expires_s INTEGER) STRICT"
    )
    database.execute("INSERT INTO files VALUES (?, 'a', NULL, 1, 'user_data', 1, NULL)", [OLD.file_id])
    database.commit()
    database.close()
    for _ in range(2):
        again = DiskFiles(tmp_path, max_file_bytes=10, max_total_bytes=250)
        assert again.of(ANONYMOUS).page(limit=10) == ([OLD], False)
        assert again.of(ANNA).page(limit=10) == ([], False)
        again.close()


def test_a_file_is_gone_when_its_time_is_over_and_so_are_its_bytes(
    store: DiskFiles, clock: Clock, tmp_path: Path
) -> None:
    stays, goes = keep(store), keep(store, b"y" * 100, expires_after_s=3600)
    clock.now_s += 3599
    assert store.of(ANONYMOUS).get(goes.file_id) == goes
    clock.now_s += 1
    for look in (store.of(ANONYMOUS).get, store.of(ANONYMOUS).open, store.of(ANONYMOUS).delete):
        with pytest.raises(KeptFileNotFound):
            look(goes.file_id)
    assert store.of(ANONYMOUS).page(limit=10) == ([stays], False)
    keep(store, b"z" * 100)
    keep(store, b"z" * 100)  # there is room again
    assert goes.file_id not in {path.name for path in (tmp_path / "content").iterdir()}


def test_uploads_at_the_same_time_never_take_more_than_there_is(store: DiskFiles, tmp_path: Path) -> None:
    other = DiskFiles(tmp_path, max_file_bytes=100, max_total_bytes=250)  # as another process has it

    def upload(number: int) -> bool:
        try:
            keep(store if number % 2 else other, b"x" * 60)
        except TooLarge:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(upload, range(24))) == 4
    assert len(store.of(ANONYMOUS).page(limit=100)[0]) == 4
    assert len(list((tmp_path / "content").iterdir())) == 4
    other.close()


def test_processes_share_what_is_kept(store: DiskFiles, tmp_path: Path) -> None:
    other = DiskFiles(tmp_path, max_file_bytes=100, max_total_bytes=250)
    made = keep(store)
    assert other.of(ANONYMOUS).get(made.file_id) == made
    _, opened = store.of(ANONYMOUS).open(made.file_id)
    other.of(ANONYMOUS).delete(made.file_id)
    with opened:
        assert opened.read() == b"x"  # whoever reads it reads it to its end
    with pytest.raises(KeptFileNotFound):
        store.of(ANONYMOUS).get(made.file_id)
    other.close()


def test_what_another_process_is_just_writing_is_not_swept(store: DiskFiles, clock: Clock, tmp_path: Path) -> None:
    fresh, old = tmp_path / "content" / "fresh", tmp_path / "content" / "old"
    for path, age_s in ((fresh, ORPHAN_S - 1), (old, ORPHAN_S + 1)):
        path.write_bytes(b"x")
        os.utime(path, (clock.now_s - age_s,) * 2)
    DiskFiles(tmp_path, max_file_bytes=1, max_total_bytes=1, clock=clock).close()
    assert [path.name for path in (tmp_path / "content").iterdir()] == ["fresh"]


def test_a_file_whose_bytes_somebody_removed_is_not_found_and_forgotten_at_the_next_start(
    store: DiskFiles, tmp_path: Path
) -> None:
    made = keep(store)
    (tmp_path / "content" / made.file_id).unlink()
    with pytest.raises(KeptFileNotFound):
        store.of(ANONYMOUS).open(made.file_id)
    again = DiskFiles(tmp_path, max_file_bytes=1, max_total_bytes=1)
    assert again.of(ANONYMOUS).page(limit=1) == ([], False)
    again.close()


def test_a_disk_that_refuses_is_said_and_leaves_nothing(store: DiskFiles, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreFailed, match="No space left on device"):
        store.of(ANONYMOUS).keep(Broken(b"x"), filename="a", content_type=None, purpose="user_data")
    assert list((tmp_path / "content").iterdir()) == []
    assert store.of(ANONYMOUS).page(limit=1) == ([], False)


def test_a_database_that_does_not_work_is_said(store: DiskFiles) -> None:
    store.close()
    for call in (lambda: keep(store), lambda: store.of(ANONYMOUS).page(limit=1)):
        with pytest.raises(HayhooksError, match="does not work"):
            call()
