"""A stream that says nothing after its first word, until its caller leaves."""

import asyncio
from collections.abc import AsyncIterator

from hayhooks import BasePipelineWrapper, SSEStream


class PipelineWrapper(BasePipelineWrapper):
    """Streams and says nothing."""

    max_concurrent_runs = None

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    async def run_api_async(self) -> SSEStream:
        """Begin the stream."""
        return SSEStream(self.silence())

    async def silence(self) -> AsyncIterator[str]:
        """One word."""
        yield "begun"
        await asyncio.Event().wait()
