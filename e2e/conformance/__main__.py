"""``python -m e2e.conformance``: what conformance tools say of this server. See README.md beside this file."""

import argparse
from dataclasses import replace

from e2e.conformance.fuzz import fuzz
from e2e.conformance.servers import TYPED, serving
from e2e.conformance.tools import WIRES, Tool, Verdict
from tests.support.clients import NoNpm

from hayhooks.testing import RunningServer

DEFAULT = (*WIRES, "openapi")


def main() -> int:
    """Check what is named on the command line; the exit code is 1 when a tool complains."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance", description=__doc__)
    parts = [*WIRES, "openapi"]
    parser.add_argument("parts", nargs="*", default=DEFAULT, metavar="part", help=", ".join(parts))
    parser.add_argument("--model", help="deployment to check, instead of the one that the tool is made for")
    parser.add_argument("--max-examples", type=int, default=50, help="of each operation of the OpenAPI document")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    unknown = set(options.parts) - set(parts)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    is_clean = True
    print("| Tool | Model | Passed | Warned | Failed | Skipped |\n|---|---|---|---|---|---|")
    for part in options.parts:
        if part == "openapi":
            with serving(TYPED) as server:
                verdict = fuzz(server.url, max_examples=options.max_examples, seed=options.seed)
            is_clean &= _report("schemathesis", "", verdict)
            continue
        with serving() as server:
            for tool in WIRES[part]:
                is_clean &= _check(replace(tool, model=options.model or tool.model), server)
    return 0 if is_clean else 1


def _check(tool: Tool, server: RunningServer) -> bool:
    try:
        return _report(tool.name, tool.model, tool.run(f"{server.url}/v1"))
    except NoNpm as missing:
        print(f"| {tool.name} | {missing} | | | | |")
        return True


def _report(name: str, model: str, verdict: Verdict) -> bool:
    counts = " | ".join(str(verdict.counts[status]) for status in ("pass", "warn", "fail", "skip"))
    print(f"| {name} | {model} | {counts} |")
    for complaint in verdict.complaints:
        print(f"  {complaint}")
    return verdict.is_clean


if __name__ == "__main__":
    raise SystemExit(main())
