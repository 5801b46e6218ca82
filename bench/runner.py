"""Measures in turn: each round, each case, one server after the other, while the others are paused."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case, Scenario, Target, Values
from bench.fleets import Fleet
from bench.http import CallError
from bench.peers import Peer, set_up, versions
from bench.results import Results, Sample
from bench.servers import HOST, Server

START_TRIES = 3
FAILURES = (CallError, OSError, KeyError, ValueError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often to measure, and which cases."""

    rounds: int
    seconds: float
    only: str = ""  # a part of the names of the cases to measure


def run_peers(
    scenarios: Sequence[Scenario], peers: Sequence[Peer], options: Options, keep: Callable[[Results], None]
) -> Results:
    """Start the peers, scenario by scenario, and measure them in turn; *keep* what there is after each scenario."""
    for peer in peers:
        set_up(peer)
    results = Results(_machine(options), {peer.name: versions(peer) for peer in peers})
    for scenario in scenarios:
        cases = [case for case in scenario.cases if options.only in case.name]
        with ExitStack() as stack:
            warm = _start_warm(stack, scenario, cases, peers, results)
            for case, number, peer in _turns(cases, peers, options.rounds):
                if case.cold:
                    sample = _measure_cold(scenario, case, peer, number, options)
                elif server := warm.get((peer.name, case.fleet)):
                    with _running(server):
                        target = Target(peer.name, HOST, server.port, options.seconds, peer, server)
                        sample = _measure(scenario, case, target, number)
                else:
                    continue
                results.add(sample)
        keep(results)
    return results


def run_url(scenarios: Sequence[Scenario], host: str, port: int, options: Options) -> Results:
    """Measure whatever serves the benchmark's wrappers at *host*:*port*."""
    results = Results(_machine(options), {})
    target = Target("url", host, port, options.seconds)
    for scenario in scenarios:
        for case in scenario.cases:
            # Only a server of ours has the crowds.
            if case.remote and case.fleet.crowd == 0 and case.peers is None and options.only in case.name:
                for number in range(options.rounds):
                    results.add(_measure(scenario, case, target, number))
    return results


def _turns(cases: Sequence[Case], peers: Sequence[Peer], rounds: int) -> Iterator[tuple[Case, int, Peer]]:
    """Every case once a round, so cases can be compared too; each round begins with another peer."""
    for number in range(rounds):
        for case in cases:
            for position in range(len(peers)):
                peer = peers[(position + number) % len(peers)]
                if _is_for(case, peer):
                    yield case, number, peer


def _is_for(case: Case, peer: Peer) -> bool:
    return peer.is_default if case.peers is None else peer.name in case.peers


def _start_warm(
    stack: ExitStack, scenario: Scenario, cases: Iterable[Case], peers: Iterable[Peer], results: Results
) -> dict[tuple[str, Fleet], Server]:
    """A paused server for each peer and fleet that the cases need; what does not start is noted."""
    servers: dict[tuple[str, Fleet], Server] = {}
    tried = set()
    for case in cases:
        for peer in peers:
            key = (peer.name, case.fleet)
            if case.cold or key in tried or not _is_for(case, peer):
                continue
            tried.add(key)
            _say(f"{scenario.name}: starting {peer.name} ({case.fleet.name})")
            try:
                servers[key] = stack.enter_context(_start(peer, case.fleet))
            except FAILURES as error:
                results.add(Sample(scenario.name, case.name, peer.name, 0, {}, str(error)))
                _say(f"  {error}")
            else:
                servers[key].pause()
    return servers


def _start(peer: Peer, fleet: Fleet) -> Server:
    """A running server; hayhooks 2.1 sometimes loses a deployment while starting and is started again."""
    for _ in range(START_TRIES - 1):
        try:
            return Server(peer, fleet)
        except CallError as error:
            _say(f"  starting {peer.name} again: {error}")
    return Server(peer, fleet)


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.resume()
    try:
        yield
    finally:
        server.pause()


def _measure_cold(scenario: Scenario, case: Case, peer: Peer, number: int, options: Options) -> Sample:
    try:
        with _start(peer, case.fleet) as server:
            target = Target(peer.name, HOST, server.port, options.seconds, peer, server)
            return _measure(scenario, case, target, number)
    except FAILURES as error:
        _say(f"  {peer.name}: {error}")
        return Sample(scenario.name, case.name, peer.name, number, {}, str(error))


def _measure(scenario: Scenario, case: Case, target: Target, number: int) -> Sample:
    values: Values = {}
    failure = None
    try:
        values = case.measure(target)
        shown = ", ".join(f"{metric.key} {values[metric.key]:,.4g}" for metric in case.metrics if metric.key in values)
    except FAILURES as error:
        failure = f"{type(error).__name__}: {error}"
        shown = failure
    _say(f"{scenario.name}: {case.name}: round {number + 1}: {target.label}: {shown}")
    return Sample(scenario.name, case.name, target.label, number, values, failure)


def _machine(options: Options) -> dict[str, str | float]:
    processor = platform.processor() or platform.machine()
    memory_kb = 0
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemTotal"):
            memory_kb = int(line.split()[1])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory_kb / 1024**2, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_at_start": round(os.getloadavg()[0], 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def _say(text: str) -> None:
    print(text, flush=True)
