"""Files written so that a crash leaves the old or the new, never a half."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hayhooks.store.processes import is_alive

# Earlier releases did not say which process writes it.
_DRAFT = re.compile(r"\.(?P<name>.*?)(?:\.p(?P<pid>\d+))?\.[0-9a-f]{32}\.tmp", re.DOTALL)
_DRAFT_NAME_CHARS = 50  # at most 200 bytes of a name's 255
_own_drafts: set[str] = set()  # that are being written; what else has this process's id is of an earlier one


def write_tree(files: Mapping[str, bytes], target: Path) -> None:
    """Write *files* below *target*, which appears complete or not at all, and is on disk when this returns.

    Raises:
        OSError: Nothing is left behind then.
    """
    _make_directory(target.parent)
    with _draft_of(target) as draft:
        directories = {draft}
        for path, content in files.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            directories.update(parent for parent in file.parents if parent.is_relative_to(draft))
            _write_durably(file, content)
        draft.mkdir(parents=True, exist_ok=True)
        for directory in directories:
            sync_directory(directory)
        draft.replace(target)
        sync_directory(target.parent)


@contextmanager
def removing_trees() -> Iterator[Callable[[Path], None]]:
    """Inside the block, put trees out of the way, in one step each; their bytes are removed after it."""
    with ExitStack() as stack:

        def put_away(tree: Path) -> None:
            with suppress(OSError):  # it is gone
                tree.rename(stack.enter_context(_draft_of(tree)))

        yield put_away


@contextmanager
def temporary_tree(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A directory with *files*, gone after the block. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="hayhooks-", ignore_cleanup_errors=True) as directory:
        for path, content in files.items():
            file = Path(directory) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        yield Path(directory)


def replace_file(file: Path, content: bytes) -> None:
    """Put *content* at *file* in one step, on disk when this returns."""
    _make_directory(file.parent)
    with _draft_of(file) as draft:
        _write_durably(draft, content)
        draft.replace(file)
        sync_directory(file.parent)


def remove_drafts(directory: Path, name: str | None = None) -> None:
    """Remove what crashes left in *directory* of attempts to write *name*, or anything."""
    if not directory.is_dir():
        return
    for path in list(directory.iterdir()):
        draft = _DRAFT.fullmatch(path.name)
        if draft is None or (name is not None and draft["name"] != name[:_DRAFT_NAME_CHARS]):
            continue
        if not _is_being_written(path.name, int(draft["pid"] or 0)):
            _remove(path)


def sync_directory(directory: Path) -> None:
    """Make the names in *directory* survive a power cut, where the system can."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:  # Windows has no handle for a directory
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """Where *target* is written first. What is there at the end of the block is removed."""
    name = f".{target.name[:_DRAFT_NAME_CHARS]}.p{os.getpid()}.{uuid.uuid4().hex}.tmp"
    draft = target.parent / name
    _own_drafts.add(name)
    try:
        yield draft
    finally:
        _remove(draft)
        _own_drafts.discard(name)


def _is_being_written(name: str, pid: int) -> bool:
    return name in _own_drafts if pid == os.getpid() else pid > 0 and is_alive(pid)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _make_directory(directory: Path) -> None:
    """Create *directory* and what is missing above it, each name on disk when this returns."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
