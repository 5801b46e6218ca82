"""One call of a hook under way: in a thread, on the loop, or as a task that streams."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from starlette.responses import Response

from hayhooks.core.context import RunContext, current_context
from hayhooks.core.errors import Overloaded, RunCancelled
from hayhooks.core.events import Raw, Result, Vectors
from hayhooks.engines.bridge import TaskBridge, ThreadBridge
from hayhooks.engines.inline.result import ResultModel
from hayhooks.engines.inline.streams import EventStream, WholeStream, said
from hayhooks.engines.inline.values import Media, is_async_stream, stream_source
from hayhooks.engines.inline.vectors import VectorsModel
from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.threads import Threads

Reply = Result | Raw | EventStream | WholeStream
Tell = Callable[[Any, BaseException | None], None]  # a Reply, or what was raised in its place
Ahead = Callable[[Result], None]


class _Invocation:
    """What all kinds of invocation share: who to tell when no user code runs any more."""

    def __init__(
        self,
        hook: Callable[..., Any],
        arguments: dict[str, Any],
        context: RunContext,
        result: ResultModel | VectorsModel | None,
        threads: Threads,
        mailbox: Mailbox,
        *,
        wants_stream: bool = False,
    ) -> None:
        self.is_finished = False
        # The stream is open before the hook is called, so that what the hook reports has a place.
        self._is_open = wants_stream and result is None
        self._hook = hook
        self._arguments = arguments
        self._context = context
        self._result = result
        self._threads = threads
        self._mailbox = mailbox
        self._callbacks: list[Callable[[], None]] = []

    def on_finished(self, callback: Callable[[], None]) -> None:
        """Call *callback* when no user code of this call runs any more."""
        if self.is_finished:
            callback()
        else:
            self._callbacks.append(callback)

    def _finish(self) -> None:
        self.is_finished = True
        # The user's values must not live as long as whoever still holds this object.
        self._arguments = {}
        for callback in self._callbacks:
            callback()
        self._callbacks.clear()

    def _whole(self, value: Any) -> Result | Raw | WholeStream:
        if self._result is None:
            return Raw(value) if isinstance(value, Response) else WholeStream(value)
        reply = self._result.reply(value)
        return WholeStream(reply) if isinstance(reply, Vectors) else reply


class ThreadInvocation(_Invocation):
    """A sync hook, run to its end in one thread: a stream is produced there too, with no second thread."""

    def __init__(self, *call: Any, wants_stream: bool = False) -> None:
        super().__init__(*call, wants_stream=wants_stream)
        self._submitted_at = 0.0
        self._bridge: ThreadBridge | None = None
        self._opened: EventStream | None = None
        self._tell: Tell | None = None  # who waits for the reply
        self._ahead: Ahead | None = None

    def begin(self, tell: Tell, ahead: Callable[[], Ahead | None]) -> bool:
        """Run the hook, and *tell* its answer, or its stream once it has begun one; False for an open stream."""
        if self._is_open:
            return False
        self._tell = tell
        if self._threads.is_idle:
            self._ahead = ahead()
        self._submit()
        return True

    async def reply(self) -> Reply:
        """Run the hook and return its answer, or its stream once it has begun one."""
        if self._is_open:
            self._opened, self._bridge = self._open("text")
            self._submit()
            return self._opened
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.begin(partial(_settle, future), _nobody)
        try:
            return await future
        except asyncio.CancelledError:
            self._tell = None
            raise
        finally:
            del future  # the traceback of a failure holds this frame

    def _submit(self) -> None:
        self._submitted_at = time.monotonic()
        self._threads.submit(partial(copy_context().run, self._run), self._context.deployment)

    def cancel(self) -> None:
        """Stop the hook at its next chunk or component boundary."""
        self._context.is_cancelled = True
        self._tell = self._ahead = None
        if self._bridge is not None:
            self._bridge.close()

    def _run(self) -> None:
        """The thread's work."""
        current_context.set(self._context)
        reply: Reply | None = None
        failure: BaseException | None = None
        try:
            self._context.raise_if_cancelled()
            max_wait_s = self._threads.max_wait_s
            if max_wait_s is not None and time.monotonic() - self._submitted_at > max_wait_s:
                raise Overloaded("The server is overloaded. Try again later.")
            value = self._hook(**self._arguments)
            found = stream_source(value)
            if found is not None:
                self._stream(*found)
            elif self._bridge is not None:
                self._bridge.put(said(value))
            else:
                reply = self._whole(value)
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a hook may not end the server.
            failure = error
        bridge = self._bridge
        if bridge is not None and not isinstance(failure, _AsyncSource):
            self._context.report = None
            bridge.end(_storable(failure) if failure is not None else None)
            self._mailbox.post(self._ended)
        elif self._ahead is not None and type(reply) is Result and self._threads.has_one_job:
            self._send_ahead(reply)
        else:
            self._mailbox.post(self._ended, (reply, failure))
        del failure  # its traceback holds this frame

    def _send_ahead(self, reply: Result) -> None:
        ahead = self._ahead
        self._mailbox.put(self._ended, (reply, None))  # first: what its caller does next finds the run ended
        try:
            if ahead is not None:  # its caller has not left just now
                ahead(reply)
        except Exception:
            return  # the loop, which is told, tries the same again: there it is raised and logged
        finally:
            self._mailbox.wake()

    def _stream(self, source: Any, media: Media) -> None:
        if is_async_stream(source):
            # A sync hook may hand back an async stream: it runs on the loop, started from there.
            raise _AsyncSource(source, media)
        bridge = self._bridge
        if bridge is None:
            stream, bridge = self._open(media)
            self._bridge = bridge
            self._mailbox.post(self._begun, stream)
        drive = getattr(source, "drive", None)
        if drive is not None:
            drive(bridge.put)
            return
        try:
            bridge.feed(source)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def _open(self, media: Media) -> tuple[EventStream, ThreadBridge]:
        bridge = ThreadBridge(self._mailbox)
        self._context.report = bridge.report
        return EventStream(bridge, media), bridge

    def _begun(self, stream: EventStream) -> None:
        if not self._deliver(stream):  # the caller left between
            self.cancel()

    def _deliver(self, reply: Reply | None, failure: BaseException | None = None) -> bool:
        """Whether somebody waited for it."""
        tell, self._tell, self._ahead = self._tell, None, None
        if tell is not None:
            tell(reply, failure)
        return tell is not None

    def _ended(self, outcome: tuple[Reply | None, BaseException | None] | None) -> None:
        self._threads.done()
        if outcome is not None:
            reply, failure = outcome
            if isinstance(failure, _AsyncSource):
                self._continue_on_loop(failure)
                return
            self._finish()
            self._deliver(reply, failure)
            return
        self._finish()

    def _continue_on_loop(self, found: "_AsyncSource") -> None:
        was_cancelled = self._context.is_cancelled
        producer = _Producer(found.source, found.media, self._context, self._finish)
        self.cancel = producer.cancel  # type: ignore[method-assign]  # from here on it is a task
        if self._opened is not None and self._bridge is not None:
            self._opened.rest = producer.stream
            self._bridge.end()
            if was_cancelled:
                producer.cancel()
            return
        if not self._deliver(producer.stream):
            producer.cancel()


class LoopInvocation(_Invocation):
    """An async hook, run in its caller's task; what it streams is produced by a task of its own.

    When its caller wants a stream from the start, that task awaits the hook, too.
    """

    def __init__(self, *call: Any, wants_stream: bool = False) -> None:
        super().__init__(*call, wants_stream=wants_stream)
        self._inner: _Producer | ThreadInvocation | None = None
        self._has_begun = False

    def begin(self, _tell: Tell, _ahead: Callable[[], Ahead | None]) -> bool:
        """It takes a task."""
        return False

    async def reply(self) -> Reply:
        """Run the hook and return its answer, or its stream once it has begun one."""
        self._has_begun = True
        token = current_context.set(self._context)
        is_over = True
        try:
            value = self._hook(**self._arguments)
            if inspect.isawaitable(value):
                if self._is_open:
                    is_over = False
                    producer = _Producer(value, "text", self._context, self._finish, self._in_thread)
                    self._inner = producer
                    return producer.stream
                value = await value
            found = stream_source(value)
            if found is None:
                return self._whole(value)
            is_over = False
            source, media = found
            if is_async_stream(source):
                self._inner = _Producer(source, media, self._context, self._finish)
                return self._inner.stream
            inner = self._inner = self._in_thread(value)
            inner.on_finished(self._finish)
            return await inner.reply()
        finally:
            current_context.reset(token)
            if is_over:
                self._finish()

    def cancel(self) -> None:
        """Stop the stream; a hook still awaited is stopped by cancelling its caller's task."""
        self._context.is_cancelled = True
        if self._inner is not None:
            self._inner.cancel()
        elif not self._has_begun:
            self._finish()

    def _in_thread(self, value: Any) -> ThreadInvocation:
        """An async hook may hand back a sync generator: its items come from a thread, not from the loop."""
        return ThreadInvocation(
            lambda: value, {}, self._context, self._result, self._threads, self._mailbox, wants_stream=self._is_open
        )


class _AsyncSource(BaseException):
    """A sync hook returned an async stream: carries it from the thread to the loop."""

    def __init__(self, source: Any, media: Media) -> None:
        super().__init__()
        self.source = source
        self.media = media


class _Producer:
    """A task that iterates an async stream into a bridge.

    With *in_thread* the source is a hook that is still to be awaited, and *in_thread* runs what is no async stream.
    """

    def __init__(
        self,
        source: Any,
        media: Media,
        context: RunContext,
        finished: Callable[[], None],
        in_thread: Callable[[Any], ThreadInvocation] | None = None,
    ) -> None:
        self._bridge = TaskBridge()
        self._context = context
        context.report = self._bridge.report
        self._in_thread = in_thread
        self._inner: ThreadInvocation | None = None
        self._finished = finished
        self.stream = EventStream(self._bridge, media)
        self._has_begun = False
        token = current_context.set(context)
        self._task = asyncio.ensure_future(self._produce(source))
        current_context.reset(token)

    def cancel(self) -> None:
        """Cancel the task; the source's own clean-up runs."""
        self._context.is_cancelled = True
        self._bridge.close()
        if self._inner is not None:
            self._inner.cancel()
        if self._has_begun:  # a task cancelled before its first step would never reach its own clean-up
            self._task.cancel()

    async def _produce(self, source: Any) -> None:
        bridge = self._bridge
        failure: BaseException | None = None
        self._has_begun = True
        try:
            self._context.raise_if_cancelled()
            if self._in_thread is not None:
                hook, source = source, None
                source = await self._stream_of(hook, self._in_thread)
            drive = getattr(source, "drive", None)
            if drive is not None:
                await drive(bridge.put)
            elif source is not None:
                await bridge.feed(source)
        except asyncio.CancelledError:
            failure = RunCancelled()
        except BaseException as error:  # SystemExit too: a hook may not end the server
            failure = error
        try:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
            elif inspect.iscoroutine(source):  # cancelled before it was awaited
                source.close()
        except BaseException as error:
            failure = failure or error
        if self._inner is None:
            self._context.report = None
        bridge.end(_storable(failure) if failure is not None else None)
        if self._inner is None:
            self._finished()
        else:
            self._inner.on_finished(self._finished)

    async def _stream_of(self, hook: Awaitable[Any], in_thread: Callable[[Any], ThreadInvocation]) -> Any:
        """Await *hook*: its async stream, or None when what it gave is on its way already."""
        value = await hook
        found = stream_source(value)
        if found is None:
            await self._bridge.put(said(value))
            return None
        source, _ = found
        if is_async_stream(source):
            return source
        self._inner = in_thread(value)
        rest = await self._inner.reply()
        assert isinstance(rest, EventStream)
        self.stream.rest = rest
        return None


def _nobody() -> None:
    return None


def _settle(future: "asyncio.Future[Reply]", reply: Reply, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(_storable(failure))
    else:
        future.set_result(reply)


def _storable(error: BaseException) -> BaseException:
    """*error*, or what stands in its place where it would end a coroutine or a generator of ours in silence."""
    if isinstance(error, (StopIteration, GeneratorExit)):
        replacement = RuntimeError(f"The hook raised {type(error).__name__}.")
        replacement.__cause__ = error
        return replacement
    return error
