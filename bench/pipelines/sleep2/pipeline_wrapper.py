"""A pipeline that waits two seconds for something else, in a thread of the server's."""

import time

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Shows how many sync runs a server has under way at once."""

    max_concurrent_runs = 600

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str) -> str:
        """Return *text* two seconds later."""
        time.sleep(2)
        return text
