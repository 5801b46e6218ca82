import asyncio
import os
from collections.abc import Generator
from typing import Annotated

import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_artifact_text, get_message_text, new_text_message
from a2a.types import Role, SendMessageRequest, TaskState
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.tools import tool

from hayhooks import BasePipelineWrapper, chat_messages_from_openai, current_run, streaming_generator


@tool
def ask_stock_agent(question: Annotated[str, "The question, in a whole sentence"]) -> str:
    """Ask the colleague who knows what is in stock."""
    run = current_run()
    run.report_status("Asking the stock agent")
    # By default it is another deployment of the same server.
    url = os.environ.get("STOCK_AGENT_URL") or f"http://{run.headers['host']}/a2a/stock_agent"
    return asyncio.run(ask(url, question, run.session.id))


async def ask(url: str, question: str, context_id: str | None) -> str:
    """What the agent at *url* answers; it knows what was said in the same context before."""
    async with httpx.AsyncClient(timeout=60) as web:
        client = await create_client(url, ClientConfig(streaming=False, httpx_client=web))  # reads the agent's card
        message = new_text_message(question, context_id=context_id, role=Role.ROLE_USER)
        async for event in client.send_message(SendMessageRequest(message=message)):
            task = event.task
            if task.status.state == TaskState.TASK_STATE_COMPLETED:
                return get_artifact_text(task.artifacts[0])
            return f"The stock agent says: {get_message_text(task.status.message)}"
    return "The stock agent says nothing."


class PipelineWrapper(BasePipelineWrapper):
    a2a_card = {"name": "Sales agent", "description": "Answers customers.", "version": "1.0.0"}

    def setup(self) -> None:
        self.pipeline = Agent(
            chat_generator=OpenAIChatGenerator(model="gpt-5-mini"),
            tools=[ask_stock_agent],
            system_prompt="You answer customers. Ask the stock agent what we can deliver.",
        )

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> Generator:
        return streaming_generator(self.pipeline, {"messages": chat_messages_from_openai(messages)})
