from hayhooks import BasePipelineWrapper

STOCK = {"blue kettle": 12, "red kettle": 0}


class PipelineWrapper(BasePipelineWrapper):
    mcp_annotations = {"readOnlyHint": True}  # clients need not ask before they call it

    def setup(self) -> None:
        pass

    def run_api(self, product: str) -> str:
        """Tell how many pieces of a product are in stock.

        :param product: Name of the product, for example "blue kettle".
        """
        count = STOCK.get(product.strip().lower())
        return f"There is no {product!r}." if count is None else f"{count} pieces of {product}"
