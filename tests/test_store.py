"""What every store promises, and what the one on disk keeps to itself: whose files are whose."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from hayhooks.core.bundle import Bundle, read_directory
from hayhooks.core.canary import Canary, Counts, Outcome, Plan
from hayhooks.core.store import KEPT_VERSIONS, MAX_COPIED_BYTES, Cause, Kept, Store
from hayhooks.store import history
from hayhooks.store.disk import DiskStore, StoreFailed
from hayhooks.store.memory import MemoryStore
from hayhooks.store.sqlite import open_database
from hayhooks.store.state import State
from tests.support.deployments import answering, contents, house, tree, write

PATHS = {"pipeline_wrapper.py": b"x = 1\r\n", "sub/deep/data.bin": bytes(range(256)), "empty": b"", "ü .txt": b"\xff"}


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "pipelines", tmp_path / "state")
    yield opened
    opened.close()


def live(store: Store) -> dict[str, str]:
    """What a start would find: name to version."""
    found = {}
    for item in store.find():
        assert item.bundle is not None, item.error
        found[item.name] = item.bundle.version
        store.release(item.name, item.bundle.version)
    return found


def put_live(store: Store, bundle: Bundle, *, save: bool = True) -> Bundle:
    placed = store.put(bundle)
    store.set_live(placed, save=save)
    return placed


# Every store


def test_a_new_store_has_nothing_live(store: Store) -> None:
    assert live(store) == {}


def test_bytes_that_are_put_lie_in_their_place_as_they_are(store: Store) -> None:
    placed = store.put(Bundle("a", PATHS))
    assert contents(store.place(placed)) == PATHS


def test_what_is_put_is_not_live_yet(store: Store) -> None:
    store.put(Bundle("a", PATHS))
    assert live(store) == {}


def test_what_is_set_live_and_saved_is_found(store: Store) -> None:
    bundle = put_live(store, Bundle("a", PATHS))
    assert live(store) == {"a": bundle.version}


def test_what_is_set_live_without_saving_is_not_found(store: Store) -> None:
    put_live(store, Bundle("a", PATHS), save=False)
    assert live(store) == {}


def test_an_unsaved_version_leaves_the_saved_one_to_be_found(store: Store) -> None:
    saved = put_live(store, Bundle("a", {"x": b"saved"}))
    put_live(store, Bundle("a", {"x": b"unsaved"}), save=False)
    assert live(store) == {"a": saved.version}


def test_the_last_version_set_live_is_the_one_that_is_found(store: Store) -> None:
    for content in (b"1", b"2", b"1", b"3"):
        last = put_live(store, Bundle("a", {"x": content}))
    assert live(store) == {"a": last.version}


def test_names_do_not_touch_each_other(store: Store) -> None:
    first, second = put_live(store, Bundle("a", {"x": b"1"})), put_live(store, Bundle("a.b", {"x": b"2"}))
    assert live(store) == {"a": first.version, "a.b": second.version}
    store.set_undeployed("a")
    assert live(store) == {"a.b": second.version}


def test_what_is_undeployed_is_not_found_until_it_is_live_again(store: Store) -> None:
    put_live(store, Bundle("a", PATHS))
    store.set_undeployed("a")
    assert live(store) == {}
    again = put_live(store, Bundle("a", PATHS))
    assert live(store) == {"a": again.version}


def test_undeploying_what_was_never_saved_is_no_error(store: Store) -> None:
    put_live(store, Bundle("a", PATHS), save=False)
    store.set_undeployed("a")
    store.set_undeployed("never-there")
    assert live(store) == {}


def test_files_stay_in_their_place_while_they_are_used(store: Store) -> None:
    old = put_live(store, Bundle("a", {"x": b"old"}))
    store.set_undeployed("a")
    for number in range(KEPT_VERSIONS + 3):
        version = put_live(store, Bundle("a", {"x": b"%d" % number}))
        store.release("a", version.version)
    assert contents(store.place(old)) == {"x": b"old"}


def test_a_directory_that_is_served_in_place_is_its_own_place(store: Store, tmp_path: Path) -> None:
    directory = write(tmp_path / "mine", {"x": b"1"})
    bundle = Bundle("a", {"x": b"1"}, directory=directory)
    before = tree(directory)
    assert store.place(store.put(bundle)) == directory
    store.release("a", bundle.version)
    assert tree(directory) == before


def versions_of(store: Store, name: str = "a") -> list[tuple[str, str | None]]:
    return [(change.cause.how, change.version) for change in store.history(name)]


def test_the_history_says_what_was_live_newest_first_by_whom_and_how(store: Store) -> None:
    key = Cause("deploy", "key:1", "ci")
    one = store.put(Bundle("a", {"x": b"1"}))
    store.set_live(one, save=True, cause=key)
    two = put_live(store, Bundle("a", {"x": b"2"}), save=False)
    store.set_live(one, save=True, cause=Cause("rollback"))
    store.set_undeployed("a")
    put_live(store, Bundle("b", {"x": b"3"}))
    changes = store.history("a")
    assert versions_of(store) == [
        ("undeploy", None), ("rollback", one.version), ("deploy", two.version), ("deploy", one.version),
    ]  # fmt: skip
    assert changes[-1].cause == key
    assert changes[0].cause.by_name == "server"
    assert [change.at_s for change in changes] == sorted((change.at_s for change in changes), reverse=True)
    assert store.history("never") == []


def test_what_is_found_is_history_only_when_it_differs_from_what_was_live(store: Store) -> None:
    one = put_live(store, Bundle("a", {"x": b"1"}))
    store.set_found(one, Cause("start"))
    two = store.put(Bundle("a", {"x": b"2"}))
    for _ in range(2):
        store.set_found(two, Cause("reload"))
    assert versions_of(store) == [("reload", two.version), ("deploy", one.version)]


def test_a_version_that_was_live_is_kept_and_fetched_as_it_was(store: Store) -> None:
    old = put_live(store, Bundle("a", PATHS))
    new = put_live(store, Bundle("a", {"x": b"new"}))
    store.release("a", old.version)
    assert store.kept("a") == {
        new.version: Kept(1, 3), old.version: Kept(len(PATHS), sum(map(len, PATHS.values()))),
    }  # fmt: skip
    fetched = store.fetch("a", old.version)
    assert fetched is not None
    assert (dict(fetched.files), fetched.version) == (PATHS, old.version)
    assert contents(store.place(store.put(fetched))) == PATHS
    assert store.fetch("a", "0" * 64) is None


def test_a_name_that_was_undeployed_keeps_its_versions(store: Store) -> None:
    bundle = put_live(store, Bundle("a", PATHS))
    store.set_undeployed("a")
    store.release("a", bundle.version)
    assert set(store.kept("a")) == {bundle.version}
    assert live(store) == {}
    again = store.fetch("a", bundle.version)
    assert again is not None
    put_live(store, again)
    assert live(store) == {"a": bundle.version}


def test_the_newest_versions_are_kept_and_no_more(store: Store) -> None:
    versions = []
    for number in range(KEPT_VERSIONS + 3):
        bundle = put_live(store, Bundle("a", {"x": b"%d" % number}))
        store.release("a", bundle.version)
        versions.append(bundle.version)
    assert set(store.kept("a")) == set(versions[-KEPT_VERSIONS:])
    back = store.fetch("a", versions[3])
    assert back is not None
    put_live(store, back)
    store.release("a", back.version)
    for number in range(KEPT_VERSIONS - 1):  # what was rolled back to counts as new
        newer = put_live(store, Bundle("a", {"y": b"%d" % number}))
        store.release("a", newer.version)
    assert versions[3] in store.kept("a")


def test_what_never_was_live_is_not_kept(store: Store) -> None:
    failed = store.put(Bundle("a", {"x": b"1"}))
    store.release("a", failed.version)
    assert (store.kept("a"), store.history("a")) == ({}, [])


def test_of_a_users_directory_that_was_served_a_copy_is_kept(store: Store, tmp_path: Path) -> None:
    directory = write(tmp_path / "mine", {"x": b"1", "sub/y": b"2"})
    before = tree(directory)
    store.set_found(read_directory("a", directory), Cause("start"))
    write(directory, {"x": b"edited"})
    store.set_found(read_directory("a", directory), Cause("reload"))
    edited, old = (version for _, version in versions_of(store))
    assert edited is not None
    assert old is not None
    assert store.kept("a") == {edited: Kept(2, 7), old: Kept(2, 2)}
    fetched = store.fetch("a", old)
    assert fetched is not None
    assert (dict(fetched.files), fetched.version) == ({"x": b"1", "sub/y": b"2"}, old)
    assert set(tree(directory)) == set(before)


def test_of_a_large_directory_no_copy_is_kept(store: Store, tmp_path: Path) -> None:
    directory = write(tmp_path / "mine", {"pipeline_wrapper.py": b"1"})
    with (directory / "model.bin").open("wb") as file:
        file.truncate(MAX_COPIED_BYTES)
    bundle = read_directory("a", directory)
    store.set_found(bundle, Cause("start"))
    assert store.kept("a") == {}
    assert versions_of(store) == [("start", bundle.version)]


def test_what_is_tried_out_lies_on_disk_for_a_while_and_leaves_nothing(store: Store) -> None:
    with store.aside(Bundle("a", PATHS)) as bundle:
        place = store.place(bundle)
        assert contents(place) == PATHS
        assert bundle.version == Bundle("a", PATHS).version
    assert not place.exists()
    assert (live(store), store.kept("a"), store.history("a")) == ({}, {}, [])


def canary(stable: Bundle, version: Bundle, started_s: float = 1.0) -> Canary:
    return Canary(stable.name, version.version, stable.version, Plan(10, by="me"), started_s)


def begin(store: Store, stable: bytes = b"stable", version: bytes = b"canary") -> Canary:
    begun = canary(put_live(store, Bundle("a", {"x": stable})), store.put(Bundle("a", {"x": version})))
    store.set_canary(begun)
    return begun


def running(store: Store) -> Canary | None:
    """The canary that a start would find."""
    found = [item.canary for item in store.find() if item.canary is not None]
    assert all(item.bundle.version == item.canary.version for item in found)
    return found[0].canary if found else None


def ended(canary: Canary, state: Literal["promoted", "aborted"] = "aborted") -> Outcome:
    return Outcome(canary, state, "why", Counts(4, 3, 2, 1), 2.0, "me", is_automatic=True)


def test_a_canary_is_found_beside_what_is_live_until_it_ends(store: Store) -> None:
    begun = begin(store)
    assert running(store) == begun
    assert live(store) == {"a": begun.stable}
    changed = replace(begun, plan=Plan(50))
    assert store.change_canary(changed)
    assert running(store) == changed
    assert store.end_canary(ended(changed))
    assert not store.end_canary(ended(changed, "promoted"))
    assert not store.change_canary(begun)
    assert running(store) is None
    assert store.outcome("a") == ended(changed)
    assert store.outcome("b") is None


def test_a_promoted_canary_is_live_and_no_canary_any_more(store: Store) -> None:
    begun = begin(store)
    store.promote(ended(begun, "promoted"))
    assert live(store) == {"a": begun.version}
    assert running(store) is None
    assert store.outcome("a") == ended(begun, "promoted")


def test_a_canary_that_takes_the_place_of_another_is_not_ended_with_it(store: Store) -> None:
    first = begin(store)
    second = replace(first, version=store.put(Bundle("a", {"x": b"second"})).version, started_s=2.0)
    store.set_canary(second)
    assert not store.end_canary(ended(first))
    assert running(store) == second


@pytest.mark.parametrize("how", ["deploy", "unsaved", "same", "undeploy"])
def test_a_canary_ends_with_the_version_beside_which_it_ran(store: Store, how: str) -> None:
    begun = begin(store)
    if how == "undeploy":
        store.set_undeployed("a")
    else:
        put_live(store, Bundle("a", {"x": b"stable" if how == "same" else b"new"}), save=how != "unsaved")
    assert running(store) is None
    outcome = store.outcome("a")
    assert outcome is not None
    assert (outcome.canary, outcome.state) == (begun, "replaced")


def test_what_processes_count_adds_up(store: Store) -> None:
    begun = begin(store)
    assert store.count_canary(begun, "one", Counts(1, 1, 1, 1)) == Counts()
    assert store.count_canary(begun, "two", Counts(2, 0, 3, 0)) == Counts(1, 1, 1, 1)
    assert store.count_canary(begun, "one", Counts(5, 4, 3, 2)) == Counts(2, 0, 3, 0)
    assert store.count_canary(begun, "new", Counts()) == Counts(7, 4, 6, 2)
    again = replace(begun, started_s=9.0)
    store.set_canary(again)
    assert store.count_canary(again, "one", Counts(1)) == Counts()


# The store on disk


class Disk:
    """A store on disk that can be opened again, as after a restart."""

    def __init__(self, root: Path) -> None:
        self.pipelines, self.state = root / "pipelines", root / "state"
        self.errors: list[str] = []
        self.store = self._open()

    def restart(self) -> dict[str, str]:
        """Open it again; what is live then."""
        self.store.close()
        self.store = self._open()
        return live(self.store)

    def deploy(self, name: str, files: dict[str, bytes], *, save: bool = True) -> str:
        """Put, set live, and release: the server has been stopped since."""
        bundle = put_live(self.store, Bundle(name, files), save=save)
        self.store.release(name, bundle.version)
        return bundle.version

    def versions(self, name: str) -> list[str]:
        home = self.state / "versions" / name
        return sorted(path.name for path in home.iterdir()) if home.is_dir() else []

    def _open(self) -> DiskStore:
        return DiskStore(
            self.pipelines, self.state, on_error=lambda what, error: self.errors.append(f"{what}: {error}")
        )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    opened = Disk(tmp_path)
    yield opened
    opened.store.close()


def test_the_pipelines_directory_shows_what_was_deployed(disk: Disk) -> None:
    disk.deploy("a", PATHS)
    disk.deploy("b", {"anything.yaml": b"components: {}\n"})
    assert contents(disk.pipelines) == {
        **{f"a/{path}": data for path, data in PATHS.items()},
        "b.yaml": b"components: {}\n",
    }


def test_overwriting_shows_the_new_set_of_files(disk: Disk) -> None:
    disk.deploy("a", {"pipeline_wrapper.py": b"1", "old/only.txt": b"1", "both": b"1"})
    version = disk.deploy("a", {"pipeline_wrapper.py": b"2", "new/only.txt": b"2", "both": b"2"})
    assert contents(disk.pipelines / "a") == {"pipeline_wrapper.py": b"2", "new/only.txt": b"2", "both": b"2"}
    assert not (disk.pipelines / "a" / "old").exists()
    assert disk.restart() == {"a": version}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"pipeline_wrapper.py": b"1", "x": b"1"}, {"pipeline_wrapper.py": b"2", "x/y": b"2"}),
        ({"pipeline_wrapper.py": b"1", "x/y": b"1"}, {"pipeline_wrapper.py": b"2", "x": b"2"}),
        ({"pipeline_wrapper.py": b"1"}, {"a.yml": b"components: {}"}),
        ({"a.yml": b"components: {}"}, {"pipeline_wrapper.py": b"2"}),
        ({"a.yml": b"components: {}"}, {"a.yaml": b"components: {}"}),
    ],
)
def test_a_file_may_become_a_directory_and_a_wrapper_a_yaml(
    disk: Disk, old: dict[str, bytes], new: dict[str, bytes]
) -> None:
    disk.deploy("a", old)
    version = disk.deploy("a", new)
    assert sorted(contents(disk.pipelines).values()) == sorted(new.values())
    assert disk.errors == []
    assert disk.restart() == {"a": version}


def test_undeploying_takes_away_what_the_server_wrote_and_nothing_else(disk: Disk) -> None:
    disk.deploy("a", {"pipeline_wrapper.py": b"1", "sub/x": b"1"})
    write(disk.pipelines, {"a/sub/notes.txt": b"mine", "README": b"mine"})
    disk.store.set_undeployed("a")
    assert contents(disk.pipelines) == {"a/sub/notes.txt": b"mine", "README": b"mine"}
    assert disk.restart() == {}
    assert contents(disk.pipelines) == {"a/sub/notes.txt": b"mine", "README": b"mine"}


def test_a_file_that_a_user_put_beside_ours_is_not_overwritten_by_a_new_version(disk: Disk) -> None:
    disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    write(disk.pipelines, {"a/notes.txt": b"mine"})
    version = disk.deploy("a", {"pipeline_wrapper.py": b"2", "notes.txt": b"theirs"})
    assert contents(disk.pipelines / "a") == {"pipeline_wrapper.py": b"2", "notes.txt": b"mine"}
    assert disk.restart() == {"a": version}
    disk.store.set_undeployed("a")
    assert contents(disk.pipelines / "a") == {"notes.txt": b"mine"}


def test_files_that_nothing_deploys_are_left_alone_when_their_name_is_deployed(disk: Disk) -> None:
    write(disk.pipelines, {"a/notes.txt": b"mine", "a/empty/.keep": b""})
    version = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    assert disk.restart() == {"a": version}
    disk.store.set_undeployed("a")
    assert contents(disk.pipelines) == {"a/notes.txt": b"mine", "a/empty/.keep": b""}


def test_a_users_directory_is_neither_changed_by_undeploying_nor_by_starts(disk: Disk) -> None:
    mine = write(disk.pipelines / "a", {"pipeline_wrapper.py": b"1", "__pycache__/x.pyc": b"1", "sub/x": b"1"})
    (mine / "empty" / "deeper").mkdir(parents=True)
    before = tree(disk.pipelines)
    assert set(disk.restart()) == {"a"}
    disk.store.set_undeployed("a")
    assert disk.restart() == {}
    assert disk.restart() == {}
    assert tree(disk.pipelines) == before


def test_overwriting_over_a_users_directory_leaves_it_alone_and_survives_a_restart(disk: Disk) -> None:
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"1", "mine.txt": b"1"})
    before = tree(disk.pipelines)
    version = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    assert disk.restart() == {"a": version}
    newer = disk.deploy("a", {"pipeline_wrapper.py": b"3"})
    assert disk.restart() == {"a": newer}
    assert tree(disk.pipelines) == before


def test_a_users_directory_that_was_edited_after_an_upload_wins_at_the_next_start(disk: Disk) -> None:
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"1"})
    uploaded = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"edited"})
    edited = Bundle("a", {"pipeline_wrapper.py": b"edited"}).version
    assert disk.restart() == {"a": edited} != {"a": uploaded}
    assert disk.restart() == {"a": edited}


def test_an_uploaded_deployment_that_was_edited_in_the_pipelines_directory_is_served_as_edited(disk: Disk) -> None:
    disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"edited", "more.py": b"more"})
    assert disk.restart() == {"a": Bundle("a", {"pipeline_wrapper.py": b"edited", "more.py": b"more"}).version}
    disk.store.set_undeployed("a")
    assert contents(disk.pipelines) == {"a/pipeline_wrapper.py": b"edited", "a/more.py": b"more"}
    assert disk.restart() == {}


def test_a_deployment_whose_files_were_removed_from_the_pipelines_directory_is_gone(disk: Disk) -> None:
    disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    (disk.pipelines / "a" / "pipeline_wrapper.py").unlink()
    assert disk.restart() == {}
    assert disk.restart() == {}


def test_an_undeployed_directory_stays_undeployed_until_it_is_deployed_again(disk: Disk) -> None:
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"1"})
    disk.store.set_undeployed("a")
    assert disk.restart() == {}
    version = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    assert disk.restart() == {"a": version}


def test_a_version_that_its_own_runs_changed_is_still_the_one_that_is_served(disk: Disk) -> None:
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"users"})
    bundle = put_live(disk.store, Bundle("a", {"pipeline_wrapper.py": b"2", "counter.txt": b"0"}))
    write(disk.store.place(bundle), {"counter.txt": b"7", "made.txt": b"by a run"})
    disk.store.close()
    disk.store = DiskStore(disk.pipelines, disk.state)
    (found,) = disk.store.find()
    assert found.bundle is not None
    assert dict(found.bundle.files) == {"pipeline_wrapper.py": b"2", "counter.txt": b"7"}
    assert (disk.store.place(found.bundle) / "made.txt").read_bytes() == b"by a run"


def test_deploying_the_same_bytes_again_puts_right_what_runs_have_changed(disk: Disk) -> None:
    bundle = put_live(disk.store, Bundle("a", PATHS))
    write(disk.store.place(bundle), {"pipeline_wrapper.py": b"changed", "made.txt": b"by a run"})
    again = put_live(disk.store, Bundle("a", PATHS))
    assert contents(disk.store.place(again)) == {**PATHS, "made.txt": b"by a run"}


def test_the_version_of_a_canary_is_kept_however_many_follow_and_whosever_the_live_one_is(disk: Disk) -> None:
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"users"})
    stable = Bundle("a", {"pipeline_wrapper.py": b"users"})
    tried = disk.store.put(Bundle("a", {"pipeline_wrapper.py": b"canary"}))
    disk.store.set_canary(canary(stable, tried))
    disk.store.release("a", tried.version)
    for number in range(KEPT_VERSIONS + 2):
        other = disk.store.put(Bundle("a", {"pipeline_wrapper.py": b"%d" % number}))
        disk.store.release("a", other.version)
    assert disk.restart() == {"a": stable.version}
    found = running(disk.store)
    assert found is not None
    assert found.version == tried.version in disk.versions("a")


def test_a_canary_beside_a_directory_that_was_edited_is_none_any_more(disk: Disk) -> None:
    begun = begin(disk.store)
    write(disk.pipelines / "a", {"x": b"edited", "pipeline_wrapper.py": b"edited"})
    disk.restart()
    outcome = disk.store.outcome("a")
    assert outcome is not None
    assert (running(disk.store), outcome.canary, outcome.state) == (None, begun, "replaced")


def test_old_versions_go_and_the_live_one_stays(disk: Disk) -> None:
    for number in range(KEPT_VERSIONS + 5):
        version = disk.deploy("a", {"pipeline_wrapper.py": b"%d" % number})
    assert len(disk.versions("a")) == KEPT_VERSIONS
    assert version in disk.versions("a")


def test_nothing_is_left_of_what_never_became_live(disk: Disk) -> None:
    version = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    for name in ("a", "b"):
        failed = disk.store.put(Bundle(name, {"pipeline_wrapper.py": b"broken"}))
        disk.store.release(name, failed.version)
    assert disk.versions("a") == [version]
    assert not (disk.state / "versions" / "b").exists()


def test_of_undeployed_names_the_newest_are_kept(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "pipelines", tmp_path / "state", max_gone_names=2)
    for name in ("a", "b", "c", "d"):
        bundle = put_live(store, Bundle(name, {"pipeline_wrapper.py": b"1"}))
        store.release(name, bundle.version)
    for name in ("c", "a", "b"):
        store.set_undeployed(name)
    assert [name for name in ("a", "b", "c", "d") if store.kept(name)] == ["a", "b", "d"]
    assert store.history("c") == []
    assert {path.name for path in (tmp_path / "state" / "versions").iterdir()} == {"a", "b", "d"}
    store.close()


def test_the_history_of_a_name_is_bounded() -> None:
    database = open_database(":memory:", history.SCHEMA)
    for number in range(history.MAX_CHANGES + 5):
        history.append(database, "a", f"{number}", Cause("deploy"))
    history.append(database, "b", None, Cause("undeploy"))
    told = [change.version for change in history.changes_of(database, "a")]
    assert told == [f"{number}" for number in range(history.MAX_CHANGES + 4, 4, -1)]
    database.close()


def test_history_and_versions_outlive_a_restart(disk: Disk) -> None:
    old = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    new = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    disk.restart()
    assert versions_of(disk.store) == [("deploy", new), ("deploy", old)]
    assert set(disk.store.kept("a")) == {new, old}


def test_rolling_back_over_a_users_directory_leaves_it_alone_and_outlives_a_restart(disk: Disk) -> None:
    old = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    disk.store.set_undeployed("a")
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"mine"})
    before = tree(disk.pipelines)
    back = disk.store.fetch("a", old)
    assert back is not None
    put_live(disk.store, back)
    assert disk.restart() == {"a": old}
    assert tree(disk.pipelines) == before
    write(disk.pipelines / "a", {"pipeline_wrapper.py": b"edited"})  # the last change wins
    assert disk.restart() == {"a": Bundle("a", {"pipeline_wrapper.py": b"edited"}).version}


def test_what_a_users_directory_still_holds_is_rolled_back_to_in_its_place(disk: Disk) -> None:
    mine = write(disk.pipelines / "a", {"pipeline_wrapper.py": b"mine"})
    (found,) = disk.store.find()
    assert found.bundle is not None
    disk.store.set_found(found.bundle, Cause("start"))
    uploaded = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    assert disk.restart() == {"a": uploaded}
    back = disk.store.fetch("a", found.bundle.version)
    assert back is not None
    assert disk.store.place(put_live(disk.store, back)) == mine
    assert disk.restart() == {"a": found.bundle.version}
    (again,) = disk.store.find()
    assert again.bundle is not None
    assert disk.store.place(again.bundle) == mine


def test_a_version_whose_files_its_own_runs_changed_is_rolled_back_to_as_it_was_left(disk: Disk) -> None:
    bundle = put_live(disk.store, Bundle("a", {"pipeline_wrapper.py": b"1", "counter.txt": b"0"}))
    write(disk.store.place(bundle), {"counter.txt": b"7"})
    disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    back = disk.store.fetch("a", bundle.version)
    assert back is not None
    placed = put_live(disk.store, back)
    assert (placed.version, contents(disk.store.place(placed))["counter.txt"]) == (bundle.version, b"7")
    assert disk.restart() == {"a": bundle.version}


def test_drafts_of_a_server_that_was_killed_are_removed_at_the_next_start(disk: Disk) -> None:
    version = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    (disk.state / "versions" / "a" / f".x.{'0' * 32}.tmp").mkdir()
    write(disk.state / "versions", {"never-live/0123/files/x": b"1"})
    assert disk.restart() == {"a": version}
    assert disk.versions("a") == [version]
    assert disk.versions("never-live") == []


@pytest.mark.parametrize("suffix", [".yml", ".yaml"])
def test_yaml_files_of_the_user_are_found_and_left_alone(disk: Disk, suffix: str) -> None:
    write(
        disk.pipelines, {f"flat{suffix}": b"components: {}\n", ".hidden.yml": b"", "notes.txt": b"", "dir.yml/x": b""}
    )
    before = tree(disk.pipelines)
    assert set(disk.restart()) == {"flat"}
    disk.store.set_undeployed("flat")
    assert disk.restart() == {}
    assert tree(disk.pipelines) == before


def test_ignored_names_are_not_found(tmp_path: Path) -> None:
    write(tmp_path / "p", {"a/pipeline_wrapper.py": b"", "draft-b/pipeline_wrapper.py": b"", "draft-c.yml": b""})
    store = DiskStore(tmp_path / "p", tmp_path / "s", ignore=["draft-*", "*.log"])
    write(tmp_path / "p", {"a/big.log": b"1"})
    (found,) = store.find()
    store.close()
    assert found.name == "a"
    assert found.bundle is not None
    assert set(found.bundle.files) == {"pipeline_wrapper.py"}


def test_what_cannot_be_a_deployment_is_found_with_its_reason(disk: Disk) -> None:
    write(disk.pipelines, {"v1/pipeline_wrapper.py": b"", "a b/pipeline_wrapper.py": b"", "docs.yml": b""})
    reasons = {found.name: str(found.error) for found in disk.store.find()}
    assert "reserved" in reasons["v1"]
    assert "reserved" in reasons["docs"]
    assert "letters, digits" in reasons["a b"]


def test_a_link_that_leads_nowhere_or_in_circles_harms_nobody(disk: Disk) -> None:
    mine = write(disk.pipelines / "a", {"pipeline_wrapper.py": b"1"})
    (mine / "loop").symlink_to(mine)
    (mine / "dangling").symlink_to("nowhere")
    (mine / "alias.py").symlink_to("pipeline_wrapper.py")
    (disk.pipelines / "dangling").symlink_to("nowhere")
    (found,) = disk.store.find()
    assert found.bundle is not None
    assert set(found.bundle.files) == {"pipeline_wrapper.py", "alias.py"}


def test_a_name_that_is_a_link_is_served_and_what_it_leads_to_is_left_alone(disk: Disk, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"pipeline_wrapper.py": b"1"})
    (disk.pipelines / "a").symlink_to(elsewhere)
    before = tree(elsewhere)
    version = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    assert disk.restart() == {"a": version}
    disk.store.set_undeployed("a")
    assert tree(elsewhere) == before


def test_a_deploy_that_the_pipelines_directory_cannot_show_is_kept_all_the_same(disk: Disk) -> None:
    (disk.pipelines / "a").write_bytes(b"a file where a directory should be")
    version = disk.deploy("a", {"pipeline_wrapper.py": b"1"})
    assert "'a'" in disk.errors[0]
    assert disk.restart() == {"a": version}
    newer = disk.deploy("a", {"pipeline_wrapper.py": b"2"})
    assert disk.restart() == {"a": newer}
    disk.store.set_undeployed("a")
    assert disk.restart() == {}
    assert (disk.pipelines / "a").read_bytes() == b"a file where a directory should be"


def test_a_database_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"state.db": b"this is no database, " * 100})
    with pytest.raises(OSError, match=r"state\.db cannot be opened"):
        State(tmp_path / "state.db")


def test_a_database_that_fails_later_refuses_the_deploy(disk: Disk) -> None:
    bundle = disk.store.put(Bundle("a", PATHS))
    other = sqlite3.connect(disk.state / "state.db")
    other.execute("DROP TABLE live")
    other.close()
    with pytest.raises(StoreFailed, match="'a' cannot be stored"):
        disk.store.set_live(bundle, save=True)


# A full disk

_FILL = """
import resource, signal, sys
from pathlib import Path
from hayhooks.core.bundle import Bundle, read_directory
from hayhooks.store import history
from hayhooks.store.disk import DiskStore, StoreFailed

store = DiskStore(Path(sys.argv[1]), Path(sys.argv[2]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    bundle = store.put(Bundle("a", {"pipeline_wrapper.py": b"new", "big.bin": b"x" * 100_000}))
    store.set_live(bundle, save=True)
except StoreFailed as error:
    print(error)
"""


@pytest.mark.parametrize("limit_bytes", [0, 50_000])
def test_a_write_that_does_not_fit_refuses_the_deploy_and_keeps_the_old_version(disk: Disk, limit_bytes: int) -> None:
    version = disk.deploy("a", {"pipeline_wrapper.py": b"old"})
    before = contents(disk.pipelines)
    disk.store.close()
    command = [sys.executable, "-c", _FILL, str(disk.pipelines), str(disk.state), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "Deployment 'a' cannot be stored: File too large" in done.stdout
    disk.store = DiskStore(disk.pipelines, disk.state)
    assert live(disk.store) == {"a": version}
    assert contents(disk.pipelines) == before
    assert disk.versions("a") == [version]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 1 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of 1 MB cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def test_a_full_disk_refuses_the_deploy_and_keeps_the_old_version_serving(small_disk: Path) -> None:
    async with house(small_disk) as first:
        await first.deploy("a", answering("old"))
        for name in ("a", "b"):
            with pytest.raises(StoreFailed, match="No space left on device"):
                await first.deploy(name, answering("new", big__bin=b"x" * 2_000_000))
        assert await first.run("a") == "old"
        # Small enough to be kept, too large to be shown as well: it is live, and the log says what is missing.
        await first.deploy("c", answering("kept", half__bin=b"x" * 500_000))
        assert await first.run("c") == "kept"
        assert "No space left on device" in "".join(first.errors)
        assert set(first.runtime.live) == {"a", "c"}
    async with house(small_disk) as again:
        assert await again.run("a") == "old"
        assert await again.run("c") == "kept"
        assert set(again.runtime.live) == {"a", "c"}
