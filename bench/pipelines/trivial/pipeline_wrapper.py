"""What the crowds are made of: start-up, deploy and the scenarios with many deployments copy this one."""

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Builds nothing and returns what it got."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, text: str) -> str:
        """Return *text*."""
        return text
