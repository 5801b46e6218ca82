"""What overload does to the calls that are served, alone, beside idle streams and beside a neighbour."""

import json
import time
from collections.abc import Callable

from bench import idle, loadgen, procfs
from bench.cases import Target, Values
from bench.http import CallError
from bench.openloop import OpenLoad, offer, percentile_ms

TIMES = 4  # more than the server can do
REST_S = 5.0
BODY = json.dumps({"text": "hello"}).encode()


def overload(deployment: str, connections: int) -> Callable[[Target], Values]:
    """Find the capacity with *connections* callers, offer that much, then four times as much, then little."""
    path = f"/{deployment}/run"

    def measure(target: Target) -> Values:
        server = target.server
        loadgen.drive(target.host, target.port, path, BODY, connections, 1)
        capacity = loadgen.drive(target.host, target.port, path, BODY, connections, 3).rate

        def load(rate: float, seconds: float) -> OpenLoad:
            sample = (lambda: procfs.resident_mb(server.pid)) if server else None
            found = offer(target.host, target.port, path, BODY, rate, seconds, sample=sample)
            if found.others:
                raise CallError(f"unexpected answers: {found.others}")
            return found

        at = load(capacity, max(5.0, target.seconds / 3))
        time.sleep(1)
        over = load(capacity * TIMES, target.seconds)
        time.sleep(REST_S)
        after = load(capacity / 2, 3)
        p99_at, p99_over = percentile_ms(at.latencies_s, 0.99), percentile_ms(over.latencies_s, 0.99)
        memory = over.sampled or [0.0]
        return {
            "capacity": capacity,
            "p99_at_ms": p99_at,
            "p50_at_ms": percentile_ms(at.latencies_s, 0.5),
            "refused_at": at.refused / at.offered,
            "p99_over_ms": p99_over,
            "p50_over_ms": percentile_ms(over.latencies_s, 0.5),
            "times": p99_over / p99_at,
            "goodput": over.accepted / target.seconds / capacity,
            "broken_over": over.statuses[0] / over.offered,
            "unsent_over": over.unsent / over.offered,
            "refused_over": over.refused / over.offered,
            "refusal_p99_ms": percentile_ms(over.refusals_s, 0.99),
            "growth_mb": memory[-1] - memory[min(len(memory) - 1, len(memory) // 4)],
            "refused_after": after.refused / after.offered,
            "p99_after_ms": percentile_ms(after.latencies_s, 0.99),
            "offered": over.offered / target.seconds,
            "late_ms": over.late_s * 1000,
            "client_load": over.client_load,
        }

    return measure


def overload_beside_streams(deployment: str, connections: int, streams: int) -> Callable[[Target], Values]:
    """The same while that many streams are open that say nothing; each must still be open at the end."""
    overloaded = overload(deployment, connections)

    def measure(target: Target) -> Values:
        with idle.streams(target, streams) as held:
            values = overloaded(target)
            ended = idle.ended(held)
        return {**values, "streams_ended": ended}

    return measure


def flood(busy: str, quiet: str) -> Callable[[Target], Values]:
    """Call *quiet* five times a second alone, and while 200 callers flood *busy*."""

    def measure(target: Target) -> Values:
        import multiprocessing

        path = f"/{quiet}/run"
        alone = offer(target.host, target.port, path, BODY, 20, target.seconds)
        arguments = (target.host, target.port, f"/{busy}/run", BODY, 200, target.seconds + 2)
        process = multiprocessing.get_context("fork").Process(target=loadgen.drive, args=arguments)
        process.start()
        time.sleep(1)
        beside = offer(target.host, target.port, path, BODY, 20, target.seconds)
        process.join()
        if beside.others:
            raise CallError(f"unexpected answers: {beside.others}")
        p99_alone, p99_beside = percentile_ms(alone.latencies_s, 0.99), percentile_ms(beside.latencies_s, 0.99)
        return {
            "p99_alone_ms": p99_alone,
            "p50_beside_ms": percentile_ms(beside.latencies_s, 0.5),
            "p99_beside_ms": p99_beside,
            "refused": beside.refused / beside.offered,
        }

    return measure
