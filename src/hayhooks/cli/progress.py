"""A sign of life on stderr while a command waits."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERVAL_S = 0.1


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show *message* with a turning sign and seconds while the block runs, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_turn, args=(message, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _turn(message: str, done: threading.Event) -> None:
    began = time.monotonic()
    for sign in itertools.cycle("|/-\\"):
        sys.stderr.write(f"\r{sign} {message} ({time.monotonic() - began:.0f} s)\x1b[K")
        sys.stderr.flush()
        if done.wait(INTERVAL_S):
            break
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
