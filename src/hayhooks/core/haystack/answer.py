"""What a pipeline says in a chat, read from one of its outputs."""

from typing import Any

from haystack.dataclasses import ChatMessage, ChatRole, ExtractedAnswer, GeneratedAnswer

from hayhooks.core.haystack.convert import result_text


def answer_of(value: Any) -> Any:
    """What is said: a ChatMessage, a text, or, of an output that could be anything, the value as it is.

    Of a generator's replies it is the first, of an agent's conversation the last message, of answers the text of the
    first.
    """
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, ChatMessage) for item in value):
            is_conversation = not all(message.is_from(ChatRole.ASSISTANT) for message in value)
            return _said(value[-1 if is_conversation else 0])
        value = value[0] if value else None
    if value is None:
        return ""
    if isinstance(value, ChatMessage):
        return _said(value)
    return (value.data or "") if isinstance(value, (GeneratedAnswer, ExtractedAnswer)) else value


def text_of(answer: Any) -> str:
    """The text of what `answer_of` found; empty where it has none."""
    text = answer.text if isinstance(answer, ChatMessage) else answer
    return text if isinstance(text, str) else ""


def _said(message: ChatMessage) -> ChatMessage | str:
    result = message.tool_call_result  # an agent that stops at a tool has its result as the last word
    return message if result is None else result_text(result.result)
