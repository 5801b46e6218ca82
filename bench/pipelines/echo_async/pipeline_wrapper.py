"""A real Haystack pipeline of one component, run by an async hook."""

import haystack
from haystack import component

from hayhooks import BasePipelineWrapper

# Haystack 3 has one class for both; in Haystack 2 only AsyncPipeline has run_async.
AsyncPipeline = getattr(haystack, "AsyncPipeline", haystack.Pipeline)


@component
class Echo:
    """Returns its input."""

    @component.output_types(text=str)
    def run(self, text: str) -> dict[str, str]:
        """Return *text*."""
        return {"text": text}

    @component.output_types(text=str)
    async def run_async(self, text: str) -> dict[str, str]:
        """Return *text*."""
        return {"text": text}


class PipelineWrapper(BasePipelineWrapper):
    """One component, one run of the pipeline per request, all on the event loop."""

    def setup(self) -> None:
        """Build the pipeline."""
        self.pipeline = AsyncPipeline()
        self.pipeline.add_component("echo", Echo())

    async def run_api_async(self, text: str) -> str:
        """Return *text* after a trip through the pipeline."""
        result = await self.pipeline.run_async({"echo": {"text": text}})
        return str(result["echo"]["text"])
