"""A stream of a pipeline that runs in a task."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from haystack.dataclasses import StreamingChunk
from loguru import logger

from hayhooks.core.haystack.platform import MAJOR, runs_own_tools
from hayhooks.core.haystack.streaming_external import TaskForwarder
from hayhooks.core.haystack.streaming_handoff import TaskHandoff
from hayhooks.core.haystack.streaming_hooks import ChunkReader, Hooks, StreamItem
from hayhooks.core.haystack.streaming_plan import RunPlan
from hayhooks.core.haystack.streaming_targets import Target

AsyncPut = Callable[[StreamItem], Awaitable[None]]
AsyncEmit = Callable[[str, StreamingChunk], Awaitable[None]]
AsyncExternalQueue = asyncio.Queue[Any]

# Runs that outlive their reader; an event loop by itself does not keep its tasks alive.
_shielded: set[asyncio.Task[None]] = set()


class AsyncPipelineStream(AsyncIterator[StreamItem]):
    """The items of one run of a pipeline, in order.

    Either iterate it, as an asynchronous generator: the pipeline then runs in a task of its own, which starts at
    the first item and is held back when the reader is slow. Or call `drive`. Nothing runs before.

    Closing it, letting go of it, or cancelling the reader cancels the pipeline, unless it is shielded: then it
    runs to its end and what it says is dropped.
    """

    def __init__(
        self, plan: RunPlan, hooks: Hooks, external: AsyncExternalQueue | None = None, *, shield: bool = False
    ) -> None:
        self._handoff = TaskHandoff()
        # The task knows the run and the handoff but not this object, which can so be collected while it runs.
        self._run = _AsyncRun(plan, hooks)
        self._external = external
        self._shield = shield
        self._batch: deque[StreamItem] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_used = False

    @property
    def result(self) -> Any:
        """What the pipeline or agent returned; None until it has."""
        return self._run.result

    @property
    def runs_own_tools(self) -> bool:
        """Whether tool calls are executed inside the run, and so are not the reader's to make."""
        return runs_own_tools(self._run.plan.pipeline)

    async def drive(self, put: AsyncPut) -> None:
        """Run the pipeline and await *put* with every item, in order.

        What *put* raises ends the run and comes out of here; it should be a BaseException that is no Exception,
        which Haystack does not wrap. The pipeline runs in this task, or in one of its own when it is shielded or
        has an external queue.

        Raises:
            RuntimeError: If the stream was read or driven before.
        """
        self._use()
        if self._external is None and not self._shield:
            await self._run.execute(put)
            return
        try:
            self._start()
            while (batch := await self._handoff.take()) is not None:
                for item in batch:
                    await put(item)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel the pipeline and wait until it has ended; leave it running when it is shielded."""
        self._is_used = True
        self._batch.clear()
        _abandon(self._handoff, self._task, self._shield)
        if self._task is not None and not self._shield:
            await asyncio.wait([self._task])

    def __aiter__(self) -> AsyncIterator[StreamItem]:
        return self

    async def __anext__(self) -> StreamItem:
        if self._batch:
            item: StreamItem = self._batch.popleft()
            return item
        if self._task is None and not self._is_used:
            self._use()
            self._start()
        try:
            batch = await self._handoff.take() if self._task is not None else None
        except asyncio.CancelledError:
            _abandon(self._handoff, self._task, self._shield)
            raise
        if batch is None:
            raise StopAsyncIteration
        self._batch = batch
        return self._batch.popleft()

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                # The garbage collector may be in another thread.
                self._task.get_loop().call_soon_threadsafe(_abandon, self._handoff, self._task, self._shield)

    def _use(self) -> None:
        if self._is_used:
            raise RuntimeError("A stream can be read or driven once; make a new one.")
        self._is_used = True

    def _start(self) -> None:
        self._task = asyncio.create_task(_produce(self._run, self._handoff, self._external))
        if self._shield:
            _shielded.add(self._task)
            self._task.add_done_callback(_shielded.discard)


def _abandon(handoff: TaskHandoff, task: asyncio.Task[None] | None, shield: bool) -> None:
    handoff.close()
    if task is not None and not shield:
        task.cancel()


async def _produce(run: "_AsyncRun", handoff: TaskHandoff, external: AsyncExternalQueue | None) -> None:
    """Body of a stream's task."""
    failure: BaseException | None = None
    forwarder = TaskForwarder(external, handoff.put, handoff.put_nowait) if external is not None else None

    async def before_end(*, drain: bool) -> None:
        if forwarder is not None:
            await forwarder.stop(drain=drain)

    try:
        await run.execute(handoff.put, before_end)
    except asyncio.CancelledError as error:
        failure = error
        raise
    except BaseException as error:  # whatever it is, the reader gets it
        failure = error
        if handoff.discards:
            logger.opt(exception=error).error("A pipeline whose reader has left failed.")
    finally:
        handoff.end(failure)


async def _nothing(*, drain: bool) -> None:
    """There is no external queue."""
    del drain


class _AsyncRun:
    """One run of a plan."""

    def __init__(self, plan: RunPlan, hooks: Hooks) -> None:
        self.plan = plan
        self.result: Any = None
        self._hooks = hooks
        self._is_over = False
        self._strays: set[asyncio.Task[Any]] = set()

    async def execute(self, put: AsyncPut, before_end: Callable[..., Awaitable[None]] = _nothing) -> None:
        """Run in this task; *put* gets the items, the last ones after ``before_end(drain=...)``."""
        reader = ChunkReader(self._hooks) if self._hooks.read_chunks else None

        async def emit(component: str, chunk: StreamingChunk) -> None:
            if self._is_over:  # a component that cancelling did not reach
                raise asyncio.CancelledError
            if reader is None:
                await put(chunk)
            else:
                for item in reader.read(component, chunk):
                    await put(item)

        drain = True
        try:
            with self.plan.wired(lambda target: self._callback(target, emit)) as inputs:
                self.result = await self.plan.run_async(inputs)
            for item in reader.finish() if reader else ():
                await put(item)
            last = self._hooks.end_items(self.result)
        except asyncio.CancelledError:
            drain = False
            raise
        finally:
            self._is_over = True
            self._cancel_strays()
            await before_end(drain=drain)
        for item in last:
            await put(item)

    def _cancel_strays(self) -> None:
        """The asynchronous pipeline of Haystack 2 leaves the tasks of its components running when it is cancelled."""
        for task in self._strays:
            if task is not asyncio.current_task():
                task.cancel()
        self._strays.clear()

    def _callback(self, target: Target, emit: AsyncEmit) -> Callable[[StreamingChunk], Any]:
        name = target.name
        own = self.plan.own_callback(target)

        async def callback(chunk: StreamingChunk) -> None:
            await emit(name, chunk)
            if own is not None:
                answer = own(chunk)
                if inspect.isawaitable(answer):
                    await answer

        async def tracked(chunk: StreamingChunk) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._strays.add(task)
            await callback(chunk)

        if target.is_async and target.takes_input:
            return tracked if MAJOR < 3 else callback
        return _bridged(callback, asyncio.get_running_loop(), threading.get_ident())


def _bridged(
    callback: Callable[[StreamingChunk], Awaitable[None]], loop: asyncio.AbstractEventLoop, loop_thread: int
) -> Callable[[StreamingChunk], Any]:
    """*callback* for a component that may call it without awaiting it, in the loop or in a thread.

    A thread waits until its chunk is taken.
    """

    async def deliver(chunk: StreamingChunk) -> None:
        await callback(chunk)

    def bridge(chunk: StreamingChunk) -> Any:
        if threading.get_ident() == loop_thread:
            return loop.create_task(deliver(chunk))  # runs even if it is not awaited
        try:
            return asyncio.run_coroutine_threadsafe(deliver(chunk), loop).result()
        except concurrent.futures.CancelledError:
            # That one is an Exception, which Haystack would wrap.
            raise asyncio.CancelledError from None

    return bridge
