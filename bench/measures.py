"""How each kind of case is measured. Every function checks the answers, not only their number."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import http, loadgen, procfs, streams
from bench.cases import Target, Values
from bench.fleets import PIPELINES
from bench.http import CallError
from bench.peers import environment

WARM_UP_S = 0.5
UPLOAD_BYTES = 500 * 1000 * 1000
SLEEP_CALLS = 500

Measure = Callable[[Target], Values]


def runs(deployment: str, connections: int) -> Measure:
    """POST /{deployment}/run in a loop."""
    path = f"/{deployment}/run"
    body = {"text": "hello"}

    def measure(target: Target) -> Values:
        _expect(target, path, body, "hello")
        payload = json.dumps(body).encode()
        loadgen.drive(target.host, target.port, path, payload, connections, WARM_UP_S, target.key)
        cpu_before = target.cpu_s()
        load = loadgen.drive(target.host, target.port, path, payload, connections, target.seconds, target.key)
        cpu_s = target.cpu_s() - cpu_before
        if load.failures:
            raise CallError(f"{load.failures} of {load.requests} calls failed")
        cpu_us = cpu_s / load.requests * 1e6
        return {"rate": load.rate, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms, "cpu_us": cpu_us}

    return measure


def chats(deployment: str, connections: int, tokens: int) -> Measure:
    """Streams without a pause, one after the other on each connection."""

    def measure(target: Target) -> Values:
        def load(seconds: float) -> streams.StreamLoad:
            return streams.stream(
                target.host,
                target.port,
                deployment,
                tokens=tokens,
                connections=connections,
                seconds=seconds,
                wants_done=target.sends_done,
            )

        load(WARM_UP_S)
        cpu_before = target.cpu_s()
        found = load(target.seconds)
        cpu_s = target.cpu_s() - cpu_before
        # The processor also served the tokens that came after the measured time.
        cpu_us = cpu_s / max(found.streams * tokens, 1) * 1e6
        return {
            "rate": found.rate,
            "cpu_us": cpu_us,
            "streams": found.streams,
            "slowest_rate": found.slowest_rate,
            "client_load": found.client_load,
        }

    return measure


def paced_chats(connections: int, tokens: int) -> Measure:
    """Streams at 20 ms a token, one on each connection, all begun at once."""

    def measure(target: Target) -> Values:
        cpu_before = target.cpu_s()
        found = streams.stream(
            target.host,
            target.port,
            "chat_stream_paced",
            tokens=tokens,
            connections=connections,
            seconds=None,
            wants_done=target.sends_done,
        )
        return {
            "rate": found.rate,
            "slowest_rate": found.slowest_rate,
            "slowest_share": found.slowest_rate / found.median_rate,
            "longest_gap_s": found.longest_gap_s,
            "first_token_s": found.first_token_s,
            "client_load": found.client_load,
            "cpu_us": (target.cpu_s() - cpu_before) / found.tokens * 1e6,
        }

    return measure


def sleeping_runs(target: Target) -> Values:
    """How long 500 calls of a hook that sleeps for 2 s take together."""
    body = json.dumps({"text": "hello"}).encode()
    seconds = loadgen.burst(target.host, target.port, "/sleep2/run", body, SLEEP_CALLS, timeout_s=120)
    return {"seconds": seconds}


def start_up(target: Target) -> Values:
    """From the start of the process until all deployments are listed."""
    assert target.server is not None
    return {"seconds": target.server.ready_s, "resident_mb": procfs.resident_mb(target.server.pid)}


def deploys(times: int) -> Measure:
    """The median of some deploys, each of a new name, each run once and undeployed."""
    source = (PIPELINES / "trivial" / "pipeline_wrapper.py").read_text(encoding="utf-8")

    def measure(target: Target) -> Values:
        taken = []
        for number in range(times):
            name = f"new_{time.time_ns()}_{number}"
            body = {"name": name, "files": {"pipeline_wrapper.py": source}}
            began = time.perf_counter()
            http.call(target.host, target.port, "POST", "/deploy_files", body)
            taken.append(time.perf_counter() - began)
            _expect(target, f"/{name}/run", {"text": "hello"}, "hello")
            http.call(target.host, target.port, "POST", f"/undeploy/{name}")
        taken.sort()
        return {"ms": taken[len(taken) // 2] * 1000, "worst_ms": taken[-1] * 1000}

    return measure


def upload(target: Target) -> Values:
    """One upload of 500 MB as multipart/form-data, and how much memory it took at its peak."""
    boundary = "benchboundary"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="big.bin"\r\n'
    before = f"{part}Content-Type: application/octet-stream\r\n\r\n".encode()
    after = f"\r\n--{boundary}--\r\n".encode()
    length = len(before) + UPLOAD_BYTES + len(after)
    head = (
        f"POST /upload/run HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {length}\r\n\r\n"
    )
    # Some bytes that look like the beginning of a boundary, as files have them.
    block = (os.urandom(65_500) + b"\r\n--").ljust(100_000, b"x")
    resident_mb = 0.0
    if target.server:
        procfs.forget_peak(target.server.pid)
        resident_mb = procfs.resident_mb(target.server.pid)
    began = time.perf_counter()
    with socket.create_connection((target.host, target.port), timeout=120) as sock:
        sock.sendall(head.encode() + before)
        for _ in range(UPLOAD_BYTES // len(block)):
            sock.sendall(block)
        sock.sendall(after)
        answer = b""
        while data := sock.recv(65_536):
            answer += data
    seconds = time.perf_counter() - began
    if not answer.startswith(b"HTTP/1.1 200") or str(UPLOAD_BYTES).encode() not in answer:
        raise CallError(f"the upload was answered with {answer[:300]!r}")
    values = {"seconds": seconds}
    if target.server:
        values["growth_mb"] = procfs.peak_mb(target.server.pid) - resident_mb
    return values


def command(*arguments: str, times: int = 5) -> Measure:
    """The median wall time of a command of the peer's CLI, against its own running server."""

    def measure(target: Target) -> Values:
        assert target.peer is not None
        line = [str(target.peer.bin / target.peer.program), *arguments]
        variables = {**environment(), "HAYHOOKS_HOST": target.host, "HAYHOOKS_PORT": str(target.port)}
        taken = []
        for _ in range(times + 1):
            began = time.perf_counter()
            done = subprocess.run(line, capture_output=True, env=variables, cwd=Path("/"), timeout=60, check=False)
            taken.append(time.perf_counter() - began)
            if done.returncode:
                raise CallError(f"{' '.join(arguments)}: {done.stderr[-300:].decode(errors='replace')}")
        # The first one warmed the file cache.
        return {"ms": sorted(taken[1:])[times // 2] * 1000}

    return measure


def _expect(target: Target, path: str, body: dict[str, str], result: str) -> None:
    answer = http.call(target.host, target.port, "POST", path, body, key=target.key)
    if answer != {"result": result}:
        raise CallError(f"{path} answered {answer!r}")
