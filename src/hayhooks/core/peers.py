"""What a change of one name needs from other processes that serve the same; nothing, when there are none."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from hayhooks.core.bundle import Bundle


class Turn(Protocol):
    """The only change under way of one name, in all processes."""

    async def agree(self, bundle: Bundle | None) -> None:
        """Return once every process has built *bundle* and could serve it at once; None: is ready to end its service.

        Raises:
            HayhooksError: One cannot, or says nothing. Nothing has changed anywhere.
        """

    async def agree_kept(self, version: str) -> None:
        """As ``agree``, upon a version that the store keeps."""

    async def is_current(self, bundle: Bundle) -> bool:
        """Whether the others serve that version, as far as anybody has agreed upon one."""

    async def settle(self) -> None:
        """Return once every process serves what has been made live.

        Raises:
            HayhooksError: One says nothing. It is live all the same.
        """


class Peers(Protocol):
    """The processes that serve the same as this one."""

    def turn(self, name: str) -> AbstractAsyncContextManager[Turn]:
        """Change *name* inside the block, one process at a time."""


class Alone:
    """No other process serves the same."""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Turn]:
        """Whoever asks has it."""
        yield _ALWAYS


class _Always:
    async def agree(self, bundle: Bundle | None) -> None:
        """Nobody needs to."""

    async def agree_kept(self, version: str) -> None:
        """Nobody needs to."""

    async def is_current(self, bundle: Bundle) -> bool:
        """Nobody serves another."""
        return True

    async def settle(self) -> None:
        """Nobody is behind."""


_ALWAYS = _Always()
