"""Chats."""

from collections.abc import Iterator
from typing import Any

from hayhooks import BasePipelineWrapper, get_last_user_message


class PipelineWrapper(BasePipelineWrapper):
    """Keeps nothing."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[str]:
        """Say what was said."""
        yield "You said: "
        yield get_last_user_message(messages) or "nothing"
