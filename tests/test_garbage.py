"""How often the garbage collector looks at everything while a server runs."""

import gc
from collections.abc import Iterator

import pytest

from hayhooks.server.garbage import collecting_rarely


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_old_is_looked_at_seldom_until_the_end() -> None:
    gc.set_threshold(700, 10, 10)
    with collecting_rarely():
        assert gc.get_threshold() == (700, 50, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_thresholds_that_were_chosen_stay() -> None:
    gc.set_threshold(5_000, 20, 10)
    with collecting_rarely():
        assert gc.get_threshold() == (5_000, 20, 10)
