"""Files written so that a crash leaves the old or the new, never a half."""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_tree(files: Mapping[str, bytes], target: Path) -> None:
    """Write *files* below *target*, which appears complete or not at all, and is on disk when this returns.

    Raises:
        OSError: Nothing is left behind then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name[:64]}.{uuid.uuid4().hex}.tmp"
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


def replace_file(file: Path, content: bytes) -> None:
    """Put *content* at *file* in one step, on disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.parent / f".{file.name[:64]}.{uuid.uuid4().hex}.tmp"
    try:
        _write_durably(draft, content)
        draft.replace(file)
        sync_directory(file.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


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


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
