import os
from collections.abc import Generator
from pathlib import Path

from haystack import Pipeline

from hayhooks import BasePipelineWrapper, get_last_user_message, streaming_generator

# The pages that a chat is about; a call of run_api names its own.
DEFAULT_URLS = os.environ.get("CHAT_WEBSITE_URLS", "https://haystack.deepset.ai").split(",")


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline.loads((Path(__file__).parent / "chat_with_website.yml").read_text())

    def run_api(self, urls: list[str], question: str) -> Generator:
        """
        Answer a question about one or more websites, as a stream of plain text.

        Args:
            urls: Addresses of the pages to read.
            question: What to find out from them.
        """
        return self._answer(urls, question)

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> str | Generator:
        question = get_last_user_message(messages)
        if not question:
            return "Ask me something about " + ", ".join(DEFAULT_URLS)
        return self._answer(DEFAULT_URLS, question)

    def _answer(self, urls: list[str], question: str) -> Generator:
        return streaming_generator(
            pipeline=self.pipeline,
            pipeline_run_args={"fetcher": {"urls": urls}, "prompt_builder": {"question": question}},
        )
