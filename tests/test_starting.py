"""What is built at start, and by how many threads."""

import threading
from typing import Any

import pytest

from hayhooks.core.starting import Starting

WAIT_S = 30


async def test_all_are_built_in_order_by_one_thread_when_that_is_quick() -> None:
    threads: set[int] = set()
    built: list[tuple[int, Any, BaseException | None]] = []

    def build(item: int) -> int:
        threads.add(threading.get_ident())
        return item * 2

    await Starting(range(100), build, lambda *of: built.append(of), lambda: False, 4).run()
    assert built == [(item, item * 2, None) for item in range(100)]
    assert len(threads) <= 4  # one, unless the machine stutters


async def test_what_waits_is_built_beside_the_others_and_not_more_at_once_than_allowed() -> None:
    others_are_done, running, most = threading.Event(), 0, 0
    turn = threading.Lock()
    built: list[str] = []

    def build(item: str) -> str:
        nonlocal running, most
        with turn:
            running += 1
            most = max(most, running)
        if item.startswith("slow"):
            assert others_are_done.wait(WAIT_S)
        with turn:
            running -= 1
        return item

    def on_built(item: str, _new: str | None, failure: BaseException | None) -> None:
        assert failure is None
        built.append(item)
        if len(built) == 50:
            others_are_done.set()

    items = ["slow 1", "slow 2", *(str(number) for number in range(50))]
    await Starting(items, build, on_built, lambda: False, 3).run()
    assert sorted(built) == sorted(items)
    assert most <= 3


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3)])
async def test_one_that_fails_is_told_and_the_others_go_on(raised: BaseException) -> None:
    built: dict[int, BaseException | None] = {}

    def build(item: int) -> int:
        if item == 1:
            raise raised
        return item

    await Starting(range(3), build, lambda item, _, failure: built.update({item: failure}), lambda: False, 1).run()
    assert built == {0: None, 1: raised, 2: None}


async def test_nothing_begins_when_it_is_over() -> None:
    built: list[int] = []

    def build(item: int) -> int:
        built.append(item)
        return item

    await Starting(range(10), build, lambda *_: None, lambda: len(built) == 3, 1).run()
    assert built == [0, 1, 2]
