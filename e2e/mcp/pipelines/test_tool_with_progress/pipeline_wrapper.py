"""Says how far it is."""

import asyncio

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Says how far it is."""

    def setup(self) -> None:
        self.pipeline = None

    async def run_api_async(self):
        for percent in (0, 50, 100):
            await asyncio.sleep(0.05)
            yield f"{percent} % "
