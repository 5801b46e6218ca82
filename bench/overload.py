"""What overload does to the calls that are served, and what idle streams cost."""

import json
import resource
import socket
import time
from collections.abc import Callable

from bench import loadgen, procfs
from bench.cases import Target, Values
from bench.http import CallError, call, post_bytes
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


def idle_streams(count: int) -> Callable[[Target], Values]:
    """Open *count* streams that say nothing, and call something else meanwhile."""

    def measure(target: Target) -> Values:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        server = target.server
        before_mb = procfs.resident_mb(server.pid) if server else 0.0
        alone = offer(target.host, target.port, "/noop_async/run", BODY, 200, target.seconds)
        request = post_bytes("/idle_stream/run", target.host, b"{}")
        streams = []
        try:
            for _ in range(count):
                stream = socket.create_connection((target.host, target.port), timeout=30)
                streams.append(stream)
                stream.sendall(request)
            for stream in streams:
                got = b""
                while b"begun" not in got:
                    data = stream.recv(4096)
                    got += data
                    if not data or not got.startswith(b"HTTP/1.1 200"):
                        raise CallError(f"a stream began with {got[:200]!r}")
            open_mb = procfs.resident_mb(server.pid) if server else 0.0
            cpu_before = target.cpu_s()
            time.sleep(2)
            idle_cpu = (target.cpu_s() - cpu_before) / 2
            beside = offer(target.host, target.port, "/noop_async/run", BODY, 200, target.seconds)
        finally:
            for stream in streams:
                stream.close()
        time.sleep(REST_S)
        call(target.host, target.port, "POST", "/noop_async/run", {"text": "hello"})
        if alone.accepted != alone.offered or beside.accepted != beside.offered:
            raise CallError(f"calls beside the streams failed: {alone.statuses}, {beside.statuses}")
        return {
            "kb_per_stream": (open_mb - before_mb) * 1024 / count,
            "idle_cpu": idle_cpu,
            "p99_alone_ms": percentile_ms(alone.latencies_s, 0.99),
            "p99_beside_ms": percentile_ms(beside.latencies_s, 0.99),
            "left_mb": (procfs.resident_mb(server.pid) if server else 0.0) - before_mb,
        }

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
