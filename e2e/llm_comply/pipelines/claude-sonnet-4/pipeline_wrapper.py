"""Passes a chat on to the model server of check.py, and its answer back. The name makes llm-comply try thinking."""

from collections.abc import Iterator
from typing import Any

from openai import OpenAI

from hayhooks import BasePipelineWrapper

PASSED_ON = ("tools", "tool_choice", "max_tokens")


class PipelineWrapper(BasePipelineWrapper):
    """A relay."""

    def setup(self) -> None:
        """Make the client; the environment says where the model server is."""
        self.client = OpenAI(max_retries=0)

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[Any]:
        """Stream the model's chunks as they are."""
        more = {name: body[name] for name in PASSED_ON if name in body}
        yield from self.client.chat.completions.create(
            model="test-model",
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"thinking": body.get("thinking")},
            **more,
        )
