"""Offers prompts: templates, and builders of its own that make more than text."""

import base64
from typing import Any

from haystack import Pipeline, component
from haystack.components.builders import PromptBuilder
from haystack.dataclasses import ChatMessage, FileContent, ImageContent

from hayhooks import BasePipelineWrapper

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@component
class ImageBuilder:
    """A prompt with an image."""

    template, variables, required_variables = "", [], []

    @component.output_types(prompt=list[ChatMessage])
    def run(self) -> dict[str, Any]:
        image = ImageContent(base64_image=PNG, mime_type="image/png")
        return {"prompt": [ChatMessage.from_user(content_parts=[image, "Please analyze the image above."])]}


@component
class FileBuilder:
    """A prompt with a file."""

    template, variables, required_variables = "", ["resourceUri"], ["resourceUri"]

    @component.output_types(prompt=list[ChatMessage])
    def run(self, resourceUri: str) -> dict[str, Any]:  # noqa: N803 - the suite's name
        text = base64.b64encode(b"Embedded resource content for testing.").decode()
        file = FileContent(base64_data=text, mime_type="text/plain", filename="example.txt", extra={"uri": resourceUri})
        return {"prompt": [ChatMessage.from_user(content_parts=[file, "Please process the embedded resource above."])]}


class PipelineWrapper(BasePipelineWrapper):
    """Offers prompts."""

    prompts = {
        "test_simple_prompt": {"component": "simple", "description": "A prompt without arguments."},
        "test_prompt_with_arguments": "arguments",
        "test_prompt_with_image": "image",
        "test_prompt_with_embedded_resource": "file",
    }

    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("simple", PromptBuilder("This is a simple prompt for testing."))
        template = "Prompt with arguments: arg1='{{ arg1 }}', arg2='{{ arg2 }}'"
        self.pipeline.add_component("arguments", PromptBuilder(template, required_variables="*"))
        self.pipeline.add_component("image", ImageBuilder())
        self.pipeline.add_component("file", FileBuilder())

    def run_api(self, topic: str = "nothing") -> str:
        return topic
