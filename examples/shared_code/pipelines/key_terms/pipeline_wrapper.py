from haystack import Pipeline
from shared_components import WordCounter

from hayhooks import BasePipelineWrapper

from .stop_words import STOP_WORDS


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("counter", WordCounter(leave_out=STOP_WORDS))

    def run_api(self, text: str, top: int = 3) -> list[str]:
        """
        Name the words that a text uses most.

        Args:
            text: Any English text.
            top: How many words.
        """
        counts = self.pipeline.run({"counter": {"text": text}})["counter"]["counts"]
        return sorted(counts, key=lambda word: (-counts[word], word))[:top]
