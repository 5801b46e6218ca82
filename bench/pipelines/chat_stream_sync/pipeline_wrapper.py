"""A chat that streams as fast as the server takes it, from a sync generator."""

from collections.abc import Iterator
from typing import Any

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Streams as many chunks as the last message says."""

    max_concurrent_runs = 600

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[str]:
        """Yield short tokens without a pause."""
        for _ in range(int(messages[-1]["content"])):
            yield "lorem"
