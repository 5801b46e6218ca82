"""Streams, and asks nothing."""

import asyncio

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Streams, and asks nothing."""

    def setup(self) -> None:
        self.pipeline = None

    async def run_api_async(self):
        for word in ("one ", "two ", "three"):
            await asyncio.sleep(0.01)
            yield word
