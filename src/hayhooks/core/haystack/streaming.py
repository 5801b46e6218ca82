"""Streaming from a pipeline or agent: its chunks, and what callbacks and other code add to them."""

import inspect
from collections.abc import Mapping
from typing import Any

from hayhooks.callbacks import sources_on_pipeline_end
from hayhooks.core.context import current_context
from hayhooks.core.haystack.platform import MAJOR
from hayhooks.core.haystack.streaming_async import AsyncExternalQueue, AsyncPipelineStream
from hayhooks.core.haystack.streaming_hooks import (
    Hooks,
    OnPipelineEnd,
    OnReasoning,
    OnToolCallEnd,
    OnToolCallStart,
    StreamItem,
)
from hayhooks.core.haystack.streaming_plan import plan_run
from hayhooks.core.haystack.streaming_sources import document_makers
from hayhooks.core.haystack.streaming_sync import ExternalQueue, PipelineStream
from hayhooks.core.haystack.streaming_targets import StreamingComponents, Target, default_streaming_components

__all__ = [
    "AsyncPipelineStream",
    "PipelineStream",
    "StreamItem",
    "StreamingComponents",
    "async_streaming_generator",
    "default_streaming_components",
    "streaming_generator",
]


def streaming_generator(
    pipeline: Any,
    pipeline_run_args: Mapping[str, Any] | None = None,
    *,
    on_tool_call_start: OnToolCallStart | None = None,
    on_tool_call_end: OnToolCallEnd | None = None,
    on_reasoning: OnReasoning | None = None,
    on_pipeline_end: OnPipelineEnd | None = None,
    streaming_components: StreamingComponents | None = None,
    include_outputs_from: set[str] | None = None,
    external_event_queue: ExternalQueue | None = None,
) -> PipelineStream:
    """Stream a run of *pipeline*: chunks as they are made, and what the callbacks say just before theirs.

    The callbacks return an event, a text, a list of these, or None. An exception in one is logged.

    Args:
        pipeline: A pipeline, or an agent or another streaming component by itself.
        pipeline_run_args: The pipeline's data, nested or flat, or the arguments of the agent's ``run``. Not changed.
            A ``streaming_callback`` in it is called as well.
        on_tool_call_start: ``(name, arguments, id)``, once per tool call, when its arguments are complete.
        on_tool_call_end: ``(name, arguments, result, error)``, for each tool result.
        on_reasoning: ``(text, extra)``, for each piece of reasoning.
        on_pipeline_end: ``(result)``; its text is the last chunk. By default `sources_on_pipeline_end`, with the
            outputs that it needs, in a wrapper that says ``show_sources``.
        streaming_components: Names of components, or "all"; by default the server's setting, else the last
            streaming-capable component in the pipeline's flow.
        include_outputs_from: Passed to the pipeline's ``run``.
        external_event_queue: What the user's code puts there while the pipeline runs becomes part of the stream at
            once; None is passed over.

    Raises:
        ValueError: If no component can stream, or a name is unknown, or a callback of the run is asynchronous.
        TypeError: If *pipeline* cannot run, or the queue is an asynchronous one.
    """
    if external_event_queue is not None and inspect.iscoroutinefunction(external_event_queue.get):
        raise TypeError("streaming_generator needs a queue.Queue; an asyncio.Queue is for async_streaming_generator.")
    on_pipeline_end, include_outputs_from = _with_sources(pipeline, on_pipeline_end, include_outputs_from)
    plan = plan_run(pipeline, pipeline_run_args, streaming_components, include_outputs_from)
    plan.check_synchronous()
    hooks = Hooks(on_tool_call_start, on_tool_call_end, on_reasoning, on_pipeline_end)
    return PipelineStream(plan, hooks, external_event_queue)


def async_streaming_generator(
    pipeline: Any,
    pipeline_run_args: Mapping[str, Any] | None = None,
    *,
    on_tool_call_start: OnToolCallStart | None = None,
    on_tool_call_end: OnToolCallEnd | None = None,
    on_reasoning: OnReasoning | None = None,
    on_pipeline_end: OnPipelineEnd | None = None,
    streaming_components: StreamingComponents | None = None,
    include_outputs_from: set[str] | None = None,
    allow_sync_streaming_callbacks: bool = False,
    external_event_queue: AsyncExternalQueue | None = None,
    shield_pipeline_task: bool = False,
) -> AsyncPipelineStream:
    """Stream an asynchronous run of *pipeline*, otherwise as `streaming_generator` does.

    Args:
        pipeline: As there; it needs ``run_async`` (in Haystack 2 an ``AsyncPipeline``).
        pipeline_run_args: As there; a ``streaming_callback`` in it may be asynchronous.
        on_tool_call_start: As there; a plain function, called on the event loop.
        on_tool_call_end: As there.
        on_reasoning: As there.
        on_pipeline_end: As there.
        streaming_components: As there.
        include_outputs_from: As there.
        allow_sync_streaming_callbacks: Stream from components without ``run_async`` too: Haystack runs them in a
            thread, from which each chunk crosses to the event loop.
        external_event_queue: As there, but an `asyncio.Queue`.
        shield_pipeline_task: Let the pipeline run to its end when its reader leaves.

    Raises:
        ValueError: As there, or if *pipeline* cannot run asynchronously, or a streaming component can only
            stream synchronously and that is not allowed.
        TypeError: As there.
    """
    if external_event_queue is not None and not inspect.iscoroutinefunction(external_event_queue.get):
        raise TypeError("async_streaming_generator needs an asyncio.Queue.")
    if not callable(getattr(pipeline, "run_async", None)):
        raise ValueError(
            f"{type(pipeline).__name__} has no run_async. Use an AsyncPipeline, or streaming_generator in a "
            "synchronous hook."
        )
    on_pipeline_end, include_outputs_from = _with_sources(pipeline, on_pipeline_end, include_outputs_from)
    plan = plan_run(pipeline, pipeline_run_args, streaming_components, include_outputs_from)
    for target in plan.targets:
        if not target.is_async:
            _check_bridge(target, allow_sync_streaming_callbacks)
    hooks = Hooks(on_tool_call_start, on_tool_call_end, on_reasoning, on_pipeline_end)
    return AsyncPipelineStream(plan, hooks, external_event_queue, shield=shield_pipeline_task)


def _with_sources(
    pipeline: Any, on_pipeline_end: OnPipelineEnd | None, include_outputs_from: set[str] | None
) -> tuple[OnPipelineEnd | None, set[str] | None]:
    """What a call leaves out, where the wrapper says that its streams show their sources."""
    run = current_context.get()
    if run is None or not run.shows_sources or on_pipeline_end is not None:
        return on_pipeline_end, include_outputs_from
    if include_outputs_from is None:
        include_outputs_from = document_makers(pipeline)
    return sources_on_pipeline_end, include_outputs_from


def _check_bridge(target: Target, is_allowed: bool) -> None:
    what = f"Component {target.name!r} ({type(target.instance).__name__})" if target.name else "This component"
    if getattr(target.instance, "__haystack_supports_async__", False) and MAJOR < 3:
        # Its agent asks for an asynchronous callback, its generator for a synchronous one.
        raise ValueError(f"{what} has a generator without run_async; use streaming_generator in a synchronous hook.")
    if not is_allowed:
        raise ValueError(
            f"{what} can only stream synchronously. Pass allow_sync_streaming_callbacks=True to stream from it "
            "anyway, or use streaming_generator in a synchronous hook."
        )
