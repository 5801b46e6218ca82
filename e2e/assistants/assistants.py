"""Each assistant: how it is connected, as docs/mcp.md says, and asked something without a person."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

TIMEOUT_S = 120
# Nobody is told that they were started, and nothing is looked up; each reads the words that it knows.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLINE_NO_AUTO_UPDATE": "1",
    "CONTINUE_CLI_ENABLE_TELEMETRY": "0",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GEMINI_TELEMETRY_ENABLED": "false",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one assistant works: a home and a project of its own, and the server that it is to use."""

    program: Path
    home: Path
    project: Path
    url: str
    key: str
    env: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """What the assistant says when it is started so. Raises RuntimeError when it fails."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        told = {"HOME": str(self.home), "HAYHOOKS_API_KEY": self.key, **QUIET, **self.env}
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.project, env={**kept, **told}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout or done.stderr

    def write(self, path: str, text: str) -> None:
        """Write a file of the home."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))


@dataclass(frozen=True, slots=True)
class Assistant:
    """A program on npm."""

    name: str
    package: str
    version: str
    command: str
    connect: Callable[[Desk], object]
    ask: Callable[[Desk, str], str] | None  # None: it cannot use our models; connecting is all
    env: Callable[[str, str], Mapping[str, str]] = lambda _url, _key: {}
    leave: Callable[[Desk], object] = lambda _desk: None


def _claude(desk: Desk) -> None:
    header = "Authorization: Bearer ${HAYHOOKS_API_KEY}"
    desk.run("mcp", "add", "--transport", "http", "hayhooks", f"{desk.url}/mcp", "--header", header)
    assert "Connected" in desk.run("mcp", "list")


def _codex(desk: Desk) -> None:
    config = f"""\
        model = "pilot"
        model_provider = "hayhooks"
        check_for_update_on_startup = false

        [analytics]
        enabled = false

        [model_providers.hayhooks]
        name = "Hayhooks"
        base_url = "{desk.url}/v1"
        wire_api = "responses"
        env_key = "HAYHOOKS_API_KEY"

        [mcp_servers.hayhooks]
        url = "{desk.url}/mcp"
        bearer_token_env_var = "HAYHOOKS_API_KEY"
        required = true
        """
    desk.write(".codex/config.toml", config)


def _opencode(desk: Desk) -> None:
    model = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{desk.url}/v1", "apiKey": "{env:HAYHOOKS_API_KEY}"},
        "models": {"pilot": {}},
    }
    server = {
        "type": "remote",
        "url": f"{desk.url}/mcp",
        "headers": {"Authorization": "Bearer {env:HAYHOOKS_API_KEY}"},
    }
    config = {"model": "hayhooks/pilot", "provider": {"hayhooks": model}, "mcp": {"hayhooks": server}}
    desk.write(".config/opencode/opencode.json", json.dumps(config))
    assert "connected" in desk.run("mcp", "list")


def _continue(desk: Desk) -> None:
    config = f"""\
        name: Hayhooks
        version: 0.0.1
        schema: v1
        models:
          - name: pilot
            provider: openai
            model: pilot
            apiBase: {desk.url}/v1
            apiKey: {desk.key}
            capabilities: [tool_use]
        mcpServers:
          - name: hayhooks
            type: streamable-http
            url: {desk.url}/mcp
            requestOptions:
              headers:
                Authorization: Bearer {desk.key}
        """
    desk.write(".continue/config.yaml", config)


def _cline(desk: Desk) -> None:
    header = f"Authorization: Bearer {desk.key}"
    desk.run("auth", "-p", "openai", "-k", desk.key, "-m", "pilot", "-b", f"{desk.url}/v1")
    desk.run("mcp", "add", "hayhooks", f"{desk.url}/mcp", "--transport", "http", "--header", header, "--yes")


def _end_hub(desk: Desk) -> None:
    """Cline leaves a process of its own behind, which would go on after its home is gone."""
    for about in (desk.home / ".cline" / "data" / "locks" / "hub").glob("*.json"):
        os.kill(json.loads(about.read_text())["pid"], signal.SIGTERM)


def _gemini(desk: Desk) -> None:
    header = f"Authorization: Bearer {desk.key}"
    desk.run("mcp", "add", "--scope", "user", "--transport", "http", "--header", header, "hayhooks", f"{desk.url}/mcp")
    assert "Connected" in desk.run("mcp", "list")


ASSISTANTS = (
    Assistant(
        "claude", "@anthropic-ai/claude-code", "2.1.331", "claude", _claude,
        lambda desk, said: desk.run("-p", said, "--model", "pilot", "--allowedTools", "mcp__hayhooks"),
        env=lambda url, key: {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key},
    ),
    Assistant(
        "codex", "@openai/codex", "0.169.0", "codex", _codex,
        # Its sandbox needs rights that containers do not give; what runs here is one tool of our server's.
        lambda desk, said: desk.run(
            "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", said
        ),
    ),
    Assistant("opencode", "opencode-ai", "1.18.33", "opencode", _opencode, lambda desk, said: desk.run("run", said)),
    Assistant(
        "continue", "@continuedev/cli", "1.5.47", "cn", _continue,
        lambda desk, said: desk.run("--config", str(desk.home / ".continue" / "config.yaml"), "-p", "--auto", said),
    ),
    Assistant(
        "cline", "cline", "3.0.65", "cline", _cline,
        lambda desk, said: desk.run("-P", "openai", "-m", "pilot", said),
        leave=_end_hub,
    ),
    Assistant(
        "gemini", "@google/gemini-cli", "0.61.0", "gemini", _gemini, None,
        env=lambda _url, _key: {"GEMINI_CLI_TRUST_WORKSPACE": "true"},
    ),
)  # fmt: skip
