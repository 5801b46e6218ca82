"""Load from plain requests: wrk where it is installed, else a small asyncio client.

Both keep their connections open and send the same POST again as soon as the answer is there.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.http import CallError, post_bytes

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What a loop of requests found."""

    requests: int
    seconds: float
    failures: int  # answers other than 200 and broken connections
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def drive(
    host: str,
    port: int,
    path: str,
    body: bytes,
    connections: int,
    seconds: float,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """Post *body* to *path* over *connections* connections for *seconds* seconds."""
    sent = {**(headers or {}), **({"X-API-Key": key} if key else {})}
    if wrk := shutil.which("wrk"):
        return _drive_with_wrk(wrk, host, port, path, body, connections, seconds, sent)
    return asyncio.run(drive_with_asyncio(host, port, path, body, connections, seconds, sent))


def burst(host: str, port: int, path: str, body: bytes, requests: int, timeout_s: float) -> float:
    """Send *requests* requests at once, a connection for each; return the seconds until the last answer.

    Raises:
        CallError: If any of them is not answered with 200 within *timeout_s*.
    """
    load = asyncio.run(_drive(host, port, path, body, requests, time_limit_s=timeout_s, once=True))
    if load.failures or load.requests != requests:
        raise CallError(f"{load.requests} of {requests} calls of {path} answered, {load.failures} of them badly")
    return load.seconds


async def drive_with_asyncio(
    host: str,
    port: int,
    path: str,
    body: bytes,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """The same as :func:`drive`, without wrk. It costs about as much as a fast server: compare, do not quote."""
    return await _drive(host, port, path, body, connections, time_limit_s=seconds, once=False, headers=headers)


def _drive_with_wrk(
    wrk: str, host: str, port: int, path: str, body: bytes, connections: int, seconds: float, headers: Mapping[str, str]
) -> Load:
    with tempfile.NamedTemporaryFile(suffix=".json") as file, tempfile.NamedTemporaryFile("w") as fields:
        file.write(body)
        file.flush()
        fields.writelines(f"{name}: {value}\n" for name, value in headers.items())
        fields.flush()
        url = f"http://{host}:{port}{path}"
        # wrk counts whole seconds.
        duration = f"{max(1, round(seconds))}s"
        command = [wrk, "-t1", f"-c{connections}", f"-d{duration}", "--timeout=60s", "-s", str(SCRIPT), url, "--"]
        command += [file.name, fields.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    if line is None:
        raise CallError(f"wrk said: {done.stdout[-300:]}{done.stderr[-300:]}")
    return Load(**json.loads(line))


async def _drive(
    host: str,
    port: int,
    path: str,
    body: bytes,
    connections: int,
    *,
    time_limit_s: float,
    once: bool,
    headers: Mapping[str, str] | None = None,
) -> Load:
    loop = asyncio.get_running_loop()
    request = post_bytes(path, f"{host}:{port}", body, headers)
    callers = [_Caller(request, once=once) for _ in range(connections)]
    transports = [(await loop.create_connection(lambda c=caller: c, host, port))[0] for caller in callers]  # type: ignore[misc]
    began = time.perf_counter()
    for caller in callers:
        caller.send()
    await asyncio.wait([caller.finished for caller in callers], timeout=time_limit_s)
    seconds = time.perf_counter() - began
    for transport in transports:
        transport.abort()
    latencies = sorted(latency for caller in callers for latency in caller.latencies_s)
    cuts = quantiles(latencies, n=100) if len(latencies) > 1 else [latencies[0] if latencies else 0.0] * 99
    failures = sum(caller.failures for caller in callers)
    return Load(len(latencies), seconds, failures, p50_ms=cuts[49] * 1000, p99_ms=cuts[98] * 1000)


class _Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, *, once: bool) -> None:
        self.latencies_s: list[float] = []
        self.failures = 0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._once = once
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or not _is_whole(head, rest):
            return
        self.latencies_s.append(time.perf_counter() - self._sent_at)
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self._received = b""
        if self._once:
            self._finish()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += not self.finished.done()
        self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def _is_whole(head: bytes, rest: bytes) -> bool:
    if b"transfer-encoding: chunked" in head.lower():
        return rest.endswith(b"0\r\n\r\n")
    return len(rest) >= _content_length(head)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise CallError("an answer without Content-Length")
