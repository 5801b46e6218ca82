"""Runs the commands that a README shows, against a server that a test has started."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

ROOT = Path(__file__).parents[2]


def commands(readme: Path, program: str, replace: Mapping[str, str] | None = None) -> list[list[str]]:
    """Arguments of each call of *program* in the bash blocks of *readme*, the program's name left out.

    *replace* maps texts to what a test puts in their place, such as the address of a page.
    """
    found = []
    for block in re.findall(r"(?ms)^```bash\n(.*?)^```", readme.read_text()):
        command = ""
        for line in block.replace("\\\n", " ").splitlines():
            command += line + "\n"
            try:
                arguments = shlex.split(command, comments=True)
            except ValueError:  # a quotation goes on in the next line
                continue
            command = ""
            if arguments and arguments[0] == program:
                found.append(arguments[1:])
    for old, new in (replace or {}).items():
        found = [[argument.replace(old, new) for argument in arguments] for arguments in found]
    return found


def run_hayhooks(arguments: list[str], url: str) -> str:
    """What ``hayhooks ARGUMENTS`` prints when it is run in the project's root against the server at *url*."""
    address = urlsplit(url)
    env = {**os.environ, "HAYHOOKS_HOST": str(address.hostname), "HAYHOOKS_PORT": str(address.port)}
    program = Path(sys.executable).with_name("hayhooks")
    done = subprocess.run([program, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_curl(arguments: list[str], url: str) -> httpx.Response:
    """The answer to the request that ``curl ARGUMENTS`` makes, sent to the server at *url* instead.

    Understands what our READMEs use: ``-H -d -F -o -N``. curl itself is not needed.
    """
    rest = iter(arguments)
    target, headers, body = "", {}, None
    fields: list[tuple[str, Any]] = []
    for argument in rest:
        match argument:
            case "-H":
                name, _, value = next(rest).partition(":")
                headers[name] = value.strip()
            case "-d":
                body = next(rest)
            case "-F":
                name, _, value = next(rest).partition("=")
                if value.startswith("@"):
                    fields.append((name, (Path(value[1:]).name, (ROOT / value[1:]).read_bytes())))
                else:
                    fields.append((name, (None, value)))
            case "-o":
                next(rest)
            case "-N":
                pass
            case _:
                target = argument.removeprefix("http://").removeprefix("localhost:1416")
    method = "POST" if body is not None or fields else "GET"
    with httpx.Client(timeout=60) as client:
        return client.request(method, url + target, headers=headers, content=body, files=fields or None)
