import json
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool

from hayhooks import BasePipelineWrapper, PipelineEvent, chat_messages_from_openai, streaming_generator
from hayhooks.open_webui import create_details_tag, create_status_event

STOCK = json.loads((Path(__file__).parent / "stock.json").read_text())


@tool
def check_stock(product: Annotated[str, "Name of the product, for example 'blue kettle'"]) -> str:
    """Tell how many pieces of a product are in stock, and where."""
    item = STOCK.get(product.strip().lower())
    if item is None:
        return f"There is no product named {product!r}. Products: {', '.join(STOCK)}."
    return f"{item['on_hand']} x {product} in {item['location']}"


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Agent(
            chat_generator=OpenAIChatGenerator(model="gpt-5-mini"),
            tools=[check_stock],
            system_prompt="You answer questions about our stock. Look products up before you answer.",
        )

    def run_api(self, question: str) -> str:
        """
        Ask the stock agent one question.

        Args:
            question: For example "Do we have blue kettles?"
        """
        return self.pipeline.run(messages=[ChatMessage.from_user(question)])["last_message"].text

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> Generator:
        return streaming_generator(
            pipeline=self.pipeline,
            pipeline_run_args={"messages": chat_messages_from_openai(messages)},
            on_tool_call_start=self.on_tool_call_start,
            on_tool_call_end=self.on_tool_call_end,
        )

    def on_tool_call_start(self, tool_name: str, arguments: dict, tool_call_id: str | None) -> PipelineEvent:
        return create_status_event(description=f"Calling {tool_name}")

    def on_tool_call_end(self, tool_name: str, arguments: dict, result: str, error: bool) -> list[PipelineEvent | str]:
        return [
            create_status_event(description=f"{tool_name} {'failed' if error else 'answered'}", done=True),
            # Open WebUI folds this part of the answer away under the summary.
            create_details_tag(tool_name=tool_name, summary=f"Result of {tool_name}", content=result),
        ]
