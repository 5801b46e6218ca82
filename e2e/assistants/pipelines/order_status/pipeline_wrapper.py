"""A tool: says where an order is."""

from hayhooks import BasePipelineWrapper

ORDERS = {"A-17": "in van 4711"}


class PipelineWrapper(BasePipelineWrapper):
    mcp_annotations = {"readOnlyHint": True}

    def setup(self) -> None:
        pass

    def run_api(self, order: str) -> str:
        """Say where an order is.

        :param order: Its number, as A-17.
        """
        return f"Order {order} is {ORDERS.get(order, 'not known')}."
