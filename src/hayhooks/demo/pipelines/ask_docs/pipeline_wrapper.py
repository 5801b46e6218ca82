"""Answers questions about Hayhooks from its own documentation."""

import os
from collections.abc import Generator, Iterable
from typing import Annotated, Any

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from pydantic import Field

from hayhooks import BasePipelineWrapper, get_last_user_message, streaming_generator
from hayhooks.open_webui import create_source_event

from .documents import find_markdown_files, index
from .extractive_chat_generator import ExtractiveChatGenerator
from .sentences import terms

INSTRUCTIONS = """\
Answer the question from these passages of the Hayhooks documentation. Say so when they do not answer it.
{% for document in documents %}
<passage source="{{ document.meta["file_path"] }}">
{{ document.content }}
</passage>
{% endfor %}"""


class PipelineWrapper(BasePipelineWrapper):
    """With ``OPENAI_API_KEY`` set, a model writes the answer; without, it is put together from sentences found."""

    def setup(self) -> None:
        """Index the documentation and build the pipeline."""
        self.pipeline = Pipeline()
        self.pipeline.add_component("retriever", InMemoryBM25Retriever(index(find_markdown_files())))
        prompt = [ChatMessage.from_system(INSTRUCTIONS), ChatMessage.from_user("{{ question }}")]
        self.pipeline.add_component("prompt", ChatPromptBuilder(prompt, required_variables="*"))
        self.pipeline.add_component("llm", _chat_generator())
        self.pipeline.connect("retriever.documents", "prompt.documents")
        self.pipeline.connect("prompt.prompt", "llm.messages")

    def run_api(self, question: str, top_k: Annotated[int, Field(ge=1, le=20)] = 3) -> dict[str, Any]:
        """Answer a question about Hayhooks from its documentation.

        Args:
            question: For example "How do I deploy a pipeline?"
            top_k: How many passages of the documentation to read.

        Returns:
            The answer and the sources it was taken from.
        """
        result = self.pipeline.run(_inputs(question, top_k), include_outputs_from={"retriever"})
        return {
            "answer": result["llm"]["replies"][0].text,
            "sources": [
                {"file": document.meta["file_path"], "section": _section(document), "score": document.score}
                for document in _relevant(result)
            ],
        }

    def run_chat_completion(
        self,
        model: str,
        messages: list[dict[str, Any]],
        body: dict[str, Any],
    ) -> str | Generator[Any, None, None]:
        """Stream the answer to the last user message, then its sources as Open WebUI events."""
        question = get_last_user_message(messages)
        if not question:
            return "Ask me something about Hayhooks."
        return self._answer(question)

    def _answer(self, question: str) -> Generator[Any, None, None]:
        result: dict[str, Any] = {}
        yield from streaming_generator(
            pipeline=self.pipeline,
            pipeline_run_args=_inputs(question, top_k=3),
            include_outputs_from={"retriever"},
            on_pipeline_end=result.update,  # gives nothing to append to the answer
        )
        for document in _relevant(result):
            yield create_source_event(
                {
                    "source": {"name": f"{document.meta['file_path']}: {_section(document)}"},
                    "document": [document.content],
                    "metadata": [{"source": document.meta["file_path"], "section": _section(document)}],
                    "distances": [document.score],
                }
            )


def _chat_generator() -> OpenAIChatGenerator | ExtractiveChatGenerator:
    if not os.environ.get("OPENAI_API_KEY"):
        return ExtractiveChatGenerator()
    # OPENAI_BASE_URL, for another server than OpenAI's, is read by the client itself.
    model = os.environ.get("OPENAI_MODEL")
    return OpenAIChatGenerator(model=model) if model else OpenAIChatGenerator()


def _inputs(question: str, top_k: int) -> dict[str, Any]:
    # BM25 weighs every word; without "how do I" the words that matter decide.
    query = " ".join(word for word in question.split() if terms(word)) or question
    return {"retriever": {"query": query, "top_k": top_k}, "prompt": {"question": question}}


def _relevant(result: dict[str, Any]) -> Iterable[Document]:
    """The passages that share a word with the question."""
    return [document for document in result["retriever"]["documents"] if (document.score or 0) > 0]


def _section(document: Document) -> str:
    return " > ".join([*document.meta.get("parent_headers", []), document.meta.get("header", "")])
