import os
from pathlib import Path

from haystack import Pipeline

from hayhooks import BasePipelineWrapper, get_last_user_message, log

# The pages that a chat is about; a call of run_api names its own.
DEFAULT_URLS = os.environ.get("CHAT_WEBSITE_URLS", "https://haystack.deepset.ai").split(",")


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline.loads((Path(__file__).parent / "chat_with_website.yml").read_text())

    def run_api(self, urls: list[str], question: str) -> str:
        """
        Answer a question about one or more websites.

        Args:
            urls: Addresses of the pages to read.
            question: What to find out from them.

        Returns:
            The answer.
        """
        log.debug("Reading {} pages", len(urls))
        result = self.pipeline.run({"fetcher": {"urls": urls}, "prompt_builder": {"question": question}})
        return result["llm"]["replies"][0].text

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> str:
        question = get_last_user_message(messages)
        if not question:
            return "Ask me something about " + ", ".join(DEFAULT_URLS)
        return self.run_api(DEFAULT_URLS, question)
