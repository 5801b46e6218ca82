"""The garbage collector of a process that serves: what is looked at, and how often."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_DEFAULT = 10  # collections of the youngest, then the next are looked at as well; of all CPythons
_RARELY = 50


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Leave out what is there already, and look seldom at what has become old, until the block ends.

    The libraries live as long as the process: out of sight, freeing a retired version is quick. Calls under way outlive
    collections of the young; the more of them count as old, the oftener everything is looked at and held up meanwhile,
    150 ms with two thousand streams. Thresholds that somebody has chosen stay.
    """
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    if before[1] == _DEFAULT:
        gc.set_threshold(before[0], _RARELY, *before[2:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
