"""A model that is no model: calls the tool that the person named, then repeats what it said."""

import re
import time
from typing import Any

from haystack.dataclasses import ChatMessage, ToolCall

from hayhooks import BasePipelineWrapper

NAMED = re.compile(r"Use the tool (\w+)( as soon as there is one)?")
MAX_MESSAGES = 100
PAUSE_S = 0.2


class PipelineWrapper(BasePipelineWrapper):
    skip_mcp = True

    def setup(self) -> None:
        pass

    def run_chat_completion(self, model: str, messages: list[Any], body: dict[str, Any]) -> str | ChatMessage:
        """Answer one turn: with a call, or with what the tool that was asked for has said."""
        named = [found for message in messages if message["role"] == "user" for found in NAMED.findall(str(message))]
        if not named:
            return "Nothing to do."  # assistants also ask for titles and the like
        tool, may_come_later = named[-1]
        last = messages[-1]
        if last["role"] == "tool" and _is(messages[-2]["tool_calls"][-1]["function"]["name"], tool):
            return f"The tool said: {last['content']}"
        call = _call(tool, messages, body)
        if call is None and may_come_later and len(messages) < MAX_MESSAGES:
            time.sleep(PAUSE_S)
            call = _call("order_status", messages, body)
        return call or f"There is no tool {tool} among {', '.join(_offered(body))}"


def _call(tool: str, messages: list[Any], body: dict[str, Any]) -> ChatMessage | None:
    """A call of *tool* by the name that the assistant gives it, or of the search that finds it."""
    offered = _offered(body)
    name = next((name for name in offered if _is(name, tool)), None)
    if name is not None:
        call = ToolCall(name, {"order": "A-17"}, id=f"call_{len(messages)}")
        return ChatMessage.from_assistant("I will look.", tool_calls=[call])
    # Claude Code only tells the names of tools from servers; its search then gives their schemas.
    said = "\n".join(str(message["content"]) for message in messages)
    told = re.search(rf"^mcp__hayhooks__{tool}$", said, re.MULTILINE)
    if "ToolSearch" not in offered or told is None:
        return None
    call = ToolCall("ToolSearch", {"query": f"select:{told[0]}", "max_results": 1}, id=f"call_{len(messages)}")
    return ChatMessage.from_assistant("I will search.", tool_calls=[call])


def _offered(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools") or []]


def _is(name: str, tool: str) -> bool:
    return re.search(rf"(^|_){tool}$", name) is not None
