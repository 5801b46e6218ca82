from haystack import Pipeline
from haystack.components.builders import PromptBuilder

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("prompt", PromptBuilder("Hello, {{ name }}!", required_variables="*"))

    def run_api(self, name: str) -> str:
        """
        Greet somebody.

        Args:
            name: Whom to greet.
        """
        return self.pipeline.run({"prompt": {"name": name}})["prompt"]["prompt"]
