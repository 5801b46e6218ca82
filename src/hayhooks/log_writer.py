"""Writing lines of a log in order, in batches where there are many, and without the event loop waiting for readers."""

import asyncio
import atexit
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

_BATCH_S = 0.02
_OVERDUE_S = 1.0
_MOST_WAITING = 10_000
# Several processes may share the stream: what is written at once stays whole up to this (POSIX, PIPE_BUF); and a pipe
# that can be written to has room for so much (Linux, pipe(7)). A terminal may not.
_PIECE_BYTES = 4096


class LineWriter:
    """Writes to *stream*, at once or soon, always in the order of the calls. Thread-safe.

    What waits is written after 20 ms, before anything that is written at once, and when Python ends. Who runs an event
    loop has it written there as long as the stream takes it: a thread that asked for the interpreter lock fifty times a
    second cost a busy loop a quarter of its pace. What the stream does not take, and what waits elsewhere, a thread
    writes.

    Nobody waits for the lock in order to write: what the garbage collector ends may log at any moment, also in the
    midst of writing. Who holds the lock looks again for what has come meanwhile.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str | Callable[[], str]] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_awake = False
        self._due_at = 0.0  # seconds of the monotonic clock: later, who was to write does not
        self._thread: threading.Thread | None = None
        self._room = _Room.of(stream)
        atexit.register(self.flush)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def write(self, text: str) -> None:
        """Write *text* now, and before it all that waits; whoever is writing at this moment does it."""
        self._lines.append(text)
        self._drain()
        if len(self._lines) > _MOST_WAITING:
            self.flush()

    def write_soon(self, line: str | Callable[[], str]) -> None:
        """Write *line* soon; now when too much waits already, so that a stream that is stuck costs no memory.

        What makes a line is called then: of many in a row each costs half of what it costs between other things.
        """
        self._lines.append(line)
        now = time.monotonic()
        if not self._is_awake:
            self._is_awake = True
            self._due_at = now + _OVERDUE_S
            self._wake_up()
        elif now > self._due_at:  # its event loop has ended, or is held up
            self._due_at = now + _OVERDUE_S
            self._wake_thread()
        if len(self._lines) > _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write all that waits. For the last moment, too: it does not wait long for another thread."""
        if self._lock.acquire(timeout=1):
            try:
                self._write_waiting()
            finally:
                self._lock.release()
            self._drain()

    def _drain(self) -> None:
        while self._lines and self._lock.acquire(blocking=False):
            try:
                self._write_waiting()
            finally:
                self._lock.release()

    def _begin_anew(self) -> None:
        """In a child of this process, which has no other thread; what waits is its parent's."""
        self._lines.clear()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread, self._is_awake = None, False

    def _wake_up(self) -> None:
        if self._room is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                pass
            else:
                loop.call_later(_BATCH_S, self._flush_here, self._room)
                return
        self._wake_thread()

    def _wake_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="hayhooks-log", daemon=True)
            thread.start()
            self._thread = thread
        self._wake.set()

    def _flush_here(self, room: "_Room") -> None:
        """Write what can be written without waiting for anybody; the rest is the thread's."""
        self._is_awake = False  # before reading: what comes in between wakes us once more
        has_room = False
        if self._lock.acquire(blocking=False):
            try:
                has_room = self._write_waiting(room)
            finally:
                self._lock.release()
        if self._lines and not self._is_awake:
            self._is_awake = True
            self._due_at = time.monotonic() + _OVERDUE_S
            if has_room:  # calls that came meanwhile are not kept waiting for a whole batch
                asyncio.get_running_loop().call_soon(self._flush_here, room)
            else:
                self._wake_thread()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_BATCH_S)
            self._wake.clear()
            self._is_awake = False
            self._drain()

    def _write_waiting(self, room: "_Room | None" = None) -> bool:
        """Write what waits; with *room* one piece of it, and only if there is some. Whether there was."""
        lines = self._lines
        piece: list[str] = []
        size = 0
        for _ in range(len(lines)):
            line = lines.popleft()
            if not isinstance(line, str):
                try:
                    line = line()
                except Exception as error:  # the lines before and after it are to be written all the same
                    line = f"A line of the log could not be made: {error!r}\n"
            line_bytes = _size(line)
            if piece and size + line_bytes > _PIECE_BYTES:
                self._put("".join(piece))
                piece, size = [], 0
                if room is not None:
                    lines.appendleft(line)
                    return True
            if not piece and room is not None and (line_bytes > _PIECE_BYTES or not room.is_there()):
                lines.appendleft(line)
                return False
            piece.append(line)
            size += line_bytes
        if piece:
            self._put("".join(piece))
        return True

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, unread, or in use by who was interrupted for the end
            return


class _Room:
    """Whether a file descriptor takes a piece without making its writer wait."""

    def __init__(self, poll: "select.poll") -> None:
        self._poll = poll

    @classmethod
    def of(cls, stream: TextIO) -> "_Room | None":
        """That of *stream*; None when there is no way to know."""
        if not hasattr(select, "poll"):
            return None
        poll = select.poll()
        try:
            if stream.isatty():
                return None
            poll.register(stream.fileno(), select.POLLOUT)
        except (OSError, ValueError, AttributeError):  # no file of the operating system's
            return None
        return cls(poll)

    def is_there(self) -> bool:
        """Whether there is."""
        try:
            found = self._poll.poll(0)
        except OSError:
            return False
        return any(event & select.POLLOUT for _, event in found)


def _size(line: str) -> int:
    """Bytes."""
    return len(line) if line.isascii() else len(line.encode("utf-8", "backslashreplace"))
