"""What the kit of 0.3 asks of an agent: a task that can go on, and one that takes its time."""

import asyncio
import os

from hayhooks import BasePipelineWrapper, current_run

LONG = "test-resubscribe-message-id"  # a message whose task the kit leaves, and comes back to
STREAMING_TIMEOUT_S = float(os.environ.get("TCK_STREAMING_TIMEOUT", "2.0"))


class PipelineWrapper(BasePipelineWrapper):
    """Says something, and asks what else there is: the kit sends more to most of its tasks, or cancels them."""

    a2a_card = {
        "name": "TCK",
        "description": "Answers the A2A Technology Compatibility Kit.",
        "version": "1.0.0",
        "public": True,
    }

    def setup(self) -> None:
        pass

    async def run_chat_completion_async(self, model: str, messages: list[dict], body: dict):
        if body["a2a"]["message_id"].startswith(LONG):
            for _ in range(10):
                yield "working "
                await asyncio.sleep(STREAMING_TIMEOUT_S / 4)
        yield current_run().require_input("What else?")
