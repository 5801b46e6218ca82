"""Whether other servers use a state directory, by a lock that the system takes from whoever ends, however it ends."""

import os
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_FILE = "serving.lock"
_LOOK_S = 0.01


class Presence:
    """One server in its state directory, or one worker of it. Making it waits while another finds out what to serve.

    ``is_first`` says that nobody else is there; no one else comes in until ``settle`` is called. Where the file system
    has no locks, every server is the first.
    """

    def __init__(self, state_dir: Path) -> None:
        self._file: int | None = None
        self.is_first = True
        if sys.platform != "win32":
            self._file = os.open(state_dir / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self.is_first = self._is_alone()
            except OSError:
                self.close()

    def settle(self) -> None:
        """Let others come in, who follow what is served."""
        if sys.platform != "win32" and self._file is not None and self.is_first:
            fcntl.flock(self._file, fcntl.LOCK_SH)
        self.is_first = False

    def close(self) -> None:
        """Leave."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _is_alone(self) -> bool:
        assert sys.platform != "win32"
        assert self._file is not None
        while True:
            for how, is_alone in ((fcntl.LOCK_EX, True), (fcntl.LOCK_SH, False)):
                try:
                    fcntl.flock(self._file, how | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                return is_alone
            time.sleep(_LOOK_S)
