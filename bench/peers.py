"""The servers that can be measured, each in an environment of its own under ``.cache/bench``."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.apps.closed import KEY
from bench.environments import python_environment

BENCH = Path(__file__).parent
ROOT = BENCH.parent
ENVS = BENCH.parent / ".cache" / "bench"
REPORTED = ("hayhooks", "haystack-ai", "fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools")

_ASGI = ("haystack-ai", "python-multipart", "uvicorn[standard]", "fastapi")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server program: where it lives and how it is started."""

    name: str
    about: str
    requirements: tuple[str, ...]  # empty: the repository's own environment
    arguments: Callable[[Path, int], list[str]]  # of the program, for a directory of wrappers and a port
    program: str = "python"
    is_hayhooks: bool = False  # has the CLI, deploys over HTTP
    key: str | None = None  # that callers must show
    is_default: bool = True  # measured in every scenario that does not choose its peers
    sends_done: bool = True  # ends its streams with data: [DONE], as the API does

    @property
    def bin(self) -> Path:
        """The environment's directory of programs."""
        if self.requirements:
            return ENVS / self.name / "bin"
        own = Path(sys.executable).parent
        return own if (own / self.program).exists() else ROOT / ".venv" / "bin"

    def command(self, directory: Path, port: int) -> list[str]:
        """The command line that serves *directory* on *port* of 127.0.0.1, with one worker."""
        return [str(self.bin / self.program), *self.arguments(directory, port)]


def _hayhooks(directory: Path, port: int) -> list[str]:
    return ["run", "--host", "127.0.0.1", "--port", str(port), "--pipelines-dir", str(directory)]


def _app(module: str) -> Callable[[Path, int], list[str]]:
    return lambda directory, port: ["-m", f"bench.apps.{module}", "--port", str(port), "--dir", str(directory)]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "this repository", (), _hayhooks, program="hayhooks", is_hayhooks=True),
        Peer(
            "ours-closed",
            "the same, closed to callers without a key, called with one that has limits",
            (),
            _app("closed"),
            key=KEY,
            is_default=False,
        ),
        Peer(
            "hayhooks-2.1",
            "hayhooks 2.1.0 as it is published, with its defaults",
            ("hayhooks==2.1.0",),
            _hayhooks,
            program="hayhooks",
            is_hayhooks=True,
            sends_done=False,
        ),
        Peer("fastapi", "a plain FastAPI app around the same wrappers", _ASGI, _app("fastapi_app")),
        Peer("floor", "a hand-written raw ASGI app around the same wrappers", (*_ASGI, "msgspec"), _app("floor")),
    )
}


def environment() -> dict[str, str]:
    """The variables for every server: none of the caller's settings, no usage telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HAYHOOKS_", "OTEL_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HAYSTACK_TELEMETRY_ENABLED": "False"}


def set_up(peer: Peer) -> None:
    """Create the environment of *peer*, unless it is there already with the same requirements."""
    if not peer.requirements:
        if not (peer.bin / peer.program).exists():
            raise SystemExit(f"{peer.name}: no {peer.program} in {peer.bin}; run `uv sync` first")
        return
    directory = ENVS / peer.name
    if python_environment(directory, peer.requirements):
        # So that no server's first start is the one that compiles its modules.
        compileall = [str(directory / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", str(directory / "lib")]
        subprocess.run(compileall, check=False)


def versions(peer: Peer) -> dict[str, str]:
    """What is installed in the environment of *peer*, of the packages that matter for speed."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    command = [str(peer.bin / "python"), "-c", code, *REPORTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    found: dict[str, str] = json.loads(done.stdout)
    return found
