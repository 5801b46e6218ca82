"""Load from streamed chats: an epoll client that counts what arrives and leaves the processor to the server.

It does not parse the events, it counts two markers in the bytes: each event begins with ``data:``, each token
of the benchmark's wrappers is ``lorem``. A stream is good when it has all its tokens, an event for each, and
says that it is over.
"""

import json
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench.http import CallError, post_bytes

EVENT = b"data:"
TOKEN = b"lorem"
_CARRY = len(TOKEN) - 1  # so a marker cut in two by recv is counted once; both markers are of this length
_TAIL_BYTES = 600  # holds the last event and the end of the chunked encoding
_RECV_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What a set of streams found."""

    tokens: int  # received within *seconds*
    seconds: float
    streams: int  # that came to their end
    slowest_rate: float  # tokens per second of the slowest whole stream
    median_rate: float
    longest_gap_s: float  # the longest that any stream was silent
    first_token_s: float  # the longest that any stream let its caller wait for its first bytes
    client_load: float  # processor time of this client per second; near 1 it measured itself

    @property
    def rate(self) -> float:
        """Tokens per second, all streams together."""
        return self.tokens / self.seconds


def stream(
    host: str,
    port: int,
    model: str,
    *,
    tokens: int,
    connections: int,
    seconds: float | None,
    timeout_s: float = 120,
    wants_done: bool = True,
) -> StreamLoad:
    """Stream chats of *tokens* tokens over *connections* connections, again and again for *seconds* seconds.

    Without *seconds* each connection streams one chat, and the rate covers all of them from first to last byte.
    With it, what arrives later is checked but not counted.

    Raises:
        CallError: If a stream breaks, lacks tokens, or does not end (with ``[DONE]`` when *wants_done*).
    """
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": str(tokens)}]}
    request = post_bytes("/v1/chat/completions", f"{host}:{port}", json.dumps(body).encode())
    client = _Client(host, port, request, tokens, wants_done=wants_done)
    return client.run(connections, seconds, timeout_s)


class _Stream:
    """One connection and the stream that it is reading."""

    __slots__ = ("began", "events", "first", "gap", "last", "sock", "tail", "tokens")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.begin()

    def begin(self) -> None:
        self.began = self.last = time.perf_counter()
        self.first = self.gap = 0.0
        self.tokens = self.events = 0
        self.tail = b""


class _Client:
    def __init__(self, host: str, port: int, request: bytes, tokens: int, *, wants_done: bool) -> None:
        self._address = (host, port)
        self._request = request
        self._wanted = tokens
        self._wants_done = wants_done
        self._open: dict[int, _Stream] = {}
        self._received = 0
        self._rates: list[float] = []
        self._gaps: list[float] = []
        self._firsts: list[float] = []

    def run(self, connections: int, seconds: float | None, timeout_s: float) -> StreamLoad:
        for _ in range(connections):
            sock = socket.create_connection(self._address, timeout=10)
            self._open[sock.fileno()] = _Stream(sock)
        with select.epoll(connections) as epoll:
            began, used = time.perf_counter(), time.process_time()
            try:
                counted, elapsed = self._loop(epoll, seconds, timeout_s)
            finally:
                for open_stream in self._open.values():
                    open_stream.sock.close()
        return StreamLoad(
            tokens=counted,
            seconds=elapsed,
            streams=len(self._rates),
            slowest_rate=min(self._rates),
            median_rate=median(self._rates),
            longest_gap_s=max(self._gaps),
            first_token_s=max(self._firsts),
            client_load=(time.process_time() - used) / (time.perf_counter() - began),
        )

    def _loop(self, epoll: select.epoll, seconds: float | None, timeout_s: float) -> tuple[int, float]:
        """Read until every stream is over; return the tokens of the measured time and that time."""
        began = time.perf_counter()
        for fileno, opened in self._open.items():
            epoll.register(fileno, select.EPOLLIN)
            opened.begin()
            opened.sock.sendall(self._request)
            opened.sock.setblocking(False)
        deadline = None if seconds is None else began + seconds
        counted: tuple[int, float] | None = None
        while self._open:
            now = time.perf_counter()
            if deadline is not None and counted is None and now >= deadline:
                counted = self._received, now - began
            if now > began + timeout_s:
                raise CallError(f"{len(self._open)} streams had not ended after {timeout_s} s")
            for ended in self._read(epoll.poll(0.05)):
                self._check(ended)
                if deadline is not None and time.perf_counter() < deadline:
                    ended.begin()
                    ended.sock.send(self._request)
                else:
                    epoll.unregister(ended.sock)
                    del self._open[ended.sock.fileno()]
                    ended.sock.close()
        return counted or (self._received, time.perf_counter() - began)

    def _read(self, events: list[tuple[int, int]]) -> Iterator[_Stream]:
        """Take in what has arrived; yield the streams that are over."""
        for fileno, _ in events:
            current = self._open[fileno]
            try:
                data = current.sock.recv(_RECV_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise CallError(f"a stream was cut after {current.tokens} tokens: {current.tail[-300:]!r}")
            now = time.perf_counter()
            if not current.tail:
                if not data.startswith(b"HTTP/1.1 200"):
                    raise CallError(f"a stream began with {data[:300]!r}")
                current.first = now - current.began
            current.gap = max(current.gap, now - current.last)
            current.last = now
            seen = current.tail[-_CARRY:] + data
            found = seen.count(TOKEN)
            current.tokens += found
            self._received += found
            current.events += seen.count(EVENT)
            current.tail = (current.tail + data)[-_TAIL_BYTES:] if len(data) < _TAIL_BYTES else data[-_TAIL_BYTES:]
            if current.tail.endswith(b"\r\n0\r\n\r\n"):
                yield current

    def _check(self, ended: _Stream) -> None:
        if ended.tokens != self._wanted or ended.events < ended.tokens:
            got = f"{ended.tokens} tokens in {ended.events} events"
            raise CallError(f"a stream of {self._wanted} tokens had {got}; it ends with {ended.tail[-200:]!r}")
        if self._wants_done and b"data: [DONE]" not in ended.tail:
            raise CallError(f"a stream did not end with [DONE] but with {ended.tail[-200:]!r}")
        self._rates.append(ended.tokens / (ended.last - ended.began))
        self._gaps.append(ended.gap)
        self._firsts.append(ended.first)
