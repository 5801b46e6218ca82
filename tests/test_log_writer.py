"""The log's writer: order, whole lines, and nobody who waits for a reader."""

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from typing import TextIO

import pytest

from hayhooks.log_writer import LineWriter
from tests.support.gates import WAIT_S


def test_lines_keep_their_order_and_nothing_waits_for_ever() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    for number in range(30_000):
        (writer.write if number % 97 == 0 else writer.write_soon)(f"{number}\n")
    writer.flush()
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(30_000))


def test_what_is_written_at_once_is_whole_lines_that_other_processes_cannot_cut() -> None:
    class Pieces(io.StringIO):
        written: list[str]

        def write(self, text: str) -> int:
            self.written.append(text)
            return len(text)

    stream = Pieces()
    stream.written = []
    writer = LineWriter(stream)
    lines = [f"{number} {'é' * (number % 500)}\n" for number in range(2000)]
    for line in lines:
        writer.write_soon(line)
    writer.flush()
    assert "".join(stream.written) == "".join(lines)
    assert all(piece.endswith("\n") and len(piece.encode()) <= 4096 for piece in stream.written)
    assert len(stream.written) < len(lines)


@contextmanager
def pipe() -> Iterator[tuple[FileIO, TextIO]]:
    reading, writing = os.pipe()
    with FileIO(reading) as reader, os.fdopen(writing, "w") as stream:
        yield reader, stream


def log_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hayhooks-log"]


async def test_an_event_loop_writes_by_itself_what_the_stream_takes() -> None:
    with pipe() as (reader, stream):
        before = log_threads()
        writer = LineWriter(stream)
        for number in range(100):
            writer.write_soon(partial("{}\n".format, number))
        got = b""
        while got.count(b"\n") < 100:
            async with asyncio.timeout(WAIT_S):
                got += await asyncio.to_thread(reader.read, 65536)
        assert got == b"".join(b"%d\n" % number for number in range(100))
        assert log_threads() == before


async def test_an_event_loop_does_not_wait_for_a_reader_who_has_stopped() -> None:
    lines = [f"{number} {'x' * 1000}\n" for number in range(1000)]
    with pipe() as (reader, stream):
        writer = LineWriter(stream)
        writer.write_soon("y" * 5000 + "\n")  # longer than what surely has room
        for line in lines:
            writer.write_soon(line)
        goes_on = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, goes_on.set)  # after the batch, which the pipe does not hold
        await goes_on.wait()
        async with asyncio.timeout(WAIT_S):
            expected = "y" * 5000 + "\n" + "".join(lines)
            got = b""
            while len(got) < len(expected):
                got += await asyncio.to_thread(reader.read, 65536)
        assert got.decode() == expected


def test_what_logs_in_the_midst_of_writing_is_heard() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)

    def line() -> str:  # as a finalizer may, whenever memory is collected
        writer.write("within\n")
        return "line\n"

    writer.write_soon(line)
    writer.flush()
    assert stream.getvalue() == "line\nwithin\n"


def test_an_event_loop_that_has_ended_silences_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hayhooks.log_writer._OVERDUE_S", 0.0)
    with pipe() as (reader, stream):
        writer = LineWriter(stream)

        async def log() -> None:
            writer.write_soon("first\n")

        asyncio.run(log())
        writer.write_soon("second\n")
        assert reader.read(100) == b"first\nsecond\n"


def test_a_line_that_cannot_be_made_costs_no_other() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    writer.write_soon("before\n")
    writer.write_soon(partial("{missing}".format))
    writer.write_soon("after\n")
    writer.flush()
    before, broken, after = stream.getvalue().splitlines()
    assert (before, after) == ("before", "after")
    assert "KeyError" in broken


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_forked_child_does_not_repeat_what_waits() -> None:
    with pipe() as (reader, stream):
        writer = LineWriter(stream)
        writer.write_soon("parent\n")
        child = os.fork()
        if not child:
            writer.write("child\n")
            os._exit(0)
        os.waitpid(child, 0)
        writer.flush()
        assert reader.read(100) == b"child\nparent\n"
