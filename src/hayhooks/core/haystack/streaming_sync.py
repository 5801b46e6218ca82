"""A stream of a pipeline that runs in a thread."""

import contextvars
import inspect
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from haystack.dataclasses import StreamingChunk

from hayhooks.core.context import current_context
from hayhooks.core.haystack.platform import runs_own_tools
from hayhooks.core.haystack.streaming_external import ThreadForwarder
from hayhooks.core.haystack.streaming_handoff import ThreadHandoff
from hayhooks.core.haystack.streaming_hooks import ChunkReader, Hooks, StreamItem
from hayhooks.core.haystack.streaming_plan import RunPlan
from hayhooks.core.haystack.streaming_targets import Target

Put = Callable[[StreamItem], None]
ExternalQueue = queue.Queue[Any]


class PipelineStream(Iterator[StreamItem]):
    """The items of one run of a pipeline, in order.

    Either iterate it, as a generator: the pipeline then runs in a thread of its own, which starts at the first
    item and is held back when the reader is slow. Or call `drive`. Nothing runs before.

    Closing it, or letting go of it, stops the pipeline at its next chunk.
    """

    def __init__(self, plan: RunPlan, hooks: Hooks, external: ExternalQueue | None = None) -> None:
        self._handoff = ThreadHandoff()
        # The thread knows the run and the handoff but not this object, which can so be collected while it runs.
        self._run = _Run(plan, hooks)
        self._external = external
        self._batch: deque[StreamItem] = deque()
        self._thread: threading.Thread | None = None
        self._is_used = False

    @property
    def result(self) -> Any:
        """What the pipeline or agent returned; None until it has."""
        return self._run.result

    @property
    def runs_own_tools(self) -> bool:
        """Whether tool calls are executed inside the run, and so are not the reader's to make."""
        return runs_own_tools(self._run.plan.pipeline)

    def drive(self, put: Callable[[StreamItem], None]) -> None:
        """Run the pipeline in this thread and hand every item to *put*, in order.

        *put* is called by this thread; only tools that stream from threads of their own call it from there, one
        call at a time. To stop the run it raises a BaseException that is no Exception, which passes through
        Haystack untouched and out of here. With an external queue the pipeline runs in a second thread, which has
        ended when this returns.

        Raises:
            RuntimeError: If the stream was read or driven before.
        """
        self._use()
        if self._external is None:
            self._run.execute(put)
            return
        try:
            self._start()
            while (batch := self._handoff.take()) is not None:
                for item in batch:
                    put(item)
        finally:
            self.close()
            if self._thread is not None:
                self._thread.join()

    def close(self) -> None:
        """Stop the pipeline at its next chunk, without waiting for that. Items not yet read are dropped."""
        self._is_used = True
        self._handoff.close()
        self._batch.clear()

    def __iter__(self) -> Iterator[StreamItem]:
        return self

    def __next__(self) -> StreamItem:
        if self._batch:
            item: StreamItem = self._batch.popleft()
            return item
        if self._thread is None and not self._is_used:
            self._use()
            self._start()
        batch = self._handoff.take() if self._thread is not None else None
        if batch is None:
            raise StopIteration
        self._batch = batch
        return self._batch.popleft()

    def __del__(self) -> None:
        self._handoff.close()

    def _use(self) -> None:
        if self._is_used:
            raise RuntimeError("A stream can be read or driven once; make a new one.")
        self._is_used = True

    def _start(self) -> None:
        context = contextvars.copy_context()
        arguments = (_produce, self._run, self._handoff, self._external)
        self._thread = threading.Thread(target=context.run, args=arguments, name="hayhooks-stream", daemon=True)
        self._thread.start()


def _produce(run: "_Run", handoff: ThreadHandoff, external: ExternalQueue | None) -> None:
    """Body of a stream's thread."""
    failure: BaseException | None = None
    try:
        run.execute(handoff.put, external)
    except BaseException as error:  # whatever it is, the reader gets it
        failure = error
    handoff.end(failure)


class _Run:
    """One run of a plan."""

    def __init__(self, plan: RunPlan, hooks: Hooks) -> None:
        self.plan = plan
        self.result: Any = None
        self._hooks = hooks

    def execute(self, put: Put, external: ExternalQueue | None = None) -> None:
        """Run in this thread; *put* gets the items, those of *external* from another thread."""
        reader = ChunkReader(self._hooks) if self._hooks.read_chunks else None
        lock = threading.RLock()  # tools may stream from threads of their own
        context = current_context.get()

        def emit(component: str, chunk: StreamingChunk) -> None:
            if context is not None:  # a reader in between may notice later than we can
                context.raise_if_cancelled()
            with lock:
                if reader is None:
                    put(chunk)
                else:
                    for item in reader.read(component, chunk):
                        put(item)

        forwarder = ThreadForwarder(external, put) if external is not None else None
        try:
            with self.plan.wired(lambda target: self._callback(target, emit)) as inputs:
                self.result = self.plan.run(inputs)
            for item in reader.finish() if reader else ():
                put(item)
            last = self._hooks.end_items(self.result)
        finally:
            if forwarder is not None:
                forwarder.stop()
        for item in last:
            put(item)

    def _callback(self, target: Target, emit: Callable[[str, StreamingChunk], None]) -> Callable[[StreamingChunk], Any]:
        # A plain function: Haystack copies its inputs deeply, and a bound method would bring its object along.
        name = target.name
        own = self.plan.own_callback(target)
        if self.plan.awaits(target):

            async def awaited(chunk: StreamingChunk) -> None:
                emit(name, chunk)
                answer = own(chunk) if own is not None else None
                if inspect.isawaitable(answer):
                    await answer

            return awaited
        if own is None:

            def callback(chunk: StreamingChunk) -> None:
                emit(name, chunk)

            return callback

        def both(chunk: StreamingChunk) -> None:
            emit(name, chunk)
            own(chunk)

        return both
