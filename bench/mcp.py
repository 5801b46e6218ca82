"""What a call costs as a tool of MCP, beside the same call over REST and beside the SDK with nothing behind it."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import loadgen, procfs
from bench.cases import Target, Values
from bench.http import CallError
from bench.peers import ROOT, environment

HOST = "127.0.0.1"
OLD, NEW = "2025-11-25", "2026-07-28"
_TOOL = "noop_async"
_ARGUMENTS = {"text": "hello"}
_ACCEPT = {"Accept": "application/json, text/event-stream"}
_META = {"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}}
_WARM_UP_S = 1.0

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one call: the server's processor time, which a busy machine changes least, and the time to the next."""

    cpu_us: float
    wall_us: float


def tool_calls(revision: str, connections: int) -> Callable[[Target], Values]:
    """What a call costs each of the three, one after the other, and how many times the first two the third is."""

    def measure(target: Target) -> Values:
        def cost(host: str, port: int, cpu_s: Callable[[], float], path: str, body: Any, more: Headers) -> _Cost:
            payload = json.dumps(body).encode()
            answer = _post(host, port, path, payload, more)
            if "hello" not in answer or '"isError":true' in answer.replace(" ", ""):
                raise CallError(f"{path} answers {answer[:200]}")
            loadgen.drive(host, port, path, payload, connections, _WARM_UP_S, headers=more)
            before_s = cpu_s()
            load = loadgen.drive(host, port, path, payload, connections, target.seconds, headers=more)
            if load.failures:
                raise CallError(f"{load.failures} of {load.requests} calls of {path} failed")
            return _Cost((cpu_s() - before_s) / load.requests * 1e6, connections / load.rate * 1e6)

        def tool(host: str, port: int, cpu_s: Callable[[], float]) -> _Cost:
            return cost(host, port, cpu_s, "/mcp", _call(revision), _headers(host, port, revision))

        rest = cost(target.host, target.port, target.cpu_s, f"/{_TOOL}/run", _ARGUMENTS, {})
        mcp = tool(target.host, target.port, target.cpu_s)
        with _sdk() as (port, pid):
            sdk = tool(HOST, port, lambda: procfs.cpu_s(pid))
        return {
            **{f"{name}_us": found.cpu_us for name, found in (("rest", rest), ("sdk", sdk), ("mcp", mcp))},
            **{f"{name}_wall_us": found.wall_us for name, found in (("rest", rest), ("sdk", sdk), ("mcp", mcp))},
            "times": mcp.cpu_us / (rest.cpu_us + sdk.cpu_us),
            "times_wall": mcp.wall_us / (rest.wall_us + sdk.wall_us),
        }

    return measure


def _call(revision: str) -> dict[str, Any]:
    params: dict[str, Any] = {"name": _TOOL, "arguments": _ARGUMENTS}
    return _message("tools/call", params | ({"_meta": _META} if revision == NEW else {}))


def _message(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _headers(host: str, port: int, revision: str) -> dict[str, str]:
    """What a client sends with each call; of the older revision, after it has begun a session."""
    headers = {**_ACCEPT, "MCP-Protocol-Version": revision}
    if revision == NEW:
        return {**headers, "Mcp-Method": "tools/call", "Mcp-Name": _TOOL}
    info = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        asked = json.dumps(_message("initialize", info))
        connection.request("POST", "/mcp", asked, {**_ACCEPT, "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        session = answer.getheader("Mcp-Session-Id")
    finally:
        connection.close()
    headers |= {"Mcp-Session-Id": session} if session else {}
    ready = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
    _post(host, port, "/mcp", ready, headers)
    return headers


def _post(host: str, port: int, path: str, body: bytes, headers: Headers) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", path, body, {**headers, "Content-Type": "application/json"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@contextmanager
def _sdk() -> Iterator[tuple[int, int]]:
    """The SDK's server: its port and its process."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "bench.apps.mcp_sdk", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise CallError("The SDK's server did not start") from None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()
