"""Load that does not wait for answers: requests leave when they are due, however the server is doing.

Callers of a network come on their own; a client that waits for each answer before it asks again slows down with the
server and hides how long others would have waited. So latency counts from the moment at which a request was due.
"""

import math
import random
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.http import post_bytes

REFUSALS = (429, 503)
_POOL_S = 1.0
_PATIENCE_S = 15.0  # for the last answers


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """What was offered, and what became of it."""

    offered: int
    seconds: float
    statuses: Counter[int]  # 0: the connection broke
    latencies_s: list[float]  # of answers with 200
    refusals_s: list[float]  # of the others
    late_s: float  # how late this client was to send, at the 99th percentile: it must be small
    client_load: float = 0.0  # processor time of this client per second; near 1 it measured itself
    unsent: int = 0  # all connections that this client may have were waiting for answers
    sampled: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Answers with 200."""
        return self.statuses[200]

    @property
    def refused(self) -> int:
        """Answers that ask to come back later."""
        return sum(self.statuses[status] for status in REFUSALS)

    @property
    def others(self) -> dict[int, int]:
        """Answers that should not have come."""
        return {status: count for status, count in self.statuses.items() if status not in (0, 200, *REFUSALS)}


def percentile_ms(values_s: list[float], share: float) -> float:
    """That percentile in milliseconds; 0 when there are no values."""
    if not values_s:
        return 0.0
    ordered = sorted(values_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def offer(
    host: str,
    port: int,
    path: str,
    body: bytes,
    rate: float,
    seconds: float,
    *,
    max_connections: int = 4000,
    sample: Callable[[], float] | None = None,
) -> OpenLoad:
    """Post *body* *rate* times per second, at random moments (Poisson), each on a connection that is idle.

    Callers keep connections, as SDKs and proxies do: a second's worth of them is open before the first request.
    *sample* is called once a second. What would need more than *max_connections* is offered and not sent.
    """
    return _Offer(host, port, path, body, max_connections).run(rate, seconds, sample)


class _Call:
    __slots__ = ("due", "is_connected", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.due = 0.0
        self.received = b""
        self.is_connected = False


class _Offer:
    def __init__(self, host: str, port: int, path: str, body: bytes, max_connections: int) -> None:
        self._address = (host, port)
        self._request = post_bytes(path, f"{host}:{port}", body)
        self._max = max_connections
        self._idle: deque[_Call] = deque()
        self._all: dict[int, _Call] = {}
        self._busy = 0
        self._unsent = 0
        self._statuses: Counter[int] = Counter()
        self._accepted: list[float] = []
        self._refused: list[float] = []
        self._late: list[float] = []

    def run(self, rate: float, seconds: float, sample: Callable[[], float] | None) -> OpenLoad:
        self._open(min(self._max, math.ceil(rate * _POOL_S)))
        chance = random.Random(4)
        sampled: list[float] = []
        offered = 0
        began, used = time.perf_counter(), time.process_time()
        due, sample_at = began, began + 1
        end = began + seconds
        with select.epoll() as epoll:
            for call in self._all.values():
                epoll.register(call.sock, select.EPOLLIN)
            try:
                while True:
                    now = time.perf_counter()
                    while due <= now and due < end:
                        self._late.append(now - due)
                        self._send(epoll, due)
                        offered += 1
                        due += chance.expovariate(rate)
                    if sample is not None and now >= sample_at:
                        sampled.append(sample())
                        sample_at += 1
                    if due >= end and (not self._busy or now > end + _PATIENCE_S):
                        break
                    wait = max(0.0, due - now) if due < end else 0.05
                    for fileno, _ in epoll.poll(min(wait, 0.05), 512):
                        call = self._all[fileno]
                        if call.is_connected:
                            self._read(epoll, call)
                        else:
                            self._begin(epoll, call)
            finally:
                for call in self._all.values():
                    call.sock.close()
        self._statuses[0] += self._busy
        passed = time.perf_counter() - began
        return OpenLoad(
            offered, seconds, +self._statuses, self._accepted, self._refused,
            percentile_ms(self._late, 0.99) / 1000, (time.process_time() - used) / passed, self._unsent, sampled,
        )  # fmt: skip

    def _send(self, epoll: select.epoll, due: float) -> None:
        if self._idle:
            call = self._idle.pop()
        else:
            if len(self._all) >= self._max:
                self._unsent += 1
                return
            call = self._connect(epoll)
        call.due = due
        self._busy += 1
        if not call.is_connected:
            return
        try:
            call.sock.send(self._request)
        except OSError:
            self._drop(epoll, call)

    def _open(self, count: int) -> None:
        for _ in range(count):
            sock = socket.create_connection(self._address, timeout=_PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            call = self._all[sock.fileno()] = _Call(sock)
            call.is_connected = True
            self._idle.append(call)

    def _connect(self, epoll: select.epoll) -> _Call:
        """A connection on its way: a server that is slow to accept must not hold up the others."""
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        sock.connect_ex(self._address)
        call = self._all[sock.fileno()] = _Call(sock)
        epoll.register(sock, select.EPOLLOUT)
        return call

    def _begin(self, epoll: select.epoll, call: _Call) -> None:
        try:
            call.sock.send(self._request)
        except OSError:
            self._drop(epoll, call)
            return
        call.is_connected = True
        epoll.modify(call.sock, select.EPOLLIN)

    def _read(self, epoll: select.epoll, call: _Call) -> None:
        try:
            data = call.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(epoll, call)
            return
        received = call.received = call.received + data
        head, separator, body = received.partition(b"\r\n\r\n")
        if not separator:
            return
        place = head.lower().find(b"content-length: ")
        if place < 0 or len(body) < int(head[place + 16 :].split(b"\r\n", 1)[0]):
            return
        status = int(head[9:12])
        took = time.perf_counter() - call.due
        (self._accepted if status == 200 else self._refused).append(took)
        self._statuses[status] += 1
        self._busy -= 1
        call.received = b""
        self._idle.append(call)

    def _drop(self, epoll: select.epoll, call: _Call) -> None:
        epoll.unregister(call.sock)
        del self._all[call.sock.fileno()]
        call.sock.close()
        if call in self._idle:
            self._idle.remove(call)
            return
        self._busy -= 1
        self._statuses[0] += 1
