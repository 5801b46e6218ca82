"""Programs of others that check whether a server speaks a wire, each in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.environments import python_environment
from tests.support.clients import ENVIRONMENTS, node_environment

HERE = Path(__file__).parent
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tool found: how many checks ended how, and the words for all that did not pass."""

    counts: Mapping[str, int]
    complaints: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed, and nothing was warned of."""
        return not self.counts["fail"] and not self.counts["warn"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A conformance tool, told to check one wire."""

    name: str
    command: Callable[[str, str], list[str]]  # for a base URL and a model
    read: Callable[[dict[str, Any]], list[tuple[str, str, str]]]  # of its report: status, check, words
    model: str = "gpt-5-relay"  # some tools leave out what models of other names do not have

    def run(self, base_url: str) -> Verdict:
        """Check the server at *base_url*.

        Raises:
            NoNpm: The tool needs it.
            RuntimeError: The tool did not give a report.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
        command = self.command(base_url, self.model)
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=kept)
        _, brace, report = done.stdout.partition("{")
        try:
            rows = self.read(json.JSONDecoder().raw_decode(brace + report)[0])
        except (ValueError, KeyError) as error:
            raise RuntimeError(f"{self.name} gave no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}") from error
        counts = dict.fromkeys(("pass", "warn", "fail", "skip"), 0)
        for status, _, _ in rows:
            counts[status] += 1
        return Verdict(counts, [f"{status}: {check}: {words}" for status, check, words in rows if status != "pass"])


def _python(name: str, version: str) -> str:
    directory = ENVIRONMENTS / name
    python_environment(directory, [f"{name}=={version}"])
    return str(directory / "bin" / name)


def _llm_comply(wire: str, *more: str) -> Callable[[str, str], list[str]]:
    return lambda base_url, model: [
        _python("llm-comply", "0.5.0"), "-u", base_url, "-k", "none", "-m", model, "--format", wire, "--json", *more,
    ]  # fmt: skip


def _read_llm_comply(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for result in report["results"]:
        words = "; ".join([*result.get("errors", ()), *result.get("warnings", ())])
        status = {"passed": "pass", "failed": "fail", "skipped": "skip"}[result["status"]]
        rows.append(("warn" if status == "pass" and words else status, result["id"], words))
    return rows


def _provider_check(base_url: str, model: str) -> list[str]:
    program = _python("trustedrouter-provider-check", "0.1.8")
    return [program, "--base-url", base_url, "--model", model, "--tier", "5", "--json", "-"]


def _read_provider_check(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["status"], row["id"], json.dumps(row["measured"])[:400]) for row in report["checks"]]


def _compatcanary(profile: str) -> Callable[[str, str], list[str]]:
    def command(base_url: str, model: str) -> list[str]:
        program = node_environment(HERE / "package.json") / "node_modules" / ".bin" / "compatcanary"
        return [
            str(program), "scan", "--base-url", base_url, "--model", model, "--profile", profile, "--format", "json",
        ]  # fmt: skip

    return command


def _read_compatcanary(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["status"], row["id"], row["summary"]) for row in report["results"]]


WIRES: dict[str, tuple[Tool, ...]] = {
    "chat": (
        Tool("llm-comply openai-chat", _llm_comply("openai-chat"), _read_llm_comply),
        Tool("trustedrouter-provider-check tier 5", _provider_check, _read_provider_check),
        Tool("compatcanary chat", _compatcanary("chat"), _read_compatcanary),
    ),
    "responses": (
        Tool("llm-comply open-responses", _llm_comply("open-responses"), _read_llm_comply),
        Tool("compatcanary modern", _compatcanary("modern"), _read_compatcanary),
    ),
    "anthropic": (
        Tool(
            "llm-comply anthropic",
            _llm_comply(
                "anthropic", "--auth-header", "x-api-key", "--no-bearer", "--header", "anthropic-version:2023-06-01"
            ),
            _read_llm_comply,
            model="claude-4-passthrough",  # Haystack's generator passes no reasoning on, and it is asked for
        ),
    ),
}
