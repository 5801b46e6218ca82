"""A model that is no model, with nothing but a chat hook: the server makes Responses of it."""

from typing import Any

from haystack.dataclasses import ChatMessage, ToolCall

from hayhooks import BasePipelineWrapper

COMMAND = "echo made by over_chat > made.txt && cat made.txt"


class PipelineWrapper(BasePipelineWrapper):
    """Answers chat."""

    def setup(self) -> None:
        """Nothing to build."""

    def run_chat_completion(self, model: str, messages: list[Any], body: dict[str, Any]) -> str | ChatMessage:
        """Call the tool that Codex offers, or say what it gave."""
        if messages[-1]["role"] == "tool":
            return f"The tool said: {messages[-1]['content']}"
        assert any(tool["function"]["name"] == "exec_command" for tool in body["tools"])
        call = ToolCall("exec_command", {"cmd": COMMAND}, id="call_1")
        return ChatMessage.from_assistant("I will write the file.", tool_calls=[call])
