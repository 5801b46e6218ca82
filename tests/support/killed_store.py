"""Ends a process at the n-th operation of a store, for every n, and tells what a restart finds each time.

Run as a module with the name of a scenario; writes one JSON object per line. A process of its own, because it forks.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hayhooks.core.bundle import Bundle
from hayhooks.core.canary import Canary, Counts, Outcome, Plan
from hayhooks.core.store import Cause
from hayhooks.store.disk import DiskStore
from tests.support.deployments import contents, write

# Built-in functions that change files, or have SQLite do it. To end before one that only reads is to end before the
# next of these.
_OPERATIONS = frozenset(
    {"close", "execute", "flush", "mkdir", "open", "remove", "rename", "replace", "rmdir", "unlink", "write"}
)
# A process that is killed loses none of what the system has taken, so no disk is needed.
MEMORY = Path("/dev/shm")

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Scenario:
    """A pipelines directory before, a change, and what may be live when the change was cut short."""

    users: Files  # what a user put into the pipelines directory
    change: Callable[[DiskStore], None]
    old: Files | None  # what is live before; None: nothing
    new: Files | None
    deployed: Files | None = None  # deployed through the store, before the user's files are written
    then: Callable[[DiskStore], None] | None = None  # done after that


def deploy(files: Files) -> Callable[[DiskStore], None]:
    """Put *files* and make them live, as a server does."""

    def change(store: DiskStore) -> None:
        bundle = store.put(Bundle("a", files))
        store.set_live(bundle, save=True)
        store.release("a", bundle.version)

    return change


def promote(files: Files) -> Callable[[DiskStore], None]:
    """Try *files* beside what is live, and promote them, as a server does."""

    def change(store: DiskStore) -> None:
        (live,) = store.find()
        assert live.bundle is not None
        bundle = store.put(Bundle("a", files))
        canary = Canary("a", bundle.version, live.bundle.version, Plan(10), 1.0)
        store.set_canary(canary)
        store.promote(Outcome(canary, "promoted", "", Counts(), 2.0))

    return change


def undeploy(store: DiskStore) -> None:
    """Undeploy it, as a server does."""
    store.set_undeployed("a")


def roll_back(files: Files) -> Callable[[DiskStore], None]:
    """Make a kept version live again, as a server does."""

    def change(store: DiskStore) -> None:
        bundle = store.fetch("a", Bundle("a", files).version)
        assert bundle is not None
        bundle = store.put(bundle)
        store.set_live(bundle, save=True, cause=Cause("rollback"))
        store.release("a", bundle.version)

    return change


ONE: Files = {"pipeline_wrapper.py": b"1", "same": b"same", "sub/gone": b"1", "turns": b"1"}
TWO: Files = {"pipeline_wrapper.py": b"2", "same": b"same", "turns/dir": b"2"}
YAML: Files = {"a.yml": b"components: {}\n"}
MINE: Files = {"a/pipeline_wrapper.py": b"mine", "a/data/x": b"mine"}

SCENARIOS: dict[str, Scenario] = {
    "first": Scenario({}, deploy(ONE), old=None, new=ONE),
    "overwrite": Scenario({}, deploy(TWO), deployed=ONE, old=ONE, new=TWO),
    "again": Scenario({}, deploy(ONE), deployed=ONE, old=ONE, new=ONE),
    "to-yaml": Scenario({}, deploy(YAML), deployed=ONE, old=ONE, new=YAML),
    "from-yaml": Scenario({}, deploy(ONE), deployed=YAML, old=YAML, new=ONE),
    "over-users": Scenario(MINE, deploy(TWO), old={"pipeline_wrapper.py": b"mine", "data/x": b"mine"}, new=TWO),
    "beside-users": Scenario({"a/notes": b"mine", "a/turns/n": b"mine"}, deploy(TWO), old=None, new=TWO),
    "promote": Scenario({}, promote(TWO), deployed=ONE, old=ONE, new=TWO),
    "promote-over-users": Scenario(
        MINE, promote(TWO), old={"pipeline_wrapper.py": b"mine", "data/x": b"mine"}, new=TWO
    ),
    "undeploy": Scenario({}, undeploy, deployed=ONE, old=ONE, new=None),
    "rollback": Scenario({}, roll_back(ONE), deployed=ONE, then=deploy(TWO), old=TWO, new=ONE),
    "rollback-undeployed": Scenario({}, roll_back(ONE), deployed=ONE, then=undeploy, old=None, new=ONE),
    "rollback-over-users": Scenario(
        MINE,
        roll_back(ONE),
        deployed=ONE,
        then=undeploy,
        old={"pipeline_wrapper.py": b"mine", "data/x": b"mine"},
        new=ONE,
    ),
    "undeploy-users": Scenario(MINE, undeploy, old={"pipeline_wrapper.py": b"mine", "data/x": b"mine"}, new=None),
}


def main(name: str) -> None:
    """Cut the change of scenario *name* at every operation; now and then, cut the restart after it as well."""
    scenario = SCENARIOS[name]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as base:
        prepared = Path(base) / "prepared"
        _prepare(prepared, scenario)
        n = 0
        while True:
            root = Path(base) / "now"
            shutil.copytree(prepared, root)
            is_complete = cut(n, lambda root=root: _with_store(root, scenario.change))  # type: ignore[misc]
            restarts = 0
            if n % 6 == 1 and not is_complete:
                while not cut(7 + 13 * restarts, lambda root=root: _with_store(root, DiskStore.find)):  # type: ignore[misc]
                    restarts += 1
            seen = {
                "n": n,
                "is_complete": is_complete,
                "restarts": restarts,
                **_look(root, goes_on=n % 3 == 0 or is_complete),
            }
            sys.stdout.write(json.dumps(seen) + "\n")
            shutil.rmtree(root)
            if is_complete:
                return
            n += 1


def _prepare(root: Path, scenario: Scenario) -> None:
    store = _open(root)
    if scenario.deployed is not None:
        deploy(scenario.deployed)(store)
    if scenario.then is not None:
        scenario.then(store)
    write(root / "pipelines", scenario.users)
    _live(store)
    store.close()


def _look(root: Path, *, goes_on: bool) -> dict[str, Any]:
    """What two restarts find; when it *goes_on*, how the store works then: as if nothing had happened."""
    found = []
    for _ in range(2):
        store = _open(root)
        found.append(_live(store))
        history = store.history("a")
        store.close()
    told = {
        "found": found,
        "shown": _text(contents(root / "pipelines")),
        "history": history[0].version if history else None,
    }
    if not goes_on:
        return told
    store = _open(root)
    _live(store)
    last = {"pipeline_wrapper.py": b"last", "turns": b"last"}
    deploy(last)(store)
    store.close()
    store = _open(root)
    after_deploy = _live(store)
    undeploy(store)
    store.close()
    store = _open(root)
    after_undeploy = _live(store)
    kept = set(store.kept("a"))
    store.close()
    return {
        **told,
        "last": after_deploy == _text(last),
        "undeployed": after_undeploy,
        "left": _text(contents(root / "pipelines")),
        "stray": sorted({path.name for path in (root / "state" / "versions").glob("*/*")} - kept),
    }


def _open(root: Path) -> DiskStore:
    return DiskStore(root / "pipelines", root / "state")


def _with_store(root: Path, action: Callable[[DiskStore], Any]) -> None:
    store = _open(root)
    action(store)
    store.close()


def _live(store: DiskStore) -> dict[str, str] | None:
    """The files of the one name, as a start finds them in their place; None when it is not live."""
    found = store.find()
    if not found:
        return None
    (one,) = found
    assert one.bundle is not None, one.error
    place = store.place(one.bundle)
    files = {path: (place / path).read_bytes() for path in one.bundle.files}
    store.release("a", one.bundle.version)
    return _text(files)


def _text(files: Files) -> dict[str, str]:
    return {path: content.decode() for path, content in sorted(files.items())}


def cut(n: int, action: Callable[[], None]) -> bool:
    """Run *action* in a child that ends before its *n*-th operation; whether it came to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 9), f"the child failed with {code}"
        return code == 0
    left = n

    def count(frame: FrameType, event: str, function: Any) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__name__", "") in _OPERATIONS:
            if left == 0:
                os._exit(9)
            left -= 1

    code = 1
    try:
        sys.setprofile(count)
        action()
        sys.setprofile(None)
        code = 0
    except BaseException:
        sys.setprofile(None)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
