"""Serves a relay over a scripted model and lets llm-comply judge it: ``check.py LLM_COMPLY [FORMAT ...]``."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.model_server import ModelServer, Reasoning, Reply, ToolCall

from hayhooks.testing import running_server

HERE = Path(__file__).parent


def answer(body: Mapping[str, Any]) -> Reply:
    """What a model would say to llm-comply: it calls a tool that it is given, and thinks when it is asked to."""
    if body.get("tools") and body["messages"][-1]["role"] == "user":
        return ToolCall(body["tools"][0]["function"]["name"], {"location": "San Francisco"})
    return [Reasoning("15 * 37 is 555."), "555"] if body.get("thinking") else "Hello to you."


def main() -> int:
    """The number of formats that did not pass."""
    program, *formats = sys.argv[1:]
    failed = 0
    with ModelServer(answer=answer) as models, running_server(HERE / "pipelines", env=models.env) as server:
        for name in formats or ["anthropic"]:
            options = ["--base-url", f"{server.url}/v1", "--api-key", "none", "--model", "claude-sonnet-4"]
            command = [program, *options, "--format", name, "--verbose"]
            failed += subprocess.run(command).returncode != 0  # noqa: S603 - the program that run.sh has installed
    return failed


if __name__ == "__main__":
    sys.exit(main())
