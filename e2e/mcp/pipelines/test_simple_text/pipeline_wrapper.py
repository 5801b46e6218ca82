"""Answers with text."""

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers with text."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self) -> str:
        return "This is a simple text response for testing."
