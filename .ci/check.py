"""Everything that must hold before a change lands: style, types, tests, clients, other Pythons and Haystacks.

Run by ``make test``. ``python .ci/check.py lint types`` runs only the named steps.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = ROOT / ".venv" / "bin"
ENVIRONMENTS = ROOT / ".cache" / "environments"
UV = os.environ.get("UV") or str(ROOT / ".cache" / "uv" / "bin" / "uv")

# What must work on every supported Python and on both Haystack majors; the whole suite runs on the default.
_CORE = ("loader", "rest", "direct", "protocols", "chat", "streaming_generator")
CORE = [f"tests/test_{name}.py" for name in _CORE]
ON_PYTHONS = [*CORE, "tests/test_admin.py", "tests/test_store.py", "tests/test_yaml.py"]
ON_HAYSTACKS = [*CORE, "tests/test_yaml.py", "tests/test_yaml_chat.py", "tests/test_messages.py"]
FEW = 3  # tests that may fail once
OTHERS = [("3.12", None, ON_PYTHONS), ("3.13", None, ON_PYTHONS), ("3.11", "haystack-ai<3", ON_HAYSTACKS)]


unsteady: list[str] = []  # tests that failed beside others, and passed alone


def lint() -> None:
    """Format, lint and spelling."""
    run(BIN / "ruff", "format", "--check", ".")
    run(BIN / "ruff", "check", ".")
    run(BIN / "codespell")


def types() -> None:
    """Strict types, tests included."""
    run(BIN / "mypy")


def tests() -> None:
    """The whole suite on the default environment."""
    # Neighbours stay together: what the tests of a module share is started once.
    pytest(BIN, "--dist", "worksteal")


def clients() -> None:
    """Clients of other projects, each in an environment of its own."""
    pytest(BIN, "-m", "clients", "--dist", "loadscope", "-rs")  # what a module needs is made once


def others() -> None:
    """The core subset on the other Pythons and on the other Haystack."""
    for version, requirement, files in OTHERS:
        python = interpreter(version)
        if python is None:
            print(f"-- Python {version} is not on this machine: its part of the check did not run", flush=True)
            continue
        name = f"py{version}" + ("-haystack2" if requirement else "")
        environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(ENVIRONMENTS / name), "UV_PYTHON": python}
        run(UV, "sync", "--locked", "--quiet", env=environment)
        own = ENVIRONMENTS / name / "bin"
        if requirement:
            run(UV, "pip", "install", "--quiet", "--python", str(own / "python"), requirement, env=environment)
        print(f"-- {name}", flush=True)
        pytest(own, "--dist", "worksteal", *files)


def interpreter(version: str) -> str | None:
    """A Python of that minor version that is installed here and runs."""
    found = [shutil.which(f"python{version}")]
    found += [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for candidate in filter(None, found):
        answer = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


def pytest(programs: Path, *arguments: str) -> None:
    """Run tests in two processes. A few that fail are tried once more, alone: what passes then is told at the end.

    Hundreds of servers share two processors here; a test that does not bear that must be mended, but says nothing of
    the change that is checked.
    """
    command = [str(programs / "pytest"), *arguments, "-n", "2", "--cache-clear"]
    code = subprocess.run(command, cwd=ROOT).returncode
    if code == 0:
        return
    failed = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    names = list(json.loads(failed.read_text())) if failed.exists() else []
    if code != 1 or not 0 < len(names) <= FEW:
        sys.exit(f"FAILED: {' '.join(command)}")
    print(f"-- once more, alone: {', '.join(names)}", flush=True)
    run(programs / "pytest", "-m", "clients or not clients", *names)
    unsteady.extend(names)


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run *command* from the project's root; end the check when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env)
    if done.returncode:
        sys.exit(f"FAILED: {' '.join(str(part) for part in command)}")


STEPS: dict[str, Callable[[], None]] = {
    "lint": lint,
    "types": types,
    "tests": tests,
    "clients": clients,
    "others": others,
}


def main() -> None:
    """Run the steps named on the command line, all by default."""
    # Each of hundreds of servers that the tests start would compile all its libraries again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    names = sys.argv[1:] or list(STEPS)
    with ExitStack() as stack:
        beside = stack.enter_context(Beside("types")) if len(names) > 1 and "types" in names else None
        for name in names:
            if beside is not None and name == beside.name:
                continue
            started = time.monotonic()
            print(f"== {name}", flush=True)
            STEPS[name]()
            print(f"== {name}: ok in {time.monotonic() - started:.0f} s", flush=True)
            if beside is not None:
                beside.check()
        if beside is not None:
            beside.check(waits=True)
    for name in unsteady:
        print(f"UNSTEADY, to be mended: {name}", flush=True)


class Beside:
    """A step that uses one processor, in a process of its own while the others go on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._is_told = False
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at the end of the block
        self._process = subprocess.Popen([sys.executable, __file__, name], stdout=self._output, stderr=self._output)

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def check(self, *, waits: bool = False) -> None:
        """Show what it has found, once it has ended, and end the whole check when it failed."""
        code = self._process.wait() if waits else self._process.poll()
        if code is None or self._is_told:
            return
        self._is_told = True
        self._output.seek(0)
        print(self._output.read(), end="", flush=True)
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main()
