"""Streaming from components whose callback is an attribute and not an input of their run.

Such a component is shared by all runs of its pipeline, so it gets one callback for good, which asks the current
context whose run this is. Outside a stream it does what the component's own callback did.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from haystack.dataclasses import StreamingChunk

Sink = Callable[[StreamingChunk], Any]

_sinks: ContextVar[Mapping[int, Sink] | None] = ContextVar("hayhooks_stream_sinks", default=None)
_installing = threading.Lock()


@contextmanager
def receiving(sinks: Mapping[int, Sink]) -> Iterator[None]:
    """While it lasts, chunks of the instances with these ids go to *sinks* in this context and its copies."""
    token = _sinks.set({**(_sinks.get() or {}), **sinks})
    try:
        yield
    finally:
        _sinks.reset(token)


def install(instance: Any) -> None:
    """Give *instance* the dispatching callback, once."""
    with _installing:
        callback = instance.streaming_callback
        if getattr(callback, "hayhooks_instance_id", None) != id(instance):  # a copied component brings its model's
            instance.streaming_callback = _dispatcher(id(instance), own_callback(instance))


def own_callback(instance: Any) -> Any:
    """The callback that the component's author or user gave *instance*, or None."""
    callback: Any = getattr(instance, "streaming_callback", None)
    return callback.hayhooks_own if hasattr(callback, "hayhooks_own") else callback


def discard(chunk: StreamingChunk) -> None:
    """The callback of a component that had none and once streamed: drops *chunk*.

    A component that is serialised after it has streamed names this one.
    """


def _dispatcher(key: int, own: Sink | None) -> Sink:
    # It bears the name of the callback it stands for, so that the component still serialises to that.
    @functools.wraps(own or discard)
    def dispatch(chunk: StreamingChunk) -> Any:
        sinks = _sinks.get()
        sink = sinks.get(key) if sinks else None
        if sink is None:
            sink = own
        # What an asynchronous callback returns is for the component to await.
        return sink(chunk) if sink is not None else None

    dispatch.hayhooks_instance_id = key  # type: ignore[attr-defined]
    dispatch.hayhooks_own = own  # type: ignore[attr-defined]
    return dispatch
