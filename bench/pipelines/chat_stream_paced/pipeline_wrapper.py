"""A chat that streams at the pace of a model, from a sync generator."""

import time
from collections.abc import Iterator
from typing import Any

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Streams as many chunks as the last message says, one each 20 ms."""

    max_concurrent_runs = 600

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[str]:
        """Yield a short token each 20 ms."""
        for _ in range(int(messages[-1]["content"])):
            time.sleep(0.02)
            yield "lorem"
