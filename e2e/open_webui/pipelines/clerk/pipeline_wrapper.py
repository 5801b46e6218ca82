"""The task model: names chats, tags them and thinks of what could be asked next. All of it is answered the same."""

import json
from typing import Any

from hayhooks import BasePipelineWrapper

# Open WebUI takes from a task's answer the field that it asked for.
ANSWER = {"title": "Named by the clerk", "tags": ["Kettles"], "follow_ups": ["Do we have red ones?"]}


class PipelineWrapper(BasePipelineWrapper):
    """Has no pipeline and gives plain answers: text in one piece."""

    def setup(self) -> None:
        """Need nothing."""

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> str:
        """Give the answer."""
        return json.dumps(ANSWER)

    def run_open_webui_task(self, task: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        """Give the answer to whatever Open WebUI wants to know."""
        return ANSWER
