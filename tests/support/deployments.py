"""Tiny deployments: their files, and a runtime that serves a directory in this process."""

import json
import os
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hayhooks.core.bundle import Bundle
from hayhooks.core.deployment import Call
from hayhooks.core.events import Result
from hayhooks.core.runtime import Runtime
from hayhooks.engines.inline import InlineEngine
from hayhooks.store.disk import DiskStore


def wrapper(run: str = "return 'ok'", *, setup: str = "pass", head: str = "", parameters: str = "") -> str:
    """A ``pipeline_wrapper.py``: *head* above the class, and the bodies of ``setup`` and ``run_api``."""
    body = textwrap.indent(textwrap.dedent(run).strip(), " " * 8)
    prepare = textwrap.indent(textwrap.dedent(setup).strip(), " " * 8)
    return (
        f"from hayhooks import BasePipelineWrapper\n{textwrap.dedent(head)}\n\n"
        "class PipelineWrapper(BasePipelineWrapper):\n"
        f"    def setup(self):\n{prepare}\n\n"
        f"    def run_api(self{', ' if parameters else ''}{parameters}):\n{body}\n"
    )


def answering(answer: str, **others: str | bytes) -> dict[str, bytes]:
    """Files of a deployment whose run returns *answer*; *others* lie beside the wrapper, ``__`` stands for a dot."""
    files: dict[str, bytes] = {"pipeline_wrapper.py": wrapper(f"return {answer!r}").encode()}
    for path, content in others.items():
        files[path.replace("__", ".")] = content.encode() if isinstance(content, str) else content
    return files


def write(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write *files* below *directory* as a user would."""
    for path, content in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def tree(directory: Path) -> dict[str, tuple[int, bytes | None]]:
    """Everything below *directory*: path to time of change (ns) and bytes, None for directories."""
    found: dict[str, tuple[int, bytes | None]] = {".": (directory.stat().st_mtime_ns, None)}
    for path in sorted(directory.rglob("*")):
        content = None if path.is_dir() else path.read_bytes()
        found[path.relative_to(directory).as_posix()] = (path.stat().st_mtime_ns, content)
    return found


def contents(directory: Path) -> dict[str, bytes]:
    """The files below *directory*, by path."""
    return {path: content for path, (_, content) in tree(directory).items() if content is not None}


class Gate:
    """A place in a deployment's code at which it waits for the test; the code is in ``waits``."""

    def __init__(self, directory: Path) -> None:
        self._reached, self._opened = directory / "reached", directory / "opened"
        os.mkfifo(self._reached)
        os.mkfifo(self._opened)
        reached, opened = f"Path({str(self._reached)!r})", f"Path({str(self._opened)!r})"
        self.waits = f"from pathlib import Path\n{reached}.write_text('')\n{opened}.read_text()"

    def wait(self) -> None:
        """Wait until the code is there."""
        self._reached.read_text()

    def open(self) -> None:
        """Let it go on."""
        self._opened.write_text("")


class House:
    """What a server keeps and serves below *root*, without the server: the real store, engine and runtime."""

    def __init__(self, root: Path) -> None:
        self.pipelines = root / "pipelines"
        self.state = root / "state"
        self.errors: list[str] = []
        self.store = DiskStore(self.pipelines, self.state, on_error=self._note)
        self.runtime = Runtime(self.store, InlineEngine(self.store.place), on_error=self._note)

    async def deploy(self, name: str, files: Mapping[str, str | bytes], **options: Any) -> None:
        """Deploy *files*, overwriting what is there."""
        encoded = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        await self.runtime.deploy(Bundle(name, encoded), **{"overwrite": True, **options})

    async def run(self, name: str, **arguments: Any) -> Any:
        """What ``run_api`` of *name* returns."""
        call = Call(body=json.dumps(arguments).encode())
        async with self.runtime.run(name, "run_api", call, via="test") as run:
            reply = await run.reply()
            assert isinstance(reply, Result)
            return json.loads(reply.json)

    def _note(self, what: str, error: BaseException) -> None:
        self.errors.append(f"{what}: {error}")


@asynccontextmanager
async def house(root: Path) -> AsyncIterator[House]:
    """Serve what lies below *root* until the block ends; entering again is a restart."""
    opened = House(root)
    try:
        await opened.runtime.start()
        yield opened
    finally:
        await opened.runtime.stop()
        opened.store.close()
