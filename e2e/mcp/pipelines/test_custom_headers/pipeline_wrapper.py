"""Takes an argument that is repeated in a header."""

from typing import Annotated

from pydantic import Field

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Takes an argument that is repeated in a header."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(
        self,
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
        priority: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Priority"})] = 0,
    ) -> str:
        return f"{region} {priority}"
