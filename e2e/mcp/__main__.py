"""``python -m e2e.mcp``: what the protocol's own conformance suite says of this server. See README.md beside this."""

import shutil
import tempfile
from pathlib import Path

from e2e.mcp.suite import PIPELINES, SUITES, run_suite

from hayhooks.testing import running_server


def main() -> int:
    """Run every suite; the exit code is 1 when one complains."""
    complaints = 0
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(PIPELINES, Path(work) / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
        with running_server(Path(work) / "pipelines") as server:
            print("| Suite | Revision | Passed | Complaints |\n|---|---|---|---|")
            for package, revision in SUITES:
                verdict = run_suite(package, revision, f"{server.url}/mcp")
                complaints += len(verdict.complaints)
                print(f"| {package} | {revision} | {verdict.passed} | {len(verdict.complaints)} |")
                for complaint in verdict.complaints:
                    print(f"  {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
