"""Small chat generators, real Haystack components, that say what a test tells them to."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from haystack import component
from haystack.dataclasses import ChatMessage, ChatRole, StreamingChunk, ToolCall
from haystack.dataclasses.chat_message import ReasoningContent
from haystack.dataclasses.streaming_chunk import ToolCallDelta, select_streaming_callback

Turn = Iterable[StreamingChunk]
Script = Callable[[list[ChatMessage]], Turn]


def text(*words: str) -> list[StreamingChunk]:
    """A turn that says *words* and stops."""
    return [*(StreamingChunk(content=word) for word in words), StreamingChunk(content="", finish_reason="stop")]


def call(name: str, *pieces: str, call_id: str | None = "call_1", index: int = 0) -> list[StreamingChunk]:
    """The chunks of one tool call whose arguments come in *pieces*; without a finish reason."""
    deltas = [ToolCallDelta(index, tool_name=name, id=call_id, arguments="")]
    deltas += [ToolCallDelta(index, arguments=piece) for piece in pieces]
    return [StreamingChunk(content="", tool_calls=[delta], index=index) for delta in deltas]


def calls_end() -> StreamingChunk:
    """The chunk that ends a turn of tool calls."""
    return StreamingChunk(content="", finish_reason="tool_calls")


def thought(words: str, **extra: Any) -> StreamingChunk:
    """A chunk of reasoning."""
    return StreamingChunk(content="", reasoning=ReasoningContent(words, extra=extra), index=0)


def scripted(*turns: Sequence[StreamingChunk]) -> Script:
    """One turn after the other, by the number of assistant messages that came before: no state, runs do not mix."""

    def turn(messages: list[ChatMessage]) -> Turn:
        said = sum(message.is_from(ChatRole.ASSISTANT) for message in messages)
        return turns[min(said, len(turns) - 1)]

    return turn


def echo(messages: list[ChatMessage]) -> Turn:
    """The last message again, word by word."""
    return text(*(messages[-1].text or "").split())


def reply_of(chunks: Sequence[StreamingChunk]) -> ChatMessage:
    """The message that *chunks* add up to."""
    import json

    calls: dict[int, dict[str, Any]] = {}
    for delta in (delta for chunk in chunks for delta in chunk.tool_calls or ()):
        made = calls.setdefault(delta.index, {"name": "", "id": None, "arguments": ""})
        made["name"] += delta.tool_name or ""
        made["id"] = made["id"] or delta.id
        made["arguments"] += delta.arguments or ""
    tool_calls = [
        ToolCall(made["name"], json.loads(made["arguments"] or "{}"), id=made["id"]) for made in calls.values()
    ]
    words = "".join(chunk.content for chunk in chunks)
    return ChatMessage.from_assistant(
        words or None, tool_calls=tool_calls, meta={"usage": {"total_tokens": len(chunks)}}
    )


class _Watched:
    """What a test can see of a generator from outside."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.made = 0  # chunks handed to the callback
        self.stopped = threading.Event()  # a run has ended, one way or the other
        self.threads: set[int] = set()

    def watched(self, messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        for chunk in self.script(messages):
            self.made += 1
            yield chunk

    def answer(self, messages: list[ChatMessage], callback: Callable[[StreamingChunk], Any] | None) -> dict[str, Any]:
        self.threads.add(threading.get_ident())
        chunks = []
        try:
            for chunk in self.watched(messages):
                chunks.append(chunk)
                if callback is not None:
                    callback(chunk)
        finally:
            self.stopped.set()
        return {"replies": [reply_of(chunks)]}


@component
class SyncGenerator(_Watched):
    """Takes the callback as an input; has no run_async."""

    def __init__(self, script: Script, streaming_callback: Callable[[StreamingChunk], Any] | None = None) -> None:
        _Watched.__init__(self, script)  # @component makes a new class, which super() does not know
        self.streaming_callback = streaming_callback

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        streaming_callback: Callable[[StreamingChunk], Any] | None = None,
        tools: Any = None,
    ) -> dict[str, Any]:
        callback = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=False)
        return self.answer(messages, callback)


@component
class ScriptedGenerator(_Watched):
    """Takes the callback as an input, in run and run_async."""

    def __init__(self, script: Script, streaming_callback: Callable[[StreamingChunk], Any] | None = None) -> None:
        _Watched.__init__(self, script)  # @component makes a new class, which super() does not know
        self.streaming_callback = streaming_callback

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        streaming_callback: Callable[[StreamingChunk], Any] | None = None,
        tools: Any = None,
    ) -> dict[str, Any]:
        callback = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=False)
        return self.answer(messages, callback)

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self,
        messages: list[ChatMessage],
        streaming_callback: Callable[[StreamingChunk], Any] | None = None,
        tools: Any = None,
    ) -> dict[str, Any]:
        callback: Any = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=True)
        chunks = []
        try:
            for chunk in self.watched(messages):
                chunks.append(chunk)
                await asyncio.sleep(0)  # as a network would, let others run
                if callback is not None:
                    await callback(chunk)
        finally:
            self.stopped.set()
        return {"replies": [reply_of(chunks)]}


@component
class AttributeGenerator(_Watched):
    """Has its callback as an attribute only."""

    def __init__(self, script: Script, streaming_callback: Callable[[StreamingChunk], Any] | None = None) -> None:
        _Watched.__init__(self, script)  # @component makes a new class, which super() does not know
        self.streaming_callback = streaming_callback

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage]) -> dict[str, Any]:
        return self.answer(messages, self.streaming_callback)


@component
class Asking:
    """Makes a user message of a question: something before the generator."""

    @component.output_types(messages=list[ChatMessage])
    def run(self, query: str) -> dict[str, Any]:
        return {"messages": [ChatMessage.from_user(query)]}


@component
class Joining:
    """Makes one text of replies: something after the generator."""

    @component.output_types(answer=str)
    def run(self, replies: list[ChatMessage]) -> dict[str, Any]:
        return {"answer": " ".join(reply.text or "" for reply in replies)}
