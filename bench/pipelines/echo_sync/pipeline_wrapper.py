"""A real Haystack pipeline of one component, run by a sync hook."""

from haystack import Pipeline, component

from hayhooks import BasePipelineWrapper


@component
class Echo:
    """Returns its input."""

    @component.output_types(text=str)
    def run(self, text: str) -> dict[str, str]:
        """Return *text*."""
        return {"text": text}


class PipelineWrapper(BasePipelineWrapper):
    """One component, one run of the pipeline per request."""

    def setup(self) -> None:
        """Build the pipeline."""
        self.pipeline = Pipeline()
        self.pipeline.add_component("echo", Echo())

    def run_api(self, text: str) -> str:
        """Return *text* after a trip through the pipeline."""
        result = self.pipeline.run({"echo": {"text": text}})
        return str(result["echo"]["text"])
