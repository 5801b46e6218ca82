"""Logs, which is the server's business and no client's."""

from hayhooks import BasePipelineWrapper, log


class PipelineWrapper(BasePipelineWrapper):
    """Logs, and answers."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self) -> str:
        log.info("working")
        return "done"
