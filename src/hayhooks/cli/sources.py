"""Which files of a directory are sent to the server."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

# Made by tools, or change by themselves. A test holds this equal to what the server ignores in its own directory.
ALWAYS_IGNORED = (
    ".git", ".venv", "venv", "node_modules", "__pycache__", "*.pyc", ".DS_Store", ".ipynb_checkpoints",
    ".mypy_cache", ".ruff_cache", ".pytest_cache",
)  # fmt: skip


class UnusableDirectory(ValueError):
    """Files of the directory cannot be sent."""


def directory_files(directory: Path, ignore: Iterable[str] = ()) -> Mapping[str, Path]:
    """The files below *directory*, by their path in it with ``/``, sorted.

    *ignore* holds patterns for names and for paths. Links are followed to files within the directory only:
    whoever deploys a directory means what is in it.

    Raises:
        UnusableDirectory: When it holds a link that cannot be sent, cannot be read, or is empty.
    """
    root = directory.resolve()
    patterns = (*ALWAYS_IGNORED, *ignore)
    try:
        files = dict(sorted(_walk(root, root, patterns)))
    except OSError as error:
        raise UnusableDirectory(f"Cannot read {error.filename or directory}: {error.strerror or error}.") from error
    if not files:
        raise UnusableDirectory(f"{directory} has no files to send.")
    return files


def _walk(directory: Path, root: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for entry in directory.iterdir():
        path = entry.relative_to(root).as_posix()
        if any(fnmatch(entry.name, pattern) or fnmatch(path, pattern) for pattern in patterns):
            continue
        if entry.is_symlink():
            target = entry.resolve()
            if not target.is_relative_to(root):
                raise UnusableDirectory(
                    f"{path} is a link to {target}, outside {root}. Replace it with a copy, or ignore it with "
                    f'HAYHOOKS_FILES_TO_IGNORE_PATTERNS=["{path}"].'
                )
            if not target.is_file():
                raise UnusableDirectory(f"{path} is a link to {target}, which is no file. Remove it, or ignore it.")
            yield path, entry
        elif entry.is_dir():
            yield from _walk(entry, root, patterns)
        elif entry.is_file():  # sockets and pipes have no bytes to send
            yield path, entry
