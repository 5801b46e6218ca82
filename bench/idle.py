"""Streams that are open and say nothing: what they cost, and a crowd of them beside other load."""

import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from bench import procfs
from bench.cases import Target, Values
from bench.http import CallError, call, post_bytes
from bench.openloop import offer, percentile_ms

REST_S = 5.0
BODY = b'{"text": "hello"}'


@contextlib.contextmanager
def streams(target: Target, count: int) -> Iterator[list[socket.socket]]:
    """*count* streams that have said their first word, until the block ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = post_bytes("/idle_stream/run", target.host, b"{}")
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            stream = socket.create_connection((target.host, target.port), timeout=30)
            held.append(stream)
            stream.sendall(request)
        for stream in held:
            got = b""
            while b"begun" not in got:
                data = stream.recv(4096)
                got += data
                if not data or not got.startswith(b"HTTP/1.1 200"):
                    raise CallError(f"a stream began with {got[:200]!r}")
        yield held
    finally:
        for stream in held:
            stream.close()


def ended(held: Sequence[socket.socket]) -> int:
    """How many of these streams the server has ended; those that it keeps say nothing but heartbeats."""
    count = 0
    for stream in held:
        stream.setblocking(False)
        try:
            while data := stream.recv(65536):
                if not data.lstrip(b"0123456789abcdef\r\n").startswith(b":"):
                    raise CallError(f"an idle stream said {data[:200]!r}")
            count += 1
        except BlockingIOError:
            continue
        except ConnectionError:
            count += 1
    return count


def idle_streams(count: int) -> Callable[[Target], Values]:
    """Open *count* streams that say nothing, and call something else meanwhile."""

    def measure(target: Target) -> Values:
        server = target.server
        before_mb = procfs.resident_mb(server.pid) if server else 0.0
        alone = offer(target.host, target.port, "/noop_async/run", BODY, 200, target.seconds)
        with streams(target, count):
            open_mb = procfs.resident_mb(server.pid) if server else 0.0
            cpu_before = target.cpu_s()
            time.sleep(2)
            idle_cpu = (target.cpu_s() - cpu_before) / 2
            beside = offer(target.host, target.port, "/noop_async/run", BODY, 200, target.seconds)
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
