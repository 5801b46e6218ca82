"""What a key may use: requests a minute, runs at once."""

from typing import Any

import pytest

from hayhooks.core.errors import QuotaExceeded
from hayhooks.core.principal import ADMIN, CallerLimits, Principal
from hayhooks.core.quotas import Quotas


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def caller(name: str = "ci", **limits: Any) -> Principal:
    return Principal(f"key:{name}", name, "key", frozenset({"run"}), CallerLimits(**limits))


def refusal(quotas: Quotas, of: Principal) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as refused:
        quotas.enter(of)
    return refused.value


def test_no_minute_has_more_requests_than_the_key_may_make(quotas: Quotas, clock: Clock) -> None:
    mine = caller(requests_per_minute=6)
    let_in: list[float] = []
    for _ in range(3000):  # five minutes, asking without mercy
        clock.now_s += 0.1
        try:
            quotas.enter(mine)
        except QuotaExceeded:
            continue
        let_in.append(clock.now_s)
        quotas.leave(mine)
    assert all(later - earlier >= 60 for earlier, later in zip(let_in, let_in[6:], strict=False))
    assert len(let_in) == 30  # and not one less


def test_who_is_over_the_rate_is_told_when_to_come_back(quotas: Quotas, clock: Clock) -> None:
    mine = caller(requests_per_minute=2)
    quotas.enter(mine)
    clock.now_s += 20
    quotas.enter(mine)
    told = refusal(quotas, mine)
    assert told.kind == "busy"
    assert "'ci' may make 2 requests a minute" in str(told)
    assert told.retry_after_s in (40, 41)
    clock.now_s += told.retry_after_s
    quotas.enter(mine)


def test_a_refused_request_is_not_counted(quotas: Quotas, clock: Clock) -> None:
    mine = caller(requests_per_minute=1)
    quotas.enter(mine)
    for _ in range(100):
        refusal(quotas, mine)
    clock.now_s += 61
    quotas.enter(mine)


def test_a_key_has_so_many_runs_at_once_and_each_that_ends_makes_room(quotas: Quotas) -> None:
    mine = caller(max_concurrent_runs=2)
    quotas.enter(mine)
    quotas.enter(mine)
    assert "'ci' may have 2 runs at once" in str(refusal(quotas, mine))
    quotas.leave(mine)
    quotas.enter(mine)
    assert refusal(quotas, mine).retry_after_s == 1
    quotas.leave(mine)
    quotas.leave(mine)
    assert quotas.running == {}


def test_one_key_takes_nothing_from_another(quotas: Quotas) -> None:
    mine, yours = caller("a", requests_per_minute=1, max_concurrent_runs=1), caller("b", requests_per_minute=1)
    quotas.enter(mine)
    refusal(quotas, mine)
    quotas.enter(yours)
    for _ in range(1000):
        quotas.enter(ADMIN)
    assert ADMIN.id not in quotas.running
