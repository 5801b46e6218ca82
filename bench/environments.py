"""Python environments of their own, for programs that do not go with the project's."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_OWN_UV = Path(__file__).parents[1] / ".cache" / "uv" / "bin" / "uv"  # where `make setup` puts it


def python_environment(directory: Path, requirements: Sequence[str]) -> bool:
    """Create the environment *directory*, unless it is there already with the same requirement lines.

    Returns whether it had to be made.

    Raises:
        SystemExit: Something cannot be installed; the installer has said what.
    """
    with environment_made_once(directory, "".join(f"{line}\n" for line in requirements)) as wanted:
        if wanted is None:
            return False
        shutil.rmtree(directory, ignore_errors=True)
        python = str(directory / "bin" / "python")
        uv = os.environ.get("UV") or shutil.which("uv") or (str(_OWN_UV) if _OWN_UV.exists() else None)
        if uv:
            checked([uv, "venv", "--quiet", "--python", sys.executable, str(directory)])
            install = [uv, "pip", "install", "--quiet", "--python", python]
        else:
            checked([sys.executable, "-m", "venv", str(directory)])
            install = [python, "-m", "pip", "install", "--quiet"]
        listed = directory / "wanted.txt"
        listed.write_text(wanted, encoding="utf-8")
        checked([*install, "--requirement", str(listed)])
        return True


@contextmanager
def environment_made_once(directory: Path, wanted: str) -> Iterator[str | None]:
    """Gives *wanted* when the caller has to make *directory*, None when it was made for just that.

    Who comes while another process makes it waits.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Written last, so an interrupted installation is begun again.
    written = directory / "requirements.txt"
    with (directory.parent / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if written.exists() and written.read_text(encoding="utf-8") == wanted:
            yield None
            return
        print(f"Setting up {directory.name} in {directory} ...", file=sys.stderr, flush=True)
        yield wanted
        written.write_text(wanted, encoding="utf-8")


def checked(command: list[str]) -> None:
    """Run *command*.

    Raises:
        SystemExit: It failed.
    """
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{' '.join(command)} failed")
