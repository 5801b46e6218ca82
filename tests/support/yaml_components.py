"""Small components that pipeline YAMLs of tests name, and how such a YAML is written."""

from collections.abc import Callable
from typing import Any

import yaml
from haystack import Document, component
from haystack.dataclasses import ChatMessage, StreamingChunk

PROMPT_BUILDER = "haystack.components.builders.prompt_builder.PromptBuilder"
CHAT_PROMPT_BUILDER = "haystack.components.builders.chat_prompt_builder.ChatPromptBuilder"
GENERATOR = "haystack.components.generators.chat.openai.OpenAIChatGenerator"
AGENT = "haystack.components.agents.agent.Agent"
ANSWER_BUILDER = "haystack.components.builders.answer_builder.AnswerBuilder"
ROUTER = "haystack.components.routers.conditional_router.ConditionalRouter"
JOINER = "haystack.components.joiners.document_joiner.DocumentJoiner"
# The variable that lets Haystack 3 load them.
ALLOWLIST = ("HAYSTACK_DESERIALIZATION_ALLOWLIST", __name__)


def part(kind: str | type, **init_parameters: Any) -> dict[str, Any]:
    """A component as a YAML has it."""
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return {"type": name, "init_parameters": init_parameters}


def prompt(template: str, **others: Any) -> dict[str, Any]:
    """A PromptBuilder."""
    return part(PROMPT_BUILDER, template=template, **others)


def chat_prompt(text: str, **others: Any) -> dict[str, Any]:
    """A ChatPromptBuilder with one user message."""
    message: dict[str, Any] = {"role": "user", "content": [{"text": text}], "meta": {}, "name": None}
    return part(CHAT_PROMPT_BUILDER, template=[message], **others)


def generator(**others: Any) -> dict[str, Any]:
    """A generator for the model server of the environment."""
    return part(GENERATOR, model="test-model", **others)


def pipeline(components: dict[str, Any], *connections: tuple[str, str], **own: Any) -> str:
    """The YAML of a pipeline; *own* are our keys."""
    definition = {
        "components": components,
        "connections": [{"sender": sender, "receiver": receiver} for sender, receiver in connections],
        "metadata": {},
    }
    return yaml.safe_dump({**definition, **own}, sort_keys=False)


def weather(city: str) -> str:
    """A tool."""
    return f"sunny in {city}"


@component
class Parrot:
    """Says the last message again, word by word; it can only stream synchronously."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    @component.output_types(replies=list[ChatMessage])
    def run(
        self, messages: list[ChatMessage], streaming_callback: Callable[[StreamingChunk], Any] | None = None
    ) -> dict[str, Any]:
        """One reply, told to the callback as well."""
        text = self.prefix + (messages[-1].text or "")
        if streaming_callback is not None:
            for word in text.split(" "):
                streaming_callback(StreamingChunk(content=f"{word} "))
        return {"replies": [ChatMessage.from_assistant(text)]}


@component
class Mute:
    """Has a callback to stream with and never calls it."""

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], streaming_callback: Any = None) -> dict[str, Any]:
        """One reply."""
        del streaming_callback
        return {"replies": [ChatMessage.from_assistant(f"quietly: {messages[-1].text}")]}


@component
class Shelf:
    """Two documents, whatever the question."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int = 2) -> dict[str, Any]:
        """The first *top_k*."""
        found = [
            Document(content=f"Lamps and {query}", meta={"title": "Lamps", "url": "https://example.com/lamps"}),
            Document(content="Bells", meta={"file_path": "bells.txt"}),
        ]
        return {"documents": found[:top_k]}


@component
class Kinds:
    """Tells the type of what its inputs get."""

    @component.output_types(kinds=dict[str, str], documents=list[Document])
    def run(
        self,
        document: Document | None = None,
        documents: list[Document] | None = None,
        by_name: dict[str, Document] | None = None,
        messages: list[ChatMessage] | None = None,
        message: ChatMessage | None = None,
        anything: Any = None,
        numbers: list[int] | None = None,
    ) -> dict[str, Any]:
        """The types, by input, and the documents again."""
        given = {
            "document": document, "documents": documents, "by_name": by_name, "messages": messages,
            "message": message, "anything": anything, "numbers": numbers,
        }  # fmt: skip
        return {"kinds": {name: _kind(value) for name, value in given.items()}, "documents": documents or []}


def _kind(value: Any) -> str:
    inner = (
        next(iter(value.values() if isinstance(value, dict) else value), None)
        if isinstance(value, (list, dict))
        else None
    )
    return type(value).__name__ + (f" of {type(inner).__name__}" if inner is not None else "")
