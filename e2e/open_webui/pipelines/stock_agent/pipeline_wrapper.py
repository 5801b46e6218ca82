"""An agent that looks a product up and says so while it works. It needs no model: what it says is written here."""

import threading
from collections.abc import Iterator
from typing import Annotated, Any

from haystack import component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage, StreamingChunk, ToolCall
from haystack.dataclasses.streaming_chunk import StreamingCallbackT, ToolCallDelta, select_streaming_callback
from haystack.tools import tool
from haystack.tools.tool import Tool

from hayhooks import (
    BasePipelineWrapper,
    default_on_tool_call_end,
    default_on_tool_call_start,
    get_last_user_message,
    streaming_generator,
)
from hayhooks.open_webui import create_notification_event, create_source_event, create_status_event

SHELF = "Shelf 7, Rotterdam: 12 x blue kettle"


@component
class ScriptedChatGenerator:
    """Asks for the stock of blue kettles first, and repeats what it is told."""

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        tools: list[Tool] | None = None,
        streaming_callback: StreamingCallbackT | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Give the one reply that comes next."""
        callback = select_streaming_callback(None, streaming_callback, requires_async=False) or _ignore
        if not messages[-1].tool_call_results:
            call = ToolCall("check_stock", {"product": "blue kettle"}, id="call_1")
            delta = ToolCallDelta(0, tool_name=call.tool_name, id=call.id, arguments='{"product": "blue kettle"}')
            callback(StreamingChunk("", index=0, tool_calls=[delta], start=True))
            callback(StreamingChunk("", finish_reason="tool_calls"))
            return {"replies": [ChatMessage.from_assistant(tool_calls=[call])]}
        text = "We have **12 blue kettles**, all of them in Rotterdam [1]."
        for position, word in enumerate(text.split(" ")):
            callback(StreamingChunk(f"{word} ", index=0, start=position == 0))
        callback(StreamingChunk("", finish_reason="stop"))
        return {"replies": [ChatMessage.from_assistant(text)]}


class PipelineWrapper(BasePipelineWrapper):
    """The warehouse answers once ``run_api`` was called: until then there is time to look at a status."""

    def setup(self) -> None:
        """Build the agent."""
        self.is_open = threading.Event()

        @tool
        def check_stock(product: Annotated[str, "Name of the product"]) -> str:
            """Tell how many pieces of a product are in stock, and where."""
            if not self.is_open.wait(timeout=60):
                raise TimeoutError("The warehouse does not answer.")
            return SHELF

        self.pipeline = Agent(chat_generator=ScriptedChatGenerator(), tools=[check_stock])

    def run_api(self) -> str:
        """Open the warehouse."""
        self.is_open.set()
        return "open"

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[Any]:
        """Stream the answer with its statuses, a source and a toast."""
        return self._answer(get_last_user_message(messages) or "")

    def _answer(self, question: str) -> Iterator[Any]:
        yield create_status_event("Reading the question")
        yield from streaming_generator(
            self.pipeline,
            {"messages": [ChatMessage.from_user(question)]},
            on_tool_call_start=default_on_tool_call_start,
            on_tool_call_end=default_on_tool_call_end,
        )
        yield create_source_event(
            {
                "source": {"name": "Warehouse list"},
                "document": [SHELF],
                "metadata": [{"source": "warehouse.csv"}],
            }
        )
        yield create_notification_event("The stock was counted today.", "success")


def _ignore(chunk: StreamingChunk) -> None:
    pass
