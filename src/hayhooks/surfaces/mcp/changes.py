"""What connected clients are told when something is deployed, replaced or undeployed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from hayhooks.core.deployment import Deployment
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces.mcp.resources import uris_of

# Methods of notifications, for clients whose connection hears of everything.
LISTS = (
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
)


class Changes:
    """A bus of the SDK's for ``subscriptions/listen``, fed by the registry; and a bell for streams of older clients.

    Each process watches its own registry, which follows the other workers': whichever holds a client's stream tells
    it. Event loop only.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: Mapping[str, Deployment] = runtime.deployments
        self._listeners: dict[object, Callable[[ServerEvent], None]] = {}
        self._bells: set[asyncio.Event] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block everybody is told."""
        unwatch = self._runtime.watch(self._tell)
        try:
            yield
        finally:
            unwatch()

    async def publish(self, event: ServerEvent) -> None:
        """Tell those who have subscribed to such events."""
        self._deliver(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Tell *listener* of all events, until what is returned is called."""
        token = object()
        self._listeners[token] = listener
        return lambda: self._listeners.pop(token, None) and None

    async def rings(self) -> AsyncIterator[None]:
        """Yields after changes; those that come while nobody asks are one."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            while True:
                await bell.wait()
                bell.clear()
                yield
        finally:
            self._bells.discard(bell)

    def _tell(self) -> None:
        before, now = self._known, self._runtime.deployments
        self._known = now
        for bell in self._bells:
            bell.set()
        if not self._listeners:
            return
        for event in (ToolsListChanged(), ResourcesListChanged(), PromptsListChanged()):
            self._deliver(event)
        for name in {*before, *now}:
            if before.get(name) is not now.get(name):
                for uri in uris_of(name):
                    self._deliver(ResourceUpdated(uri=uri))

    def _deliver(self, event: ServerEvent) -> None:
        for listener in list(self._listeners.values()):
            listener(event)
