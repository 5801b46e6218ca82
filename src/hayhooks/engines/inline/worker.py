"""The code of one deployment in this process."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hayhooks.core.context import RunContext
from hayhooks.core.deployment import Call
from hayhooks.core.graph import Graph
from hayhooks.core.haystack.graph import graph_of
from hayhooks.core.haystack.platform import close, forget_components, is_agent, is_pipeline
from hayhooks.engines.inline.invocation import LoopInvocation, ThreadInvocation
from hayhooks.engines.inline.result import ResultModel
from hayhooks.engines.inline.signature import Arguments
from hayhooks.engines.inline.vectors import VectorsModel
from hayhooks.engines.loader import PrivatePackage
from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.threads import Threads
from hayhooks.wrapper import BasePipelineWrapper


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """A hook, bound to its wrapper."""

    call: Callable[..., Any]
    arguments: Arguments
    result: ResultModel | VectorsModel | None  # None for chat: answers are text or chunks, not values
    returns_awaitable: bool = False  # by its name; a plain function may hand on what another one awaits

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        call = inspect.unwrap(self.call)  # a decorator may hide that what it wraps is async
        return self.returns_awaitable or inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


class InlineWorker:
    """Calls the hooks of one wrapper, sync ones in threads and async ones on the loop."""

    def __init__(
        self,
        wrapper: BasePipelineWrapper,
        hooks: Mapping[str, Hook],
        package: PrivatePackage | None,
        threads: Callable[[], tuple[Threads, Mailbox]],
        forget: Callable[[], None],
        streaming_components: Any = None,
        *,
        shows_sources: bool = False,
    ) -> None:
        self._wrapper: BasePipelineWrapper | None = wrapper
        # Decided once per deployment, not at each call.
        self._hooks = {
            name: (LoopInvocation if hook.is_async else ThreadInvocation, hook.call, hook.arguments, hook.result)
            for name, hook in hooks.items()
        }
        self._package = package
        self._threads = threads
        self._forget = forget
        self._streaming_components = streaming_components
        self._shows_sources = shows_sources

    def invoke(self, entry: str, call: Call, context: RunContext) -> ThreadInvocation | LoopInvocation:
        """Prepare a call.

        Raises:
            InvalidRequest: The call does not fit the hook's signature.
        """
        kind, hook, arguments, result = self._hooks[entry]
        context.streaming_components = self._streaming_components
        context.shows_sources = self._shows_sources
        threads, mailbox = self._threads()
        return kind(hook, arguments.of(call), context, result, threads, mailbox, wants_stream=call.wants_stream)

    def graph(self) -> Graph | None:
        """The graph of the pipeline or agent, or None."""
        pipeline = getattr(self._wrapper, "pipeline", None)
        return graph_of(pipeline) if is_pipeline(pipeline) or is_agent(pipeline) else None

    def close(self) -> None:
        """Run ``teardown()``, close the pipeline, drop modules and classes."""
        try:
            self._tear_down()
        finally:
            if self._package is not None:
                forget_components(self._package.name)
                self._package.forget()
            self._forget()

    def _tear_down(self) -> None:
        # In a function of its own: when the garbage is collected, no variable may hold the wrapper any more.
        wrapper, self._wrapper = self._wrapper, None
        self._hooks = {}
        if wrapper is None:
            return
        try:
            wrapper.teardown()
        finally:
            pipeline = getattr(wrapper, "pipeline", None)
            if is_pipeline(pipeline) or is_agent(pipeline):
                close(pipeline)
