"""Chat with a model, the way of Haystack: the request's fields become generation arguments, the answer is streamed."""

from collections.abc import Iterator
from typing import Any

from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage

from hayhooks import BasePipelineWrapper, Pipeline, streaming_generator

SERVED = ("model", "messages", "stream", "stream_options", "n")  # the server and Haystack answer for these
# What OpenAI's SDK has no parameter for goes into the body as it is.
FOREIGN = ("top_k", "thinking", "reasoning")


class PipelineWrapper(BasePipelineWrapper):
    """A pipeline of one generator."""

    def setup(self) -> None:
        """Build the pipeline."""
        self.pipeline = Pipeline()
        self.pipeline.add_component("llm", OpenAIChatGenerator(model="test-model", max_retries=0))

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[Any]:
        """Stream the model's answer."""
        arguments: dict[str, Any] = {name: value for name, value in body.items() if name not in (*SERVED, *FOREIGN)}
        arguments["extra_body"] = {name: body[name] for name in FOREIGN if name in body}
        arguments["stream_options"] = {"include_usage": True}
        given = {
            "messages": [ChatMessage.from_openai_dict_format(message) for message in messages],
            "generation_kwargs": arguments,
        }
        return streaming_generator(self.pipeline, {"llm": given})
