"""Whether the processes that have left something in the state directory still live."""

import os


def is_gone_worker(pid: int) -> bool:
    """Whether the worker of that process id has ended; a new one that got its id is another."""
    return pid == os.getpid() or not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
