"""Clients that would weigh down the project's environment, each in one of its own under ``.cache/clients``.

A client is a script in ``tests/clients`` that takes the server's address, does what such clients do, and prints what
came of it as one JSON object.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environments import checked, environment_made_once, python_environment

from tests.support.readme import ROOT

SCRIPTS = ROOT / "tests" / "clients"
ENVIRONMENTS = ROOT / ".cache" / "clients"
TIMEOUT_S = 120


class NoNpm(RuntimeError):
    """There is no npm on this machine."""


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """A client: its script, and what has to be installed for it."""

    script: str
    requirements: str  # a requirements file, or package.json

    def run(self, base_url: str) -> dict[str, Any]:
        """What the script printed, speaking to the server at *base_url*.

        Raises:
            NoNpm: It is one for Node, which nothing can be installed for.
        """
        command = [*self._command(), base_url]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
        # Nobody is told anything, and nothing is fetched.
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "DO_NOT_TRACK": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={**kept, **quiet}
        )
        assert done.returncode == 0, f"{self.script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return facts

    def _command(self) -> list[str]:
        script = SCRIPTS / self.script
        if self.requirements.endswith(".json"):
            directory = node_environment(SCRIPTS / self.requirements)
            shutil.copy(script, directory)  # Node looks for packages beside the script that imports them
            return [str(directory / "node_modules" / "node" / "bin" / "node"), str(directory / self.script)]
        directory = ENVIRONMENTS / self.requirements.removesuffix(".txt")
        lines = (SCRIPTS / self.requirements).read_text(encoding="utf-8").splitlines()
        python_environment(directory, lines)
        return [str(directory / "bin" / "python"), str(script)]


def node_environment(package: Path) -> Path:
    """The directory where the packages of a ``package.json`` are installed.

    Raises:
        NoNpm: Nothing can be installed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NoNpm("npm is not installed; it comes with Node")
    wanted = package.read_text(encoding="utf-8")
    name: str = json.loads(wanted)["name"]
    directory = ENVIRONMENTS / name
    with environment_made_once(directory, wanted) as new:
        if new is not None:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            shutil.copy(package, directory)
            checked(
                [npm, "install", "--prefix", str(directory), "--silent", "--no-package-lock", "--no-audit", "--no-fund"]
            )
    return directory
