"""Computes for 5 ms in Python, with the server's own limits."""

import time

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers after 5 ms of its own processor time."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str) -> str:
        """Return *text*."""
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return text
