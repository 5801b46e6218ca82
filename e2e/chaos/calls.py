"""Calls over raw connections, each answer checked against what may be live."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from e2e.chaos.truth import Truth, Version

NAME = "a"
_CALL_S = 60.0
_PAUSE_S = 0.02  # between the calls of one client: the server is to be interrupted, not overloaded


class Broken(Exception):
    """The connection ended before the answer did.

    ``was_accepted`` says whether it was established, ``is_reused`` whether it had carried calls before.
    """

    def __init__(self, why: BaseException, *, was_accepted: bool, is_reused: bool) -> None:
        super().__init__(f"{type(why).__name__}: {why} ({'reused' if is_reused else 'new'} connection)")
        self.was_accepted = was_accepted


@dataclass
class Tally:
    """What came of the calls."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


class Connection:
    """One connection to the server, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, name: str, *, keeps: bool = True) -> tuple[int, bytes]:
        """Status and body of ``POST /{name}/run``. Raises Broken."""
        head = (
            f"POST /{name}/run HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        )
        was_accepted = is_reused = self._streams is not None
        try:
            async with asyncio.timeout(_CALL_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                    was_accepted = True
                reader, writer = self._streams
                writer.write(f"{head}{'' if keeps else 'connection: close' + chr(13) + chr(10)}\r\n{{}}".encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                status = int(answer[9:12])
                lengths = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(lengths[0][15:]))
                is_closed = b"connection: close" in answer.lower()
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Broken(error, was_accepted=was_accepted, is_reused=is_reused) from error
        if not keeps or is_closed:
            self.close()
        return status, body

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def checked_call(connection: Connection, truth: Truth, tally: Tally, *, keeps: bool) -> Version:
    """One call, noted in *tally*. Raises Broken."""
    begun_s = time.monotonic()
    status, body = await connection.run(NAME, keeps=keeps)
    ended_s = time.monotonic()
    tally.counts[str(status)] += 1
    if status == 200:
        version: Version = int(json.loads(body)["result"].split()[0])
    elif status == 404:
        version = None
    else:
        tally.wrong.append(f"{status}: {body[:200]!r}")
        return None
    if not truth.allows(version, begun_s, ended_s):
        tally.wrong.append(f"version {version} where {sorted(map(str, truth.now()))} may be live")
    return version


@asynccontextmanager
async def calling(port: int, truth: Truth, chance: random.Random, clients: int = 6) -> AsyncIterator[Tally]:
    """Call all the time, inside the block; half of the calls on new connections."""
    tally = Tally()
    is_over = asyncio.Event()

    async def call() -> None:
        connection = Connection(port)
        while not is_over.is_set():
            try:
                await checked_call(connection, truth, tally, keeps=chance.random() < 0.5)
            except Broken as broken:
                tally.counts["broken" if broken.was_accepted else "not accepted"] += 1
                tally.broken.append(broken)
            await asyncio.sleep(chance.uniform(0.0, 2 * _PAUSE_S))
        connection.close()

    tasks = [asyncio.ensure_future(call()) for _ in range(clients)]
    try:
        yield tally
    finally:
        is_over.set()
        await asyncio.gather(*tasks)


async def seen(port: int, truth: Truth, calls: int, connections: int = 50) -> set[Version]:
    """What that many calls, spread over connections, see."""
    found: set[Version] = set()
    tally = Tally()

    async def some(count: int) -> None:
        connection = Connection(port)
        for _ in range(count):
            found.add(await checked_call(connection, truth, tally, keeps=True))
        connection.close()

    connections = min(connections, calls)
    await asyncio.gather(*(some(calls // connections) for _ in range(connections)))
    if tally.wrong:
        raise AssertionError(f"wrong answers: {tally.wrong[:3]}")
    return found
