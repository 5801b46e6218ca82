"""Events that Open WebUI understands, and its collapsible block for tool calls."""

import html
from typing import Any

from hayhooks.events import NotificationType, PipelineEvent, create_notification_event, create_status_event

__all__ = [
    "NotificationType",
    "OpenWebUIEvent",
    "PipelineEvent",
    "create_chat_completion_event",
    "create_details_tag",
    "create_message_event",
    "create_notification_event",
    "create_replace_event",
    "create_source_event",
    "create_status_event",
]


class OpenWebUIEvent(PipelineEvent):
    """An event that only Open WebUI knows.

    Source: https://docs.openwebui.com/features/plugin/development/events
    """

    __slots__ = ()


def create_chat_completion_event(data: dict[str, Any]) -> OpenWebUIEvent:
    """A piece of chat completion for Open WebUI to merge into the message."""
    return OpenWebUIEvent("chat:completion", data)


def create_message_event(content: str) -> OpenWebUIEvent:
    """Text to append to the message."""
    return OpenWebUIEvent("message", {"content": content})


def create_replace_event(content: str) -> OpenWebUIEvent:
    """Text to put in the place of the whole message."""
    return OpenWebUIEvent("replace", {"content": content})


def create_source_event(source: dict[str, Any]) -> OpenWebUIEvent:
    """A citation: ``{"source": {"name", "url"}, "document": [text], "metadata": [{"source", ...}]}``."""
    return OpenWebUIEvent("source", source)


def create_details_tag(tool_name: str, summary: str, content: str) -> str:
    """A collapsed block for the message text, closed until the reader opens it.

    Args:
        tool_name: Becomes the block's ``type``.
        summary: The visible line, plain text.
        content: Markdown. It cannot end the block: a closing tag in it is escaped.
    """
    # Names and summaries hold what a model wrote: as markup they could pose as part of the page.
    kind = html.escape(tool_name, quote=True)
    line = html.escape(summary, quote=False)
    inside = content.replace("</details", "&lt;/details")
    return f'<details type="{kind}" done="true">\n<summary>{line}</summary>\n\n{inside}\n</details>\n\n'
