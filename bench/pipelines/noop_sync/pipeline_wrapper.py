"""Nothing but the server: a sync hook that returns what it got."""

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers at once, in a thread of the server's."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str) -> str:
        """Return *text*."""
        return text
