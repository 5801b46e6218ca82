"""The part of this surface that needs the A2A library: imported and opened when first needed, and only once."""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from hayhooks.core.aio import in_thread
from hayhooks.core.errors import ServerStopping

if TYPE_CHECKING:
    from hayhooks.surfaces.a2a.protocol import Protocol


class Loading:
    """Gives the protocol to whoever needs it. Event loop only. *make* makes it, once its module can be imported."""

    def __init__(self, make: "Callable[[], Protocol]") -> None:
        self._make = make
        self._loaded: asyncio.Task[Protocol] | None = None
        self._is_over = False

    def begin(self) -> None:
        """Import it by and by: somebody will need it soon."""
        if self._loaded is None and not self._is_over:
            self._loaded = asyncio.create_task(self._load())
            self._loaded.add_done_callback(lambda done: done.cancelled() or done.exception())  # is told to who asks

    async def get(self) -> "Protocol":
        """The protocol. Raises what keeps it from being opened; the next call tries again."""
        if self._is_over:
            raise ServerStopping
        self.begin()
        loaded = self._loaded
        assert loaded is not None
        try:
            return await asyncio.shield(loaded)
        except Exception:
            if self._loaded is loaded:
                self._loaded = None
            raise

    async def close(self, finish_s: float) -> None:
        """Close it, if it was ever needed; runs under way may take *finish_s* seconds to end."""
        self._is_over = True
        if self._loaded is None:
            return
        await asyncio.wait([self._loaded])
        if not self._loaded.cancelled() and self._loaded.exception() is None:
            await self._loaded.result().close(finish_s)

    async def _load(self) -> "Protocol":
        # A second or two, in which the event loop has other things to do.
        await in_thread(importlib.import_module, "hayhooks.surfaces.a2a.protocol")
        protocol = self._make()
        await protocol.open()
        return protocol
