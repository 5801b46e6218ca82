"""``python -m e2e.conformance``: what conformance tools say of this server. See README.md beside this file."""

import argparse
from dataclasses import replace

from e2e.conformance.servers import serving
from e2e.conformance.tools import WIRES, Tool
from tests.support.clients import NoNpm

from hayhooks.testing import RunningServer

DEFAULT = ("chat",)


def main() -> int:
    """Check the wires named on the command line; the exit code is 1 when a tool complains."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance", description=__doc__)
    parser.add_argument("wires", nargs="*", default=DEFAULT, metavar="wire", help=", ".join(WIRES))
    parser.add_argument("--model", help="deployment to check, instead of the one that the tool is made for")
    options = parser.parse_args()
    unknown = set(options.wires) - set(WIRES)
    if unknown:
        parser.error(f"no such wire: {', '.join(sorted(unknown))}")
    is_clean = True
    print("| Tool | Model | Passed | Warned | Failed | Skipped |\n|---|---|---|---|---|---|")
    with serving() as server:
        for wire in options.wires:
            for tool in WIRES[wire]:
                is_clean &= _check(replace(tool, model=options.model or tool.model), server)
    return 0 if is_clean else 1


def _check(tool: Tool, server: RunningServer) -> bool:
    try:
        verdict = tool.run(f"{server.url}/v1")
    except NoNpm as missing:
        print(f"| {tool.name} | {missing} | | | | |")
        return True
    counts = verdict.counts
    print(f"| {tool.name} | {tool.model} | {counts['pass']} | {counts['warn']} | {counts['fail']} | {counts['skip']} |")
    for complaint in verdict.complaints:
        print(f"  {complaint}")
    return verdict.is_clean


if __name__ == "__main__":
    raise SystemExit(main())
