"""``python -m bench``: measure this server and its peers. See bench/README.md."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TypeVar
from urllib.parse import urlsplit

from bench import report
from bench.cases import Scenario
from bench.fleets import EVERY_WRAPPER
from bench.peers import PEERS, Peer, set_up
from bench.results import Results
from bench.runner import Options, run_peers, run_url
from bench.scenarios import SCENARIOS
from bench.servers import Server

T = TypeVar("T")


def main() -> int:
    """Parse the command line and do what it says; the exit code is 1 when a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenarios, their cases and the peers")
    setup = commands.add_parser("setup", help="create the environments of the peers")
    setup.add_argument("--peers", default=",".join(PEERS))
    serve = commands.add_parser("serve", help="start one peer with every wrapper, until interrupted")
    serve.add_argument("peer", choices=PEERS)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--scenario", default="all", help="comma list, or all")
    run.add_argument("--peers", default=",".join(PEERS), help="comma list, in the order of the first round")
    run.add_argument("--url", help="measure the server at this address instead of starting peers")
    run.add_argument("--only", default="", metavar="TEXT", help="only cases with this text in their name")
    run.add_argument("--rounds", type=int, default=3)
    run.add_argument("--seconds", type=float, default=3, help="of each loop of load")
    run.add_argument("--json", type=Path, help="write every sample to this file")
    run.add_argument("--markdown", type=Path, help="write the tables to this file")
    again = commands.add_parser("report", help="print the tables of an earlier run")
    again.add_argument("json", type=Path)
    options = parser.parse_args()
    # An ended benchmark leaves no servers behind: they are stopped on the way out. (Shells start background jobs
    # with SIGINT ignored, so it is set as well.)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    match options.command:
        case "list":
            _list()
        case "setup":
            for peer in _peers(options.peers):
                set_up(peer)
        case "serve":
            _serve(PEERS[options.peer])
        case "report":
            results = Results.load(options.json)
            print(report.markdown(results, list(SCENARIOS.values())))
        case "run":
            return _run(options)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _run(options: argparse.Namespace) -> int:
    scenarios = _scenarios(options.scenario)

    def keep(results: Results) -> None:
        if options.json:
            results.save(options.json)
        if options.markdown:
            options.markdown.parent.mkdir(parents=True, exist_ok=True)
            options.markdown.write_text(report.markdown(results, scenarios), encoding="utf-8")

    how = Options(options.rounds, options.seconds, options.only)
    if options.url:
        address = urlsplit(options.url)
        results = run_url(scenarios, address.hostname or "127.0.0.1", address.port or 80, how)
        keep(results)
    else:
        results = run_peers(scenarios, _peers(options.peers), how, keep)
    print(f"\n{report.markdown(results, scenarios)}")
    for missed in report.missed_goals(results, scenarios):
        print(f"Missed goal: {missed}")
    return 1 if results.failures() else 0


def _list() -> None:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name}: {scenario.about}")
        for case in scenario.cases:
            print(f"    {case.name}")
    print("peers:")
    for peer in PEERS.values():
        print(f"    {peer.name}: {peer.about}")


def _serve(peer: Peer) -> None:
    set_up(peer)
    with Server(peer, EVERY_WRAPPER) as server:
        print(f"{peer.name} at http://127.0.0.1:{server.port}", flush=True)
        while True:
            time.sleep(3600)


def _scenarios(names: str) -> list[Scenario]:
    if names == "all":
        return list(SCENARIOS.values())
    return [_known(SCENARIOS, name, "scenario") for name in names.split(",")]


def _peers(names: str) -> list[Peer]:
    return [_known(PEERS, name, "peer") for name in names.split(",")]


def _known(table: dict[str, T], name: str, what: str) -> T:
    if name not in table:
        raise SystemExit(f"no {what} {name!r}; there are {', '.join(table)}")
    return table[name]


if __name__ == "__main__":
    sys.exit(main())
