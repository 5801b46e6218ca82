"""Sets of wrapper directories to serve."""

import shutil
from dataclasses import dataclass
from pathlib import Path

PIPELINES = Path(__file__).parent / "pipelines"


@dataclass(frozen=True, slots=True)
class Fleet:
    """A crowd of trivial wrappers, and named copies of some of the benchmark's."""

    name: str
    crowd: int = 0
    members: tuple[tuple[str, str], ...] = ()  # deployment's name, wrapper's name

    @property
    def size(self) -> int:
        """How many deployments it has."""
        return self.crowd + len(self.members)

    def write(self, directory: Path) -> None:
        """Write the wrapper directories, for a server that has them to itself."""
        directory.mkdir(parents=True)
        crowd = ((f"crowd_{number:04}", "trivial") for number in range(self.crowd))
        for name, wrapper in (*crowd, *self.members):
            source = PIPELINES / wrapper / "pipeline_wrapper.py"
            (directory / name).mkdir()
            shutil.copyfile(source, directory / name / "pipeline_wrapper.py")


def _wrappers(*, without: str = "") -> tuple[tuple[str, str], ...]:
    names = sorted(path.parent.name for path in PIPELINES.glob("*/pipeline_wrapper.py"))
    return tuple((name, name) for name in names if name != without)


def crowd(size: int) -> Fleet:
    """*size* trivial wrappers."""
    return Fleet(f"{size} trivial", crowd=size)


def crowd_then_echo(size: int) -> Fleet:
    """*size* deployments, the last by name being the echo pipelines ``zz_echo_async`` and ``zz_echo_sync``."""
    members = (("zz_echo_async", "echo_async"), ("zz_echo_sync", "echo_sync"))
    return Fleet(f"{size} with echo", crowd=max(0, size - len(members)), members=members[-size:])


EVERY_WRAPPER = Fleet("every wrapper", members=_wrappers(without="idle_stream"))  # which needs ours
AND_IDLE_STREAMS = Fleet("every wrapper and idle streams", members=_wrappers())
NOOPS = Fleet("no-ops", members=(("noop_async", "noop_async"), ("noop_sync", "noop_sync")))
