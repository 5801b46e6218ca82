"""A server of several processes, and wrappers that say which process answers."""

import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.support.program import Program, running

SOURCE = """\
import os
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
{setup}

    def run_api(self) -> str:
        return "{number} " + str(os.getpid())
"""


def source(number: int, setup: str = "pass") -> str:
    """A wrapper whose answer is *number* and the process id; *setup* is the body of its setup()."""
    return SOURCE.format(number=number, setup=textwrap.indent(setup, " " * 8))


class Pool:
    """A running server of several workers."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.url = program.wait_for(r"Listening on (http://\S+)")[1]

    @property
    def workers(self) -> set[int]:
        """Process ids of the workers that live."""
        children = psutil.Process(self.program.process.pid).children()
        return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}

    def write(self, name: str, text: str) -> None:
        """Put a wrapper into the pipelines directory."""
        directory = self.directory / "pipelines" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "pipeline_wrapper.py").write_text(text)

    def deploy(self, name: str, text: str, **more: object) -> httpx.Response:
        """Deploy a wrapper, overwriting what is there."""
        body = {"name": name, "files": {"pipeline_wrapper.py": text}, "overwrite": True, **more}
        return httpx.post(f"{self.url}/deploy_files", json=body, timeout=90, headers={"connection": "close"})

    def undeploy(self, name: str) -> httpx.Response:
        """Undeploy it."""
        return httpx.post(f"{self.url}/undeploy/{name}", timeout=90, headers={"connection": "close"})

    def answers(self, name: str, calls: int = 24) -> list[httpx.Response]:
        """Answers over connections of their own, so that every process gets some of them."""

        def one(_: int) -> httpx.Response:
            with httpx.Client(verify=False, headers={"connection": "close"}, timeout=60) as web:  # no certificates
                return web.post(f"{self.url}/{name}/run", json={})

        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(one, range(calls)))

    def numbers(self, name: str) -> set[int | None]:
        """What is answered by now, whichever process answers; None where nothing of that name is live."""
        return {
            int(answer.json()["result"].split()[0]) if answer.status_code == 200 else None
            for answer in self.answers(name)
        }


@contextmanager
def worker_pool(directory: Path, *more: str, count: int = 2, env: Mapping[str, str] | None = None) -> Iterator[Pool]:
    """``hayhooks run --workers COUNT`` in *directory*, until the end of the block."""
    command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", "--workers", str(count), *more)
    with running(directory, *command, env=env) as program:
        program.wait_for("Listening on")
        yield Pool(program, directory)
