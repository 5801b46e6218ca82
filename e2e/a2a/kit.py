"""A checkout of A2A's conformance kit: runs its tests against a server, and reads what it reports."""

import os
import shutil
import subprocess
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from hayhooks.testing import RunningServer, running_server

TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Case:
    """A test of the kit, and what came of it; *not met* is what it only recommends."""

    name: str  # class::test
    outcome: Literal["passed", "failed", "not met", "skipped"]
    said: str


class Kit:
    """A checkout, and the interpreter that has what it needs."""

    def __init__(self, checkout: Path, python: Path) -> None:
        self._checkout = checkout
        self._python = python

    @classmethod
    def of_command_line(cls, about: str | None) -> "Kit":
        """The one that ``--tck`` and ``--python`` name."""
        parser = ArgumentParser(description=about)
        parser.add_argument("--tck", type=Path, required=True, help="a checkout of a2aproject/a2a-tck")
        parser.add_argument("--python", type=Path, help="with what the kit needs; by default that of its .venv")
        options = parser.parse_args()
        checkout: Path = options.tck.absolute()
        python: Path = options.python or checkout / ".venv" / "bin" / "python"
        return cls(checkout, python.absolute())

    def run(self, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> list[Case]:
        """What its tests say, chosen by pytest's *arguments*. Raises RuntimeError when it gives no report."""
        with tempfile.TemporaryDirectory() as directory:
            report = Path(directory) / "report.xml"
            command = [
                str(self._python), "-m", "pytest", *arguments, "-q", "--tb=short", "-p", "no:cacheprovider",
                f"--junitxml={report}",
            ]  # fmt: skip
            kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            done = subprocess.run(
                command, cwd=self._checkout, env={**kept, **(env or {})}, capture_output=True, text=True,
                timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
            if not report.exists():
                raise RuntimeError(f"The kit gave no report:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
            return [_case(found) for found in ElementTree.parse(report).iter("testcase")]


@contextmanager
def serving(pipelines: Path, env: Mapping[str, str], command: Sequence[str] = ("run",)) -> Iterator[RunningServer]:
    """Our server with a copy of the deployments in *pipelines*."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "pipelines"
        shutil.copytree(pipelines, copy, ignore=shutil.ignore_patterns("__pycache__"))
        with running_server(copy, env=env, command=command) as server:
            yield server


def _case(found: ElementTree.Element) -> Case:
    name = f"{found.get('classname', '').rpartition('.')[2]}::{found.get('name')}"
    outcomes: dict[str, Literal["failed", "skipped"]] = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    for tag, outcome in outcomes.items():
        told = found.find(tag)
        if told is not None:
            said = (told.get("message", "").splitlines() or [""])[0][:300]
            # The kit expects what its text only recommends to fail.
            return Case(name, "not met" if told.get("type") == "pytest.xfail" else outcome, said)
    return Case(name, "passed", "")
