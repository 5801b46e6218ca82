"""Waits for something else, as for a model: 20 calls of 50 ms at once."""

import time

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers after 50 ms."""

    max_concurrent_runs = 20

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str) -> str:
        """Return *text*."""
        time.sleep(0.05)
        return text
