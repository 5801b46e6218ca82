"""The protocol's own conformance suite, against deployments that are made for it."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clients import node_environment

HERE = Path(__file__).parent
PIPELINES = HERE / "pipelines"
TIMEOUT_S = 300
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")

# The package's name in package.json, and the revision of the protocol.
SUITES = (
    ("@modelcontextprotocol/conformance", "2025-11-25"),
    ("conformance-next", "2025-11-25"),
    ("conformance-next", "2026-07-28"),
)

_ASKS_BACK = "Deployments do not ask their caller back: there is no sampling, no elicitation, no input_required."
_LOGS = "Logs are for the server's owner. The protocol drops them from 2026-07-28 on."
_FIXED_URIS = "Resources are those of deployments; there are none under the addresses that the suite asks for."
_NO_SUBSCRIPTION = "Subscriptions of single resources need 2026-07-28; before that, lists say that they have changed."
# Scenarios, or single checks of one, that ask for what is not offered, each with the reason.
NOT_OURS: Mapping[str, str] = {
    "tools-call-sampling": _ASKS_BACK,
    "tools-call-elicitation": _ASKS_BACK,
    "elicitation-sep1034-defaults": _ASKS_BACK,
    "elicitation-sep1330-enums": _ASKS_BACK,
    "input-required-result-basic-elicitation": _ASKS_BACK,
    "input-required-result-basic-sampling": _ASKS_BACK,
    "input-required-result-basic-list-roots": _ASKS_BACK,
    "input-required-result-request-state": _ASKS_BACK,
    "input-required-result-multiple-input-requests": _ASKS_BACK,
    "input-required-result-multi-round": _ASKS_BACK,
    "input-required-result-non-tool-request": _ASKS_BACK,
    "input-required-result-result-type": _ASKS_BACK,
    "input-required-result-missing-input-response": _ASKS_BACK,
    "input-required-result-ignore-extra-params": _ASKS_BACK,
    "input-required-result-tampered-state": _ASKS_BACK,
    "input-required-result-capability-check": _ASKS_BACK,
    "sep-2575-server-rejects-undeclared-capability": "No tool needs a capability of its caller.",
    "sep-2575-missing-capability-http-400": "No tool needs a capability of its caller.",
    "logging-set-level": _LOGS,
    "tools-call-with-logging": _LOGS,
    "json-schema-2020-12": "A tool's schema is that of its hook's signature; a wrapper cannot give another.",
    "resources-read-text": _FIXED_URIS,
    "resources-read-binary": _FIXED_URIS,
    "resources-templates-read": _FIXED_URIS,
    "resources-subscribe": _NO_SUBSCRIPTION,
    "resources-unsubscribe": _NO_SUBSCRIPTION,
    "server-sse-polling": "Streams are not resumed: who has lost the connection calls again. The suite warns of it.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found: how many checks passed, and the words for those that did not."""

    passed: int
    complaints: list[str] = field(default_factory=list)


def run_suite(package: str, revision: str, url: str) -> Verdict:
    """Check the server whose endpoint is *url*. Raises NoNpm, and RuntimeError when there is no report."""
    modules = node_environment(HERE / "package.json") / "node_modules"
    node = modules / "node" / "bin" / "node"
    with tempfile.TemporaryDirectory() as results:
        command = [
            str(node), str(modules / package / "dist" / "index.js"), "server", "--url", url, "--suite", "all",
            "--spec-version", revision, "-o", results,
        ]  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=kept)
        reports = sorted(Path(results).glob("*/checks.json"))
        if not reports:
            raise RuntimeError(f"The suite gave no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        passed, complaints = 0, []
        for report in reports:
            scenario = _STAMP.sub("", report.parent.name.removeprefix("server-"))
            for check in json.loads(report.read_text(encoding="utf-8")):
                if check["status"] == "SUCCESS":
                    passed += 1
                elif check["status"] in ("FAILURE", "WARNING") and not {check["id"], scenario} & NOT_OURS.keys():
                    complaints.append(f"{scenario}: {check['id']}: {check.get('errorMessage', check['status'])}")
        return Verdict(passed, complaints)
