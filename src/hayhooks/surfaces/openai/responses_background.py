"""Responses that are made in the background: they go on when their caller leaves, and can be attached to again."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import ADMIN
from hayhooks.core.run import Run
from hayhooks.surfaces.openai.responses_events import events_after
from hayhooks.surfaces.openai.responses_fold import Fold
from hayhooks.surfaces.openai.responses_state import INTERRUPTED, Memory, Turn

_LOOK_S = 0.5  # between looks for what other processes ask us to stop
_LOOKS = 20  # for another process having stopped what it was asked to


class Log:
    """The events of one response so far, for any number of readers at any place."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []  # number of its first event, events
        self._count = 0
        self._news = asyncio.Event()
        self._is_over = False

    def write(self, events: bytes) -> None:
        """Add whole events."""
        if events:
            self._pieces.append((self._count, events))
            self._count += events.count(b"\n\n")
            self._tell()

    def end(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._tell()

    @property
    def all(self) -> bytes:
        """Everything so far."""
        return b"".join(piece for _, piece in self._pieces)

    async def after(self, number: int) -> AsyncIterator[bytes]:
        """The events after that *number*, as they come, to the last."""
        place = 0
        while True:
            news = self._news
            if place < len(self._pieces):
                first = self._pieces[place][0]
                events = b"".join(piece for _, piece in self._pieces[place:])
                place = len(self._pieces)
                yield events if number < first else events_after(events, first, number)
            elif self._is_over:
                return
            else:
                await news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@dataclass(slots=True, eq=False)
class _Running:
    log: Log
    task: asyncio.Task[None]
    is_ending: bool = False  # its run is over, it is being kept


class Background:
    """The background responses of this process, which other processes may ask it to stop. Event loop only."""

    def __init__(
        self,
        memory: Memory,
        answer: Callable[[BaseException], dict[str, Any]],
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        self._memory = memory
        self._answer = answer
        self._on_error = on_error
        self._running: dict[str, _Running] = {}
        self._stopped: set[str] = set()  # by their callers
        self._watcher: asyncio.Task[None] | None = None

    def start(self, turn: Turn, run: Run, fold: Fold) -> Log:
        """Make a response; the log of what it says."""
        log = Log()
        log.write(fold.queue())
        task = asyncio.create_task(self._make(turn, run, fold, log), name=turn.id)
        self._running[turn.id] = _Running(log, task)
        task.add_done_callback(lambda _: self._running.pop(turn.id, None))
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        return log

    def log(self, response_id: str) -> Log | None:
        """The log of a response that is being made here."""
        found = self._running.get(response_id)
        return found.log if found is not None else None

    async def cancel(self, response_id: str) -> None:
        """Stop a response, here or in the process that makes it; returns when it has ended, or will soon."""
        found = self._running.get(response_id)
        if found is not None:
            self._stop(response_id, found)
            await asyncio.wait([found.task])
            return
        held = self._memory.store.of(ADMIN)  # whoever asks was found to hold it
        await self._memory.ask(held.ask_to_cancel, response_id)
        for _ in range(_LOOKS):
            kept = await self._memory.ask(held.get, response_id)
            if kept is None or kept.has_ended:
                return
            await asyncio.sleep(_LOOK_S / 2)

    async def stop(self, wait_s: float) -> None:
        """Let what runs finish for *wait_s* seconds, then stop it."""
        tasks = [running.task for running in self._running.values()]
        if tasks and wait_s:
            await asyncio.wait(tasks, timeout=wait_s)
        for running in self._running.values():
            if not running.is_ending:
                running.task.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            tasks.append(self._watcher)
        if tasks:
            await asyncio.wait(tasks)

    async def _make(self, turn: Turn, run: Run, fold: Fold, log: Log) -> None:
        try:
            async with run:
                log.write(fold.begin())
                self._memory.keep_soon(turn, fold.response, is_new=False)
                async for events in run.batches():
                    log.write(fold.add(events))
            last = fold.end()
        except asyncio.CancelledError:
            last = fold.cancel() if turn.id in self._stopped else fold.fail(INTERRUPTED)
        except Exception as error:
            last = fold.fail(self._answer(error))
            if not isinstance(error, HayhooksError):
                self._on_error(f"Response {turn.id} failed", error)
        self._running[turn.id].is_ending = True
        self._stopped.discard(turn.id)
        await self._memory.keep(turn, fold.response, log.all + last, is_new=False)
        log.write(last)  # only now: whoever reads it may go on from there at once
        log.end()

    def _stop(self, response_id: str, running: "_Running") -> None:
        if not running.is_ending and response_id not in self._stopped:
            self._stopped.add(response_id)
            running.task.cancel()

    async def _watch(self) -> None:
        while self._running:
            await asyncio.sleep(_LOOK_S)
            try:
                for response_id in await self._memory.ask(self._memory.store.asked_to_cancel, os.getpid()):
                    found = self._running.get(response_id)
                    if found is not None:
                        self._stop(response_id, found)
            except OSError as error:
                self._on_error("What other workers ask cannot be read", error)
        self._watcher = None
