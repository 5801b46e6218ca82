"""What A2A's conformance kit for 1.0 says of this server. See README.md beside this."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from hayhooks.testing import running_server

HERE = Path(__file__).parent
AGENT = "tck"
TIMEOUT_S = 600
KEY = "hh_of_the_kit_of_conformance_tests"

# Tests of the kit that ask for what is not offered, or what the protocol does not ask for, each with the reason.
ALWAYS = {
    "TestMessageResponse": "Agents answer with a task, always; the kit's agent is to answer one message without.",
}
WITH_0_3 = {
    "test_agent_card_validates_against_schema": "The card has the fields of 0.3, too, for clients that know no other.",
}
WITH_PUSH = {
    "test_must_requirement[PUSH-": "They name a task that nobody has made; test_push_notifications makes one first.",
}
_WITHOUT_KEY = "It asks by itself, without the key that the kit was given, and is told so."
WITH_KEY = dict.fromkeys(
    (
        "TestVersionErrors",
        "test_content_type_not_supported",
        "test_version_not_supported",
        "bad-version",
        "TestIgnoreUnrecognizedFields",
    ),
    _WITHOUT_KEY,
)


@dataclass(frozen=True, slots=True)
class Server:
    """One way to serve the agent, and what the kit may complain of then."""

    name: str
    env: Mapping[str, str]
    not_ours: Mapping[str, str] = field(default_factory=dict)
    kit: Mapping[str, str] = field(default_factory=dict)  # the kit's own variables


SERVERS = (
    Server("1.0 and 0.3", {}, WITH_0_3),
    Server("1.0 alone", {"HAYHOOKS_A2A_V0_3_COMPAT": "false"}),
    Server(
        "with push",
        {"HAYHOOKS_A2A_V0_3_COMPAT": "false", "HAYHOOKS_A2A_PUSH_HOSTS": '["localhost", "example.com"]'},
        WITH_PUSH,
    ),
    Server(
        "with a key",
        {
            "HAYHOOKS_A2A_V0_3_COMPAT": "false",
            "HAYHOOKS_REQUIRE_LOGIN": "true",
            "HAYHOOKS_ADMIN_KEY": KEY,
        },
        WITH_KEY,
        kit={"A2A_AUTH_TYPE": "bearer", "A2A_AUTH_TOKEN": KEY},
    ),
)


@dataclass(slots=True)
class Verdict:
    """What the kit found, by the names of its tests."""

    passed: int = 0
    skipped: int = 0
    not_ours: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)  # which the protocol recommends
    complaints: list[str] = field(default_factory=list)


def main() -> int:
    """Run the kit against every server; the exit code is 1 when it complains of something that is ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tck", type=Path, required=True, help="a checkout of a2aproject/a2a-tck")
    parser.add_argument(
        "--python", type=Path, help="an interpreter that has what the kit needs (.venv of the checkout)"
    )
    options = parser.parse_args()
    kit = options.tck.resolve()
    python = options.python or kit / ".venv" / "bin" / "python"
    complaints = 0
    lines = ["| Server | Passed | Failed | Recommended, not met | Not ours | Skipped |", "|---|---|---|---|---|---|"]
    for server in SERVERS:
        verdict = run_kit(kit, python, server)
        complaints += len(verdict.complaints)
        counts = (verdict.complaints, verdict.optional, verdict.not_ours)
        cells = [server.name, str(verdict.passed), *(str(len(found)) for found in counts), str(verdict.skipped)]
        lines.append(f"| {' | '.join(cells)} |")
        for kind, found in zip(("failed", "not met", "not ours"), counts, strict=True):
            for test in found:
                print(f"{server.name}: {kind}: {test}")
    print("\n".join(lines))
    return 1 if complaints else 0


def run_kit(kit: Path, python: Path, server: Server) -> Verdict:
    """Check the agent as *server* serves it. Raises RuntimeError when the kit gives no report."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        shutil.copytree(HERE / "pipelines", work / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
        report = work / "report.xml"
        with running_server(work / "pipelines", env=server.env) as running:
            command = [
                str(python), "-m", "pytest", "tests/compatibility", "-q", "--tb=line", "-p", "no:cacheprovider",
                f"--sut-host={running.url}/a2a/{AGENT}", f"--junitxml={report}",
            ]  # fmt: skip
            kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            done = subprocess.run(
                command, cwd=kit, env={**kept, **server.kit}, capture_output=True, text=True, timeout=TIMEOUT_S,
                check=False,
            )  # fmt: skip
        if not report.exists():
            raise RuntimeError(f"The kit gave no report:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return _verdict(report, {**ALWAYS, **server.not_ours})


def _verdict(report: Path, not_ours: Mapping[str, str]) -> Verdict:
    verdict = Verdict()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        failed = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        skipped = case.find("skipped")
        if failed is not None:
            known = any(part in name for part in not_ours)
            said = failed.get("message", "").splitlines() or [""]
            (verdict.not_ours if known else verdict.complaints).append(f"{name}: {said[0][:300]}")
        elif skipped is None:
            verdict.passed += 1
        elif skipped.get("type") == "pytest.xfail":
            known = any(part in name for part in not_ours)
            (verdict.not_ours if known else verdict.optional).append(f"{name}: {skipped.get('message', '')[:300]}")
        else:
            verdict.skipped += 1
    return verdict


if __name__ == "__main__":
    sys.exit(main())
