"""A server to be treated badly, and the one who changes what it serves."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from e2e.chaos.calls import NAME, Broken, seen
from e2e.chaos.truth import Truth, Version
from tests.support.program import Program, free_port, running

SOURCE = """\
import os
from pathlib import Path
from hayhooks import BasePipelineWrapper

NUMBER = {number}


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        assert int((Path(__file__).parent / "data.txt").read_text().split()[0]) == NUMBER, "files of two versions"

    def run_api(self) -> str:
        return f"{{NUMBER}} {{os.getpid()}}"
"""


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has ended, though it may still be listed
        return []


_START_S = 240.0  # on a machine that does much else


class House:
    """A directory, and a server in it that may be killed and started again on the same port."""

    def __init__(
        self, root: Path, chance: random.Random, workers: int, env: Mapping[str, str] | None = None, ballast: int = 0
    ) -> None:
        self.root = root
        self.chance = chance
        self.truth = Truth()
        self.port = free_port()
        self._workers = workers
        self.env = dict(env or {})
        self._ballast = ballast  # bytes that each version has beside its code
        self._running: Any = None
        self.program: Program | None = None
        self._number = 0

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not ended."""
        return self._running is not None

    @property
    def log_end(self) -> str:
        """The last that the server has written."""
        return self.program.output[-4000:] if self.program is not None else ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def processes(self) -> list[psutil.Process]:
        """The server's processes that serve; the supervisor is not among them."""
        assert self.program is not None
        main = psutil.Process(self.program.process.pid)
        if self._workers == 1:
            return [main]
        return [child for child in main.children() if "spawn_main" in " ".join(_command(child))]

    async def start(self, workers: int | None = None) -> None:
        """Start it, and wait until it listens."""
        self._workers = workers or self._workers
        command = ["-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", str(self._workers)] if self._workers > 1 else []
        self._running = running(self.root, *command, env=self.env)
        self.program = self._running.__enter__()
        await asyncio.to_thread(self.program.wait_for, "Listening on", _START_S)

    def kill(self) -> None:
        """End all its processes at once."""
        assert self.program is not None
        everybody = [self.program.process.pid]
        with suppress(psutil.NoSuchProcess):
            everybody += [child.pid for child in psutil.Process(self.program.process.pid).children(recursive=True)]
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """Wait for the end of what was stopped."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.program is not None
        code = await asyncio.to_thread(self.program.end, signal.SIGTERM)
        self.end()
        return code

    async def deploy(self, **more: object) -> httpx.Response | None:
        """Deploy the next version; None when no answer came."""
        self._number += 1
        number = self._number
        data = f"{number} " + "".join(self.chance.choices("abcdefgh", k=self._ballast))
        files = {"pipeline_wrapper.py": SOURCE.format(number=number), "data.txt": data}
        body = {"name": NAME, "files": files, "overwrite": True, **more}
        return await self._change(number, "/deploy_files", body)

    async def undeploy(self) -> httpx.Response | None:
        """Undeploy it; None when no answer came."""
        return await self._change(None, f"/undeploy/{NAME}", None)

    async def rollback(self, version: Version) -> httpx.Response | None:
        """Go back to *version*, the one before what is live; None when no answer came."""
        return await self._change(version, f"/rollback/{NAME}", {})

    async def _change(self, version: Version, path: str, body: object) -> httpx.Response | None:
        span = self.truth.begin(version)
        answer = await self.post(path, body)
        if answer is None or "is changed, but" in answer.text:  # so it may be live, or is not everywhere yet
            return answer
        if answer.status_code == 200:
            self.truth.done(version)
        elif not (version is None and answer.status_code == 404):  # nothing was there: so it is
            self.truth.refused(span)
        return answer

    async def post(self, path: str, body: object) -> httpx.Response | None:
        """What it answers; None when the connection breaks."""
        try:
            async with httpx.AsyncClient(verify=False, timeout=120) as web:  # no TLS
                return await web.post(self.url + path, json=body)
        except httpx.TransportError:
            return None

    async def delete(self, path: str) -> httpx.Response | None:
        """What it answers; None when the connection breaks."""
        try:
            async with httpx.AsyncClient(verify=False, timeout=120) as web:
                return await web.delete(self.url + path)
        except httpx.TransportError:
            return None

    async def get(self, path: str, key: str | None = None) -> httpx.Response:
        """What it answers, to the holder of *key*."""
        headers = {"x-api-key": key} if key is not None else {}
        async with httpx.AsyncClient(verify=False, timeout=60, headers=headers) as web:
            return await web.get(self.url + path)

    async def agreed(self, calls: int = 24, within_s: float = 60.0) -> Version:
        """The version that all workers serve, once they do; it must be one that may be live."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                found = await seen(self.port, self.truth, calls, calls)
            except Broken:  # a worker that was killed held the connection
                found = set()
            if len(found) == 1:
                (version,) = found
                self.truth.done(version)
                return version
            assert time.monotonic() < deadline, f"after {within_s:g} s they still serve {found}\n{self.log_end}"
            await asyncio.sleep(0.05)

    async def all_ready(self, within_s: float = 150.0) -> None:
        """Wait until there are as many workers as there should be."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                told = (await self.get("/status")).json()["workers"]
            except httpx.TransportError:
                told = {"each": []}
            if sum(worker["is_ready"] for worker in told["each"]) == self._workers:
                return
            assert time.monotonic() < deadline, f"not all workers are back: {told}\n{self.log_end}"
            await asyncio.sleep(0.05)
