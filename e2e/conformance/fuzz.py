"""Schemathesis: calls that the OpenAPI document allows, and calls that it does not, at every path that it names."""

import json
import subprocess
import tempfile
from pathlib import Path

from bench.environments import python_environment
from e2e.conformance.tools import HERE, TIMEOUT_S, Verdict
from tests.support.clients import ENVIRONMENTS

VERSION = "4.32.5"
# It takes for granted that all that the schema allows is accepted. A tool's message without the call that it answers,
# a component that the pipeline does not have and 1.0 for an integer are refused, with reasons.
NOT_ASKED = "positive_data_acceptance"


def fuzz(url: str, *, max_examples: int = 50, seed: int = 1) -> Verdict:
    """Try the server at *url*, management too, with up to *max_examples* calls of each operation.

    Raises:
        RuntimeError: It could not be done.
    """
    directory = ENVIRONMENTS / "schemathesis"
    python_environment(directory, [f"schemathesis=={VERSION}"])
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        command = [
            str(directory / "bin" / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml"), "run",
            f"{url}/openapi.json", "--no-color", "--seed", str(seed), "--max-examples", str(max_examples),
            "--phases", "coverage,fuzzing,stateful", "--exclude-checks", NOT_ASKED, "--generation-database", "none",
            "--report-json-path", str(report), "--warnings", "off",
        ]  # fmt: skip
        # It keeps a directory of its own where it is started.
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=10 * TIMEOUT_S, check=False)
        if not report.exists():
            raise RuntimeError(f"schemathesis gave no report:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        found = json.loads(report.read_text(encoding="utf-8"))
    calls, failures = found["test_cases"], found["failures"] + found["errors"]
    counts = {
        "pass": calls["generated"] - calls["with_failures"], "warn": 0, "fail": len(failures),
        "skip": found["operations"]["total"] - found["operations"]["tested"],
    }  # fmt: skip
    complaints = [json.dumps(failure) for failure in failures]
    if complaints:
        complaints.append(done.stdout)
    return Verdict(counts, complaints)
