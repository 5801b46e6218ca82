"""A bundle: the source files of one deployment, and the version that follows from their bytes."""

import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path, PurePosixPath

from hayhooks.core.errors import InvalidBundle
from hayhooks.core.names import check_name

WRAPPER_FILE = "pipeline_wrapper.py"
YAML_SUFFIXES = (".yml", ".yaml")
MAX_PATH_BYTES = 512

# Never part of a bundle: they are made by tools, change by themselves, or are not the pipeline's.
ALWAYS_IGNORED = (
    ".git", ".venv", "venv", "node_modules", "__pycache__", "*.pyc", ".DS_Store", ".ipynb_checkpoints",
    ".mypy_cache", ".ruff_cache", ".pytest_cache",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Source files of a deployment: path inside the bundle to bytes.

    ``version`` is the hex SHA-256 over the sorted paths and contents, so the same bytes are the same version
    wherever they came from. ``directory`` is set when the files lie in a directory that is served in place;
    ``deployed_as`` when they were deployed as that version, and its own runs have changed them since.
    """

    name: str
    files: Mapping[str, bytes]
    directory: Path | None = None
    deployed_as: InitVar[str | None] = None
    version: str = field(init=False)

    def __post_init__(self, deployed_as: str | None) -> None:
        check_name(self.name)
        for path in self.files:
            _check_path(path)
        _check_no_file_is_a_directory(self.files)
        object.__setattr__(self, "version", deployed_as or digest(self.files))

    @property
    def yaml_file(self) -> str | None:
        """The pipeline's YAML file when the bundle is one YAML pipeline and no wrapper."""
        if WRAPPER_FILE in self.files:
            return None
        found = [path for path in self.files if path.endswith(YAML_SUFFIXES) and "/" not in path]
        return found[0] if len(found) == 1 else None


def bundle_of_yaml(name: str, source_code: str) -> Bundle:
    """A bundle of one pipeline YAML."""
    return Bundle(name, {f"{name}.yml": source_code.encode()})


def read_directory(name: str, directory: Path, ignore: Sequence[str] = ()) -> Bundle:
    """The bundle of a user's own directory, to be served in place.

    Raises:
        InvalidBundle: When a file cannot be read or its path cannot be in a bundle.
    """
    try:
        files = DirectoryFiles(directory, tuple(walk(directory, ignore)))
        return Bundle(name, files, directory=directory)
    except OSError as error:
        raise InvalidBundle(f"Cannot read {directory}: {error}") from error


class DirectoryFiles(Mapping[str, bytes]):
    """The files of a directory, read when asked for: a model of many gigabytes may lie beside a wrapper."""

    def __init__(self, directory: Path, paths: tuple[str, ...]) -> None:
        self._directory = directory
        self._paths = dict.fromkeys(paths)

    def __getitem__(self, path: str) -> bytes:
        if path not in self._paths:
            raise KeyError(path)
        return (self._directory / path).read_bytes()

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def hash_into(self, path: str, start: Callable[[int], None], update: Callable[[bytes], None]) -> None:
        """Feed the file at *path* to a digest piece by piece, its size first."""
        with (self._directory / path).open("rb") as file:
            start(file.seek(0, 2))
            file.seek(0)
            while piece := file.read(1 << 20):
                update(piece)


def walk(directory: Path, ignore: Sequence[str] = ()) -> Iterator[str]:
    """Paths of the regular files below *directory*, sorted, without what is ignored.

    A link is followed when it leads to a file, never into a directory: a loop would not end.
    """
    patterns = (*ALWAYS_IGNORED, *ignore)
    for entry in sorted(directory.iterdir()):
        if ignored(entry.name, patterns):
            continue
        if entry.is_dir() and not entry.is_symlink():
            for below in walk(entry, ignore):
                path = f"{entry.name}/{below}"
                if not any(fnmatch.fnmatch(path, pattern) for pattern in ignore):
                    yield path
        elif entry.is_file():
            yield entry.name


def ignored(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file or directory of this name is left out."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def digest(files: Mapping[str, bytes]) -> str:
    """Hex SHA-256 of *files*, independent of their order.

    Lengths go in before contents, so that no two different sets of files can give the same stream of bytes.
    """
    total = hashlib.sha256()
    for path in sorted(files):
        encoded = path.encode()

        def start(size: int, encoded: bytes = encoded) -> None:
            total.update(b"%d %d\n" % (len(encoded), size))
            total.update(encoded)

        if isinstance(files, DirectoryFiles):
            files.hash_into(path, start, total.update)
        else:
            start(len(files[path]))
            total.update(files[path])
    return total.hexdigest()


def _check_no_file_is_a_directory(paths: Iterable[str]) -> None:
    known = set(paths)
    for path in known:
        for parent in PurePosixPath(path).parents:
            if str(parent) in known:
                raise InvalidBundle(f"{str(parent)[:120]!r} cannot be both a file and a directory of a deployment.")


def _check_path(path: str) -> None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidBundle(f"The path {path!r} is not valid Unicode.") from None
    parts = PurePosixPath(path).parts
    if (
        not path
        or size > MAX_PATH_BYTES
        or path.startswith("/")
        or path.endswith("/")
        or "\\" in path
        or "//" in path
        or any(ord(char) < 32 or ord(char) == 127 for char in path)
        or any(part in {".", ".."} for part in path.split("/"))
        or (len(parts[0]) == 2 and parts[0][1] == ":")  # a Windows drive
        or any(len(part.encode()) > 255 for part in parts)
    ):
        raise InvalidBundle(
            f"{path[:120]!r} cannot be a file of a deployment: use a relative path with '/', "
            f"without '.', '..', '\\' or control characters, of at most {MAX_PATH_BYTES} bytes."
        )
