"""An estimate of how many tokens a request has: the server knows no pipeline's tokenizer."""

from typing import Any

from hayhooks.surfaces._json import json_bytes

CHARACTERS_PER_TOKEN = 4  # a rule of thumb for English


def estimated_tokens(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    """A quarter of the characters of all text, tool calls and tools; at least 1. Images and files are not counted."""
    characters = sum(len(text) for message in messages for text in _texts(message))
    characters += len(json_bytes(tools).decode()) if tools else 0
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def _texts(message: dict[str, Any]) -> list[str]:
    content = message.get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return [
        *(part["text"] for part in parts if part["type"] == "text"),
        *(text for call in calls for text in (call["name"], call["arguments"])),
    ]
