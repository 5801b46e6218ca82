"""Ends a process at the n-th operation of a store of files, for every n, and tells what a restart finds each time.

Run as a module with ``keep`` or ``delete``; writes one JSON object per line. A process of its own, because it forks.
"""

import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from hayhooks.core.principal import ANONYMOUS
from hayhooks.store.kept_files import ORPHAN_S, DiskFiles
from tests.support.killed_store import MEMORY, cut

CONTENT = b"content" * 500_000  # several pieces


def main(change: str) -> None:
    """Cut *change* at every operation."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as base:
        prepared = Path(base) / "prepared"
        _keep(prepared, "old")
        if change == "delete":
            _keep(prepared, "doomed")
        action = _delete if change == "delete" else _keep
        n, is_complete = 0, False
        while not is_complete:
            root = Path(base) / "now"
            shutil.copytree(prepared, root)
            is_complete = cut(n, lambda root=root: action(root, "doomed" if change == "delete" else "new"))  # type: ignore[misc]
            sys.stdout.write(json.dumps({"n": n, "is_complete": is_complete, **_look(root)}) + "\n")
            shutil.rmtree(root)
            n += 1


def _look(root: Path) -> dict[str, object]:
    """What a restart finds, and what it leaves on disk when it is later."""
    store = _open(root, time.time())
    names = {}
    for file in store.of(ANONYMOUS).page(limit=10)[0]:
        _, opened = store.of(ANONYMOUS).open(file.file_id)
        with opened:
            names[file.filename] = opened.read() == CONTENT and file.size == len(CONTENT)
    _keep(root, "last")
    store.close()
    store = _open(root, time.time() + ORPHAN_S + 1)
    listed = {file.file_id for file in store.of(ANONYMOUS).page(limit=10)[0]}
    store.close()
    return {"names": names, "is_tidy": {path.name for path in (root / "content").iterdir()} == listed}


def _keep(root: Path, name: str) -> None:
    store = _open(root, time.time())
    store.of(ANONYMOUS).keep(io.BytesIO(CONTENT), filename=name, content_type=None, purpose="user_data")
    store.close()


def _delete(root: Path, name: str) -> None:
    store = _open(root, time.time())
    for file in store.of(ANONYMOUS).page(limit=10)[0]:
        if file.filename == name:
            store.of(ANONYMOUS).delete(file.file_id)
    store.close()


def _open(root: Path, now_s: float) -> DiskFiles:
    return DiskFiles(root, max_file_bytes=10**9, max_total_bytes=10**9, clock=lambda: now_s)


if __name__ == "__main__":
    main(sys.argv[1])
