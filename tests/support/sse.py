"""What a streamed chat completion said."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatStream:
    """A streamed chat completion, taken apart."""

    chunks: list[dict[str, Any]]  # chunks with choices
    events: list[dict[str, Any]]  # what wrappers yielded beside the text, as {"type", "data"}
    usage: dict[str, Any] | None
    is_done: bool  # ended with [DONE]

    @property
    def text(self) -> str:
        """The streamed text."""
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in self.chunks)

    @property
    def finish_reasons(self) -> list[str]:
        """The finish reasons of all chunks; a whole stream has one."""
        reasons = (chunk["choices"][0].get("finish_reason") for chunk in self.chunks)
        return [reason for reason in reasons if reason]


def read_chat_stream(body: str) -> ChatStream:
    """Take the body of a ``text/event-stream`` answer apart."""
    data = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    is_done = bool(data) and data[-1] == "[DONE]"
    items = [json.loads(item) for item in data if item != "[DONE]"]
    return ChatStream(
        chunks=[item for item in items if item.get("choices")],
        events=[item["event"] for item in items if "event" in item],
        usage=next((item["usage"] for item in items if item.get("usage")), None),
        is_done=is_done,
    )
