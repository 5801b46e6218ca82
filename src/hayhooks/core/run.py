"""A run: one call to a deployment, from its lease to its last event."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any

from hayhooks.core.context import RunContext, Session
from hayhooks.core.deployment import Call, Entry, Invocation, Stream
from hayhooks.core.errors import EntryNotFound, HayhooksError, RunFailed, RunTimeout, ServerStopping
from hayhooks.core.events import Event, Raw, Result
from hayhooks.core.files import FileStore
from hayhooks.core.haystack.convert import usage_of
from hayhooks.core.load import Load
from hayhooks.core.principal import Principal
from hayhooks.core.quotas import Quotas
from hayhooks.core.registry import Live, Registry

Outcome = tuple[Result | Raw | Stream | None, BaseException | None]  # a reply, or what was raised in its place

_process = os.urandom(4).hex()
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """What a runtime lends to each of its runs."""

    registry: Registry
    choose: Callable[[str, Principal, Session], Live]  # raises for who may not call
    load: Load
    quotas: Quotas | None = None
    files: FileStore | None = None
    on_end: Callable[["Run", BaseException | None], None] | None = None  # told of every run that took a lease


class Run:
    """``async with runtime.run(...) as run:`` then either ``await run.reply()`` or ``async for event in run``.

    Entering takes a lease on the live version, or on the *chosen* one while it serves, and waits for a slot; leaving
    stops the user's code when it still runs. Lease and slot are given back when that code has really ended: for a
    thread, that may be later.

    Where nothing has to be waited for, a run needs no task: ``begin``, ``call`` and ``leave`` do the same at once.
    What they cannot do goes on as above, with a run that has begun.
    """

    __slots__ = (
        "_call",
        "_chosen",
        "_counted",
        "_grounds",
        "_invocation",
        "_live",
        "_name",
        "_outcome",
        "_timeout",
        "began_s",
        "context",
        "entry",
        "entry_name",
        "is_streamed",
        "queued_s",
        "via",
    )

    def __init__(
        self, grounds: Grounds, name: str, entry: str, call: Call, via: str, chosen: Live | None = None
    ) -> None:
        self._grounds = grounds
        self._chosen = chosen
        self._name = name
        self._call = call
        self._counted: Principal | None = None  # the caller whose quota this run uses
        self._invocation: Invocation | None = None
        self._outcome: Outcome | None = None  # of what was begun without a task
        self._timeout: asyncio.Timeout | None = None
        self.entry_name = entry
        self.via = via
        self.is_streamed = False  # its caller gets the answer as a stream
        self.queued_s: float | None = None  # waited for a slot; None when it never got one

    def begin(self, stop: Callable[[], object]) -> bool:
        """Enter the *chosen* version at once; False, and nothing has happened, where that may take a while.

        *stop* is called when the server stops and has waited long enough: it has to ``leave``. Raises as entering.
        """
        live = self._chosen
        if live is None or live.is_retired or live.deployment.limits.run_timeout_s is not None or not live.has_room:
            return False
        self._take_lease(stop)
        try:
            self._grounds.load.enter(self._name)
        except HayhooksError as error:
            live.release()
            self._leave_quota()
            self._tell(error)
            raise
        live.running += 1
        self.queued_s = 0.0
        return True

    def call(self, done: Callable[[Result | None], None], ahead: Callable[[], Callable[[Result], None] | None]) -> bool:
        """Begin the hook of a run that has begun, and call *done* later, on the event loop, with its answer.

        None is as of ``result``. *ahead* is as for ``Invocation.begin``. False: *done* will not be called, ``result``
        is to be awaited.
        """

        def tell(reply: Result | Raw | Stream | None, failure: BaseException | None) -> None:
            if type(reply) is Result:
                done(reply)
            else:
                self._outcome = (reply, failure)
                done(None)

        try:
            return self._invoke().begin(tell, ahead)
        except BaseException as error:  # SystemExit too: validators are the user's code
            self._outcome = (None, error)
            return False

    def leave(self, error: BaseException | None = None) -> BaseException | None:
        """Leave a run that has begun and was not entered; what its caller is to be told."""
        self._give_back()
        return self._tell(error)

    async def __aenter__(self) -> "Run":
        grounds = self._grounds
        if self.queued_s is not None:  # it has begun
            grounds.registry.door.enter(self)
            return self
        self._take_lease()
        live = self._live
        is_counted = False
        try:
            grounds.load.enter(self._name)
            is_counted = True
            limits = live.deployment.limits
            if limits.run_timeout_s is not None:
                # Waiting for a slot counts: to the caller it is the same wait.
                self._timeout = asyncio.timeout(limits.run_timeout_s)
                await self._timeout.__aenter__()
            await live.acquire_slot()
        except BaseException as error:
            if is_counted:
                grounds.load.leave()
            live.release()
            self._leave_quota()
            await self._end(error)
            raise
        self.queued_s = perf_counter() - self.began_s
        return self

    def _take_lease(self, stop: Callable[[], object] | None = None) -> None:
        grounds = self._grounds
        caller = self._call.caller
        if caller.limits is not None and grounds.quotas is not None:
            grounds.quotas.enter(caller)
            self._counted = caller
        try:
            chosen = self._chosen
            if chosen is None or chosen.is_retired:
                chosen = grounds.choose(self._name, caller, self._call.session)
            live = self._live = grounds.registry.lease(self._name, self._call.session, chosen)
        except BaseException:
            self._leave_quota()
            raise
        deployment = live.deployment
        entry = deployment.entries.get(self.entry_name)
        if entry is None:
            live.release()
            self._leave_quota()
            raise EntryNotFound(self._name, self.entry_name)
        self.entry: Entry = entry
        call = self._call
        self.context = RunContext(
            f"{_process}{next(_serial):08x}", deployment.name, deployment.version, self.entry_name, self.via,
            call.session, call.headers, grounds.files, call.caller, call.trace,
        )  # fmt: skip
        self.began_s = perf_counter()
        grounds.registry.door.enter(self, stop)

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
        try:
            if self._outcome is None:
                # Validators are the user's code as well.
                return await (self._invocation or self._invoke()).reply()
            (reply, failure), self._outcome = self._outcome, None
            if failure is None:
                assert reply is not None
                return reply
            try:
                raise failure
            finally:
                del failure  # it holds this frame
        except HayhooksError:
            raise
        except asyncio.CancelledError as error:
            self._raise_if_ours(error)
            raise RunFailed(self._name) from error
        except BaseException as error:  # SystemExit too: a hook may not end the server
            raise RunFailed(self._name) from error

    async def result(self) -> Result | None:
        """As ``reply``; None where it is more than a result: enter the run that has begun, and ask for its reply."""
        reply = await self.reply()
        if type(reply) is Result:
            return reply
        self._outcome = (reply, None)
        return None

    def _invoke(self) -> Invocation:
        call, self._call = self._call, Call()  # its body is not needed again, and the run may be long
        self._invocation = self._live.deployment.worker.invoke(self.entry_name, call, self.context)
        return self._invocation

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
        self._give_back()
        await self._end(error)

    def _give_back(self) -> None:
        """Give back what entering took; when the user's code still runs, stop it and wait for its end."""
        invocation = self._invocation
        if invocation is not None and not invocation.is_finished:
            invocation.cancel()
            invocation.on_finished(self._release)
        else:
            self._release()

    def _release(self) -> None:
        self._grounds.load.leave()
        self._live.release_slot()
        self._live.release()
        self._leave_quota()

    def _leave_quota(self) -> None:
        if self._counted is not None and self._grounds.quotas is not None:
            self._grounds.quotas.leave(self._counted)
            self._counted = None

    async def _end(self, error: BaseException | None) -> None:
        """Tell the listener how it ended; raise what the caller hears in the place of *error*, when that differs."""
        told = error
        try:
            if self._timeout is not None:
                told = await self._leave_timeout(error)
        finally:
            told = self._tell(told)
        if told is not error and told is not None:
            raise told from None

    def _tell(self, error: BaseException | None) -> BaseException | None:
        """Tell the listener how it ended; what the caller hears."""
        door, listener = self._grounds.registry.door, self._grounds.on_end
        door.leave(self)
        told = error
        try:
            if told is not None:
                if isinstance(told, asyncio.CancelledError) and door.is_cleared:
                    told = ServerStopping()
                if isinstance(told, HayhooksError):
                    told.request_id = self.context.request_id
            if self._live.trial is not None and self.queued_s is not None:
                self._live.trial.note(self._live, told)
        finally:
            if listener is not None:
                listener(self, told)
        return told

    async def _leave_timeout(self, error: BaseException | None) -> BaseException | None:
        """What ended the run, which may have been its time-out."""
        limit, self._timeout = self._timeout, None
        if limit is None:
            return error
        limit_s: Any = self._live.deployment.limits.run_timeout_s
        try:
            await limit.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except TimeoutError:
            return RunTimeout(self._name, limit_s)
        return error

    def _raise_if_ours(self, error: asyncio.CancelledError) -> None:
        """Let a cancellation of this task pass; one that the user's code raised of itself is a failure."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
