"""A chat that streams as fast as the server takes it, from an async generator."""

from collections.abc import AsyncIterator
from typing import Any

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Streams as many chunks as the last message says."""

    max_concurrent_runs = 600

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    async def run_chat_completion_async(
        self,
        model: str,
        messages: list[dict[str, Any]],
        body: dict[str, Any],
    ) -> AsyncIterator[str]:
        """Return an async generator, as hayhooks 2.1 wants it: there the hook must not be one itself."""
        return _tokens(int(messages[-1]["content"]))


async def _tokens(count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield "lorem"
