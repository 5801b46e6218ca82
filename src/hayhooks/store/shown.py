"""The pipelines directory: what people see there, what they put there, and what the server writes into it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hayhooks.core.bundle import WRAPPER_FILE, YAML_SUFFIXES, Bundle, ignored, read_directory
from hayhooks.core.names import check_name
from hayhooks.store.files import remove_drafts, replace_file


class PipelinesDirectory:
    """The deployments below *path*. Files that the server did not write are never changed or removed.

    With *only* a scan sees that name alone. What it wrote is known to the caller as ``{path: SHA-256}``. Methods raise
    OSError when the disk refuses.
    """

    def __init__(self, path: Path, ignore: Sequence[str] = (), only: str = "") -> None:
        self.path = path
        self._ignore = tuple(ignore)
        self._only = only

    def scan(self) -> dict[str, Path]:
        """Everything that is a deployment, by name."""
        names = {
            path.stem if path.suffix in YAML_SUFFIXES and path.is_file() else path.name for path in self.path.iterdir()
        }
        names = names & {self._only} if self._only else names
        return {name: path for name in names if (path := self.find(name)) is not None}

    def find(self, name: str) -> Path | None:
        """What lies there under this name.

        A directory wins over a YAML file of its name, and one without a wrapper may be anything.
        """
        directory = self.path / name
        choices = [(directory, directory / WRAPPER_FILE)]
        choices += [(file, file) for suffix in sorted(YAML_SUFFIXES) for file in [self.path / (name + suffix)]]
        for path, needed in choices:
            if not path.name.startswith(".") and needed.is_file() and not ignored(path.name, self._ignore):
                return path
        return None

    def is_taken(self, name: str) -> bool:
        """Whether something lies under this name, or a link that leads to where the server has no business."""
        return self.find(name) is not None or (self.path / name).is_symlink()

    def read(self, name: str, path: Path) -> Bundle:
        """The bundle at *path*, to be served in place. Raises InvalidBundle and InvalidName as well."""
        if path.is_dir():
            return read_directory(name, path, self._ignore)
        check_name(name)
        return Bundle(name, {path.name: path.read_bytes()}, directory=path.parent)

    def write(
        self, name: str, files: Mapping[str, bytes], ours: Mapping[str, str], announce: Callable[[dict[str, str]], None]
    ) -> dict[str, str]:
        """Make the directory show *files* in the place of *ours*, the server's own of before; what it wrote.

        *announce* is told of everything that is the server's before it is written, so that after a crash these files
        are known.
        """
        wanted = {_shown_path(name, path, files): content for path, content in files.items()}
        # Stale ones first: a file of the old version may stand where the new one has a directory.
        self.remove({path: digest for path, digest in ours.items() if path not in wanted})
        # A file that the user put beside ours stays, even where a new version has one of that name.
        wanted = {path: content for path, content in wanted.items() if path in ours or not self._is_there(path)}
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in wanted.items()}
        announce({**ours, **hashes})
        for path, content in wanted.items():
            file = self.path / path
            remove_drafts(file.parent, file.name)
            replace_file(file, content)
        return hashes

    def remove(self, written: Mapping[str, str]) -> None:
        """Remove files that are still as the server wrote them, and the directories that are empty then."""
        for path, digest in written.items():
            file = self.path / path
            remove_drafts(file.parent, file.name)
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest:
                file.unlink()
        parents = {parent for path in written for parent in Path(path).parents if parent != Path()}
        for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
            directory = self.path / parent
            if directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir()):
                directory.rmdir()

    def _is_there(self, path: str) -> bool:
        file = self.path / path
        return file.is_symlink() or file.exists()


def _shown_path(name: str, path: str, files: Mapping[str, bytes]) -> str:
    """Where a bundle's file appears: a lone YAML as ``<name>.yml``, everything else below ``<name>/``."""
    if len(files) == 1 and path.endswith(YAML_SUFFIXES):
        return f"{name}{Path(path).suffix}"
    return f"{name}/{path}"
