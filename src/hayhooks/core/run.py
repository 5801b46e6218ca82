"""A run: one call to a deployment, from its lease to its last event."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any

from hayhooks.core.context import RunContext
from hayhooks.core.deployment import Call, Entry, Invocation, Stream
from hayhooks.core.errors import EntryNotFound, HayhooksError, RunFailed, RunTimeout
from hayhooks.core.events import Event, Raw, Result
from hayhooks.core.files import FileStore
from hayhooks.core.haystack.convert import usage_of
from hayhooks.core.load import Load
from hayhooks.core.registry import Live, Registry

_process = os.urandom(4).hex()
_serial = itertools.count(1)


class Run:
    """``async with runtime.run(...) as run:`` then either ``await run.reply()`` or ``async for event in run``.

    Entering takes a lease on the live version and waits for a slot; leaving stops the user's code when it still
    runs. Lease and slot are given back when that code has really ended: for a thread, that may be later.
    """

    __slots__ = (
        "_call",
        "_files",
        "_invocation",
        "_listener",
        "_live",
        "_load",
        "_name",
        "_registry",
        "_timeout",
        "context",
        "entry",
        "entry_name",
        "via",
    )

    def __init__(
        self,
        registry: Registry,
        name: str,
        entry: str,
        call: Call,
        via: str,
        listener: Callable[["Run", BaseException | None], None] | None = None,
        files: FileStore | None = None,
        load: Load | None = None,
    ) -> None:
        self._registry = registry
        self._load = load or Load()
        self._name = name
        self._call = call
        self._listener = listener
        self._files = files
        self._invocation: Invocation | None = None
        self._timeout: asyncio.Timeout | None = None
        self.entry_name = entry
        self.via = via

    async def __aenter__(self) -> "Run":
        live = self._live = self._registry.lease(self._name)
        try:
            self._load.enter(self._name)
        except BaseException:
            live.release()
            raise
        try:
            deployment = live.deployment
            entry = deployment.entries.get(self.entry_name)
            if entry is None:
                raise EntryNotFound(self._name, self.entry_name)
            self.entry: Entry = entry
            self.context = RunContext(
                f"{_process}{next(_serial):08x}", deployment.name, deployment.version, self.entry_name, self.via,
                self._call.session, self._call.headers, self._files, self._call.caller,
            )  # fmt: skip
            limits = deployment.limits
            if limits.run_timeout_s is not None:
                # Waiting for a slot counts: to the caller it is the same wait.
                self._timeout = asyncio.timeout(limits.run_timeout_s)
                await self._timeout.__aenter__()
            try:
                await live.acquire_slot()
            except BaseException as error:
                await self._leave_timeout(type(error), error, error.__traceback__)
                raise
        except BaseException:
            self._load.leave()
            live.release()
            raise
        return self

    @property
    def live(self) -> Live:
        """The version this run began with."""
        return self._live

    async def reply(self) -> Result | Raw | Stream:
        """Run the hook: its answer, or the stream of it as soon as the hook has begun one.

        Raises:
            InvalidRequest: The call does not fit the entry.
            RunFailed: The user's code raised; what it raised is the cause.
        """
        call, self._call = self._call, Call()  # its body is not needed again, and the run may be long
        try:
            # Validators are the user's code as well.
            invocation = self._live.deployment.worker.invoke(self.entry_name, call, self.context)
            del call
            self._invocation = invocation
            return await invocation.reply()
        except HayhooksError:
            raise
        except asyncio.CancelledError as error:
            self._raise_if_ours(error)
            raise RunFailed(self._name) from error
        except BaseException as error:  # SystemExit too: a hook may not end the server
            raise RunFailed(self._name) from error

    async def batches(self) -> AsyncIterator[list[Event]]:
        """All events of the run in order, several at a time when they come fast; at the end the usage, if known."""
        reply = await self.reply()
        if isinstance(reply, (Result, Raw)):
            yield [reply]
        else:
            async for events in self.stream(reply):
                yield events
        usage = usage_of(self.context.usage) if self.context.usage else None
        if usage is not None:
            yield [usage]

    async def stream(self, stream: Stream) -> AsyncIterator[list[Event]]:
        """The events of a streaming reply. Raises as ``reply``."""
        try:
            async for events in stream.batches():
                yield events
        except (HayhooksError, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            self._raise_if_ours(error)
            raise RunFailed(self._name) from error
        except BaseException as error:  # SystemExit too: a hook may not end the server
            raise RunFailed(self._name) from error

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for events in self.batches():
            for event in events:
                yield event

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        invocation = self._invocation
        if invocation is not None and not invocation.is_finished:
            invocation.cancel()
            invocation.on_finished(self._release)
        else:
            self._release()
        if self._listener is not None:
            self._listener(self, error)
        await self._leave_timeout(kind, error, trace)

    def _release(self) -> None:
        self._load.leave()
        self._live.release_slot()
        self._live.release()

    async def _leave_timeout(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timeout is None:
            return
        timeout, self._timeout = self._timeout, None
        limit_s: Any = self._live.deployment.limits.run_timeout_s
        try:
            await timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise RunTimeout(self._name, limit_s) from None

    def _raise_if_ours(self, error: asyncio.CancelledError) -> None:
        """Let a cancellation of this task pass; one that the user's code raised of itself is a failure."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
