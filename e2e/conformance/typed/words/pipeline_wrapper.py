"""Streams."""

from collections.abc import Iterator

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Keeps nothing."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str, **more: int) -> Iterator[str]:
        """Give the words back, one by one."""
        yield from text.split()
