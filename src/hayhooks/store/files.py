"""Files written so that a crash leaves the old or the new, never a half."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_DRAFT = re.compile(r"\.(.*)\.[0-9a-f]{32}\.tmp", re.DOTALL)
_DRAFT_NAME_CHARS = 50  # at most 200 bytes of a name's 255


def write_tree(files: Mapping[str, bytes], target: Path) -> None:
    """Write *files* below *target*, which appears complete or not at all, and is on disk when this returns.

    Raises:
        OSError: Nothing is left behind then.
    """
    _make_directory(target.parent)
    draft = _draft_of(target)
    try:
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
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


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
    draft = _draft_of(file)
    try:
        _write_durably(draft, content)
        draft.replace(file)
        sync_directory(file.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def remove_drafts(target: Path) -> None:
    """Remove what a crash left of earlier attempts to write *target*."""
    if not target.parent.is_dir():
        return
    for path in list(target.parent.iterdir()):
        draft = _DRAFT.fullmatch(path.name)
        if draft is None or draft[1] != target.name[:_DRAFT_NAME_CHARS]:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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


def _draft_of(target: Path) -> Path:
    return target.parent / f".{target.name[:_DRAFT_NAME_CHARS]}.{uuid.uuid4().hex}.tmp"


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
