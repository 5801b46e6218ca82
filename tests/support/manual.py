"""The pages of the manual, read as a person would: files are written, commands are typed, answers are compared.

The HTML comment right before a code block says what a reader does with it:

- ``file: PATH``: writes it there.
- ``deploy: NAME``: saves it as a wrapper, or as a pipeline YAML, and deploys it.
- ``output``: sees it after the block before. ``...`` stands for anything, in JSON as a key for further keys.
- ``refused``: runs it, and is told that it cannot be done.
- ``not run: REASON``: believes it.
- Nothing: runs it, if it is bash or Python; otherwise it only has to be well-formed.

``server: NAME=VALUE ...`` anywhere in a page is the environment of the page's server.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hayhooks.testing import RunningServer

ADDRESS = "localhost:1416"  # as the manual writes it
RUNNABLE = ("bash", "python")
_FENCE = re.compile(r"^( *)(`{3,})(\S*)\s*$")
_COMMENT = re.compile(r"^\s*<!-- (.*?) -->\s*$")
_DIRECTIVES = ("file: ", "deploy: ", "output", "refused", "not run: ", "server: ")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page."""

    page: Path
    line: int
    language: str
    code: str
    directive: str  # what the comment before it says, or nothing

    def __str__(self) -> str:
        return f"{self.page.name}, line {self.line}"


def blocks(page: Path) -> list[Block]:
    """The code blocks of *page* in order."""
    found = []
    lines = iter(enumerate(page.read_text().splitlines(), start=1))
    directive = ""
    for number, line in lines:
        comment, fence = _COMMENT.match(line), _FENCE.match(line)
        if comment:
            directive = comment[1]
            assert directive.startswith((*_DIRECTIVES, "Made by ")), f"{page.name}, line {number}: {directive!r}?"
        elif fence:
            indent, ticks, language = fence.groups()
            code = [text for _, text in _until(lines, indent + ticks)]
            found.append(Block(page, number, language, textwrap.dedent("\n".join(code)) + "\n", directive))
            directive = ""
        elif line.strip():
            directive = ""
    return found


def server_environment(page: Path) -> dict[str, str]:
    """What the page says about the environment of its server."""
    found = re.search(r"<!-- server: (.*?) -->", page.read_text())
    return dict(pair.split("=", 1) for pair in found[1].split()) if found else {}


class Reader:
    """Follows a page in *directory*, with *server* as the server that the page talks about."""

    def __init__(self, directory: Path, server: RunningServer) -> None:
        self._directory = directory
        self._server = server
        self._seen = ""
        self._address = server.url.removeprefix("http://")
        host, _, port = self._address.partition(":")
        # A command of a page fails when the server refuses; curl does so only when it is told to.
        (directory / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HAYHOOKS_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CURL_HOME": str(directory),
            "HAYHOOKS_HOST": host,
            "HAYHOOKS_PORT": port,
            "HAYSTACK_TELEMETRY_ENABLED": "False",
        }

    def follow(self, block: Block) -> None:
        """Do what *block* asks for; fails when it does not come out as the page says."""
        kind, _, what = block.directive.partition(": ")
        if kind == "not run":
            assert len(what) > 10, f"{block}: why is it not run?"
        elif kind == "file":
            file = self._directory / what
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.code)
        elif kind == "deploy":
            self._deploy(what, block)
        elif kind == "output":
            assert matches(block.code, self._seen), f"{block}: not what was seen:\n{self._seen}"
        elif block.language in RUNNABLE:
            self._run(block, is_refused=kind == "refused")
        else:
            check_form(block)

    def _deploy(self, name: str, block: Block) -> None:
        if block.language == "yaml":
            self._server.client.deploy_yaml(name, block.code, overwrite=True)
        else:
            self._server.client.deploy_files(name, {"pipeline_wrapper.py": block.code.encode()}, overwrite=True)

    def _run(self, block: Block, *, is_refused: bool) -> None:
        code = block.code.replace(ADDRESS, self._address)
        command = ["bash", "-euo", "pipefail", "-c", code] if block.language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self._directory, env=self._environment, capture_output=True, text=True, timeout=120
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == is_refused, f"{block}: exit code {done.returncode}\n{said}{self._server.log}"
        shown = done.stdout if done.stdout.strip() or not is_refused else done.stderr
        self._seen = shown.replace(self._address, ADDRESS)


def matches(expected: str, seen: str) -> bool:
    """Whether *seen* is what a page shows."""
    try:
        return _same(json.loads(expected), json.loads(seen))
    except ValueError:
        pattern = ".*".join(re.escape(part) for part in _flat(expected).split("..."))
        return re.fullmatch(pattern, _flat(seen), re.DOTALL) is not None


def check_form(block: Block) -> None:
    """Data in a page is data."""
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.code))


def _same(expected: Any, seen: Any) -> bool:
    if isinstance(expected, str) and "..." in expected:
        return not isinstance(seen, str) or matches_text(expected, seen)
    if isinstance(expected, dict) and isinstance(seen, dict):
        is_open = "..." in expected
        keys = set(expected) - {"..."}
        return (keys <= set(seen) if is_open else keys == set(seen)) and all(
            _same(expected[key], seen[key]) for key in keys
        )
    if isinstance(expected, list) and isinstance(seen, list):
        return len(expected) == len(seen) and all(map(_same, expected, seen))
    return bool(expected == seen) and type(expected) is type(seen)


def matches_text(expected: str, seen: str) -> bool:
    """Whether *seen* is *expected*, in which ``...`` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, expected.split("..."))), seen, re.DOTALL) is not None


def _flat(text: str) -> str:
    return "\n".join(_plain(line.rstrip()) for line in text.strip().splitlines() if line.strip())


def _plain(line: str) -> str:
    """*line*, with the spaces out of the JSON of a server-sent event."""
    try:
        return f"data: {json.dumps(json.loads(line.removeprefix('data: ')))}" if line.startswith("data: {") else line
    except ValueError:
        return line


def _until(lines: Iterator[tuple[int, str]], fence: str) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if line.rstrip() == fence:
            return
        yield number, line
    raise AssertionError("A code block does not end.")
