from haystack import Pipeline
from shared_components import WordCounter

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("counter", WordCounter())

    def run_api(self, text: str) -> int:
        """
        Count the words of a text.

        Args:
            text: Any text.
        """
        return sum(self.pipeline.run({"counter": {"text": text}})["counter"]["counts"].values())
