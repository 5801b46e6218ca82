"""Hands a whole request on to a model server, and gives back what that answers."""

from typing import Any

import openai

from hayhooks import BasePipelineWrapper

FOREIGN = ("top_k", "thinking", "reasoning")


class PipelineWrapper(BasePipelineWrapper):
    """A model server behind Hayhooks."""

    def setup(self) -> None:
        """Connect."""
        self.client = openai.OpenAI(max_retries=0)

    def teardown(self) -> None:
        """Disconnect."""
        self.client.close()

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """A completion, or the stream of its chunks."""
        more = {name: body[name] for name in FOREIGN if name in body}
        own = {name: value for name, value in body.items() if name not in FOREIGN}
        answer = self.client.chat.completions.create(**{**own, "model": "test-model"}, extra_body=more)
        if not body["stream"]:
            answer.model = model  # callers know it under the deployment's name
        return answer
