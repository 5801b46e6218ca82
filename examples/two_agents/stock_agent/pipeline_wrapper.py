from collections.abc import Generator
from typing import Annotated

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.tools import tool

from hayhooks import BasePipelineWrapper, chat_messages_from_openai, streaming_generator

STOCK = {"blue kettle": "12 in Rotterdam", "red kettle": "none until March"}


@tool
def check_stock(product: Annotated[str, "Name of the product, for example 'blue kettle'"]) -> str:
    """Tell how many pieces of a product are in stock, and where."""
    return STOCK.get(product.strip().lower(), f"There is no product named {product!r}.")


class PipelineWrapper(BasePipelineWrapper):
    # What other agents read before they call this one.
    a2a_card = {
        "name": "Stock agent",
        "description": "Knows what is in stock, and where.",
        "version": "1.0.0",
        "skills": [
            {
                "id": "stock",
                "name": "Look up stock",
                "description": "Says how many pieces of a product there are.",
                "tags": ["stock", "products"],
                "examples": ["How many blue kettles do we have?"],
            }
        ],
    }

    def setup(self) -> None:
        self.pipeline = Agent(
            chat_generator=OpenAIChatGenerator(model="gpt-5-mini"),
            tools=[check_stock],
            system_prompt="You answer questions about our stock. Look products up before you answer.",
        )

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> Generator:
        return streaming_generator(self.pipeline, {"messages": chat_messages_from_openai(messages)})
