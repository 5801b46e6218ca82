"""Command-line programs of others, installed from npm into ``.cache`` once for each version."""

import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "assistants"


def installed(name: str, package: str, version: str, command: str) -> Path:
    """The *command* of a package, which only the first call installs."""
    modules = CACHE / name / version
    program = modules / "node_modules" / ".bin" / command
    if not program.exists():
        modules.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--prefix", str(modules), "--silent", "--no-audit", "--no-fund"]
        subprocess.run([*install, f"{package}@{version}"], check=True)
    return program
