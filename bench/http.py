"""A few blocking HTTP calls, for everything that is not measured by the thousand."""

import http.client
import json
from collections.abc import Mapping
from typing import Any


class CallError(Exception):
    """The server did not answer as it should."""


def post_bytes(path: str, host: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 request that posts JSON, to be sent as it is, again and again."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def call(
    host: str, port: int, method: str, path: str, body: Any = None, timeout_s: float = 60, key: str | None = None
) -> Any:
    """Send one request and return the decoded JSON answer.

    Raises:
        CallError: If the status is not 200; the message holds the beginning of the answer.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        headers |= {"X-API-Key": key} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        payload = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise CallError(f"{method} {path}: {answer.status} {payload[:300].decode(errors='replace')}")
    return json.loads(payload)
