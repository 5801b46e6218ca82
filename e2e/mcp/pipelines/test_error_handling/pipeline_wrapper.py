"""Fails."""

from fastapi import HTTPException

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Fails."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self) -> str:
        raise HTTPException(400, "This tool intentionally returns an error for testing")
