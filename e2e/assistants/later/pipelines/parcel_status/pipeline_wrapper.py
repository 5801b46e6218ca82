"""A tool that is deployed later."""

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    mcp_annotations = {"readOnlyHint": True}

    def setup(self) -> None:
        pass

    def run_api(self, order: str) -> str:
        """Say where the parcel of an order is.

        :param order: Its number, as A-17.
        """
        return f"The parcel of order {order} passed gate 4712."
