"""A Haystack pipeline of five components in a row, run by a sync hook."""

from haystack import Pipeline, component

from hayhooks import BasePipelineWrapper


@component
class Step:
    """Returns its input."""

    @component.output_types(text=str)
    def run(self, text: str) -> dict[str, str]:
        """Return *text*."""
        return {"text": text}


class PipelineWrapper(BasePipelineWrapper):
    """The usual size of a small pipeline."""

    def setup(self) -> None:
        """Build the pipeline."""
        self.pipeline = Pipeline()
        for number in range(1, 6):
            self.pipeline.add_component(f"step{number}", Step())
        for number in range(1, 5):
            self.pipeline.connect(f"step{number}.text", f"step{number + 1}.text")

    def run_api(self, text: str) -> str:
        """Return *text* after a trip through five components."""
        result = self.pipeline.run({"step1": {"text": text}})
        return str(result["step5"]["text"])
