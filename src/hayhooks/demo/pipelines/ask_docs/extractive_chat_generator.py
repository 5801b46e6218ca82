"""A chat generator that needs no model: it answers with sentences it finds in the prompt."""

import asyncio
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from haystack import component
from haystack.dataclasses import ChatMessage, ComponentInfo, StreamingChunk
from haystack.dataclasses.streaming_chunk import StreamingCallbackT, select_streaming_callback

from .sentences import best_statements, join

NOTHING_FOUND = "I found nothing about that in the documentation."

_PASSAGE = re.compile(r"<passage\b[^>]*>\n?(.*?)</passage>", re.DOTALL)
_TOKEN = re.compile(r"\w+|[^\w\s]")


@component
class ExtractiveChatGenerator:
    """Answers the last user message with the best matching sentences of the ``<passage>`` elements before it.

    The same messages always give the same answer. A token, in the usage it reports, is a run of word characters or
    any other single character that is not white space.
    """

    def __init__(self, max_sentences: int = 3, streaming_callback: StreamingCallbackT | None = None) -> None:
        self.max_sentences = max_sentences
        self.streaming_callback = streaming_callback

    @component.output_types(replies=list[ChatMessage])
    def run(
        self, messages: list[ChatMessage], streaming_callback: StreamingCallbackT | None = None
    ) -> dict[str, list[ChatMessage]]:
        """Give the answer, telling *streaming_callback* word by word."""
        callback = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=False)
        reply = self._reply(messages)
        if callback is not None:
            for chunk in self._chunks(reply):
                callback(chunk)
        return {"replies": [reply]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self, messages: list[ChatMessage], streaming_callback: StreamingCallbackT | None = None
    ) -> dict[str, list[ChatMessage]]:
        """Do the same on the event loop; *streaming_callback* may be a coroutine function."""
        callback = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=True)
        reply = self._reply(messages)
        if callback is not None:
            for chunk in self._chunks(reply):
                waiting = callback(chunk)
                # Let other tasks run between two words, also when the callback does not wait.
                await (waiting if inspect.isawaitable(waiting) else asyncio.sleep(0))
        return {"replies": [reply]}

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        question = next((message.text or "" for message in reversed(messages) if message.is_from("user")), "")
        passages = [passage for message in messages for passage in _PASSAGE.findall(message.text or "")]
        text = join(best_statements(question, passages, self.max_sentences)) or NOTHING_FOUND
        prompt_tokens = sum(_count_tokens(message.text or "") for message in messages)
        completion_tokens = _count_tokens(text)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        return ChatMessage.from_assistant(
            text, meta={"model": "extractive", "index": 0, "finish_reason": "stop", "usage": usage}
        )

    def _chunks(self, reply: ChatMessage) -> Iterator[StreamingChunk]:
        info = ComponentInfo.from_component(self)
        meta: dict[str, Any] = {"model": reply.meta["model"]}
        for position, word in enumerate(re.findall(r"\S+\s*", reply.text or "")):
            yield StreamingChunk(word, meta=dict(meta), component_info=info, index=0, start=position == 0)
        yield StreamingChunk("", meta=dict(reply.meta), component_info=info, finish_reason="stop")


def _count_tokens(text: str) -> int:
    return len(_TOKEN.findall(text))
