"""What was read and waits for its turn: in order, a little at a time, never too much of it."""

import asyncio
import time
from collections.abc import Callable

import uvloop

from hayhooks.server.backlog import Backlog


async def _empty(backlog: Backlog) -> None:
    while backlog.delay_s():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def _take_into(taken: list[bytes], takes_s: float = 0.0) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        time.sleep(takes_s)
        taken.append(data)

    return take


async def test_what_was_read_is_taken_in_the_order_in_which_it_came() -> None:
    backlog, taken = Backlog(), list[bytes]()
    for number in range(1000):
        backlog.put(_take_into(taken), b"%d" % number)
    assert not taken
    await _empty(backlog)
    assert taken == [b"%d" % number for number in range(1000)]
    assert backlog.delay_s() == 0.0


async def test_everything_else_goes_on_meanwhile() -> None:
    backlog, taken = Backlog(), list[bytes]()
    for _ in range(100):
        backlog.put(_take_into(taken, 0.001), b"x")
    steps = 0
    while backlog.delay_s():
        steps += 1
        await asyncio.sleep(0)
    assert len(taken) == 100
    assert steps >= 20


async def test_it_says_how_long_the_first_has_been_waiting() -> None:
    backlog = Backlog()
    backlog.put(_take_into([]), b"x")
    time.sleep(0.01)  # noqa: ASYNC251 - the loop is behind
    backlog.put(_take_into([]), b"x")
    assert backlog.delay_s() >= 0.01
    await _empty(backlog)


async def test_more_than_may_wait_is_taken_at_once() -> None:
    backlog, taken = Backlog(), list[bytes]()
    for _ in range(20):
        backlog.put(_take_into(taken), bytes(1024 * 1024))
    assert len(taken) == 4
    await _empty(backlog)
    assert len(taken) == 20


def test_only_so_much_is_looked_at_at_once_in_a_round_of_the_loop() -> None:
    async def rounds() -> None:
        backlog = Backlog()
        at_once = sum(backlog.has_time() for _ in range(100))
        assert 0 < at_once < 100
        now = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() == now:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(0)
        assert backlog.has_time()
        backlog.put(_take_into([]), b"x")
        assert not backlog.has_time()  # it would overtake what waits
        await _empty(backlog)

    uvloop.run(rounds())  # whose clock stands still in a round


async def test_what_fails_does_not_hold_up_what_is_behind_it() -> None:
    backlog, taken = Backlog(), list[bytes]()
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))

    def fail(data: bytes) -> None:
        raise ValueError(data.decode())

    backlog.put(fail, b"wrong")
    backlog.put(_take_into(taken), b"right")
    await _empty(backlog)
    assert (taken, failures) == ([b"right"], ["wrong"])
