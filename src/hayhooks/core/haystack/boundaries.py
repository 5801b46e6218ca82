"""Component boundaries, seen through Haystack's tracer: where a run can stop, and where usage is reported.

Haystack opens a span around every component, agent step, model call and tool, in both majors and on every path,
synchronous or not. Listening there needs no change to anyone's pipeline.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from haystack.tracing.tracer import Span, is_tracing_enabled, tracer

from hayhooks.core.context import RunContext, current_context


def listen() -> None:
    """Start to listen; again is the same as once. Tracers that users enable keep getting everything."""
    proxy: Any = tracer
    if getattr(proxy.trace, "_hayhooks", False):
        return
    forward = proxy.trace

    def trace(
        operation_name: str, tags: dict[str, Any] | None = None, parent_span: Span | None = None
    ) -> AbstractContextManager[Span]:
        run = current_context.get()
        if run is None:
            return forward(operation_name, tags=tags, parent_span=parent_span)  # type: ignore[no-any-return]
        run.raise_if_cancelled()
        if is_tracing_enabled():
            return _both(forward(operation_name, tags=tags, parent_span=parent_span), run)
        return _Boundary(run)

    trace._hayhooks = True  # type: ignore[attr-defined]
    proxy.trace = trace


class _Boundary(Span):
    """The span of a run when nobody traces: it only looks for usage."""

    __slots__ = ("_input", "_run")

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._input: Any = None

    def __enter__(self) -> "_Boundary":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def set_tag(self, key: str, value: Any) -> None:
        """Nobody listens to tags."""

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Nobody listens to tags."""

    def set_content_tag(self, key: str, value: Any) -> None:
        """Outputs of model calls carry their usage."""
        if key.endswith(".output"):
            note_usage(self._run, value, self._input)
        elif key.endswith(".input"):
            self._input = value


class _Heard(Span):
    """A tracer's own span, overheard."""

    def __init__(self, span: Span, run: RunContext) -> None:
        self._span = span
        self._run = run
        self._input: Any = None

    def set_tag(self, key: str, value: Any) -> None:
        self._span.set_tag(key, value)

    def set_tags(self, tags: dict[str, Any]) -> None:
        self._span.set_tags(tags)

    def set_content_tag(self, key: str, value: Any) -> None:
        self._span.set_content_tag(key, value)
        if key.endswith(".output"):
            note_usage(self._run, value, self._input)
        elif key.endswith(".input"):
            self._input = value

    def raw_span(self) -> Any:
        return self._span.raw_span()

    def get_correlation_data_for_logs(self) -> dict[str, Any]:
        return self._span.get_correlation_data_for_logs()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


@contextmanager
def _both(spans: AbstractContextManager[Span], run: RunContext) -> Iterator[Span]:
    with spans as span:
        yield _Heard(span, run)


def note_usage(run: RunContext, output: Any, given: Any = None) -> None:
    """Add the usage of the replies in a component's *output*, each reply once however often it is passed on.

    *given* is the component's input: what was in it, the component did not make.
    """
    replies = output.get("replies") if isinstance(output, dict) else None
    if not isinstance(replies, list):
        # Beside a model's answer, what an embedder has read is no part of its usage; of embeddings it is all of it.
        if run.entry == "run_embedding" and isinstance(output, dict) and isinstance(output.get("meta"), dict):
            usage = output["meta"].get("usage")
            if isinstance(usage, dict) and usage:
                run.usage.append(usage)
        return
    if replies and isinstance(replies[0], str) and isinstance(output.get("meta"), list):
        replies = output["meta"]  # generators of plain text, in Haystack 2
    for reply in replies:
        meta = reply if isinstance(reply, dict) else getattr(reply, "meta", None)
        usage = meta.get("usage") if isinstance(meta, dict) else None
        if not isinstance(usage, dict) or not usage or any(reply is seen for seen in run.counted):
            continue
        run.counted.append(reply)
        if not _holds(given, reply):  # a copy: Haystack copies what it hands over
            run.usage.append(usage)


def _holds(value: Any, reply: Any) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return any(item == reply if type(item) is type(reply) else _holds(item, reply) for item in value)
