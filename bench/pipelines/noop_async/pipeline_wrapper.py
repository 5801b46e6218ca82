"""Nothing but the server: an async hook that returns what it got."""

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers at once, on the event loop."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    async def run_api_async(self, text: str) -> str:
        """Return *text*."""
        return text
