"""Takes Haystack's own objects."""

from haystack.dataclasses import ChatMessage, Document

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Keeps nothing."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(
        self, documents: list[Document], message: ChatMessage, more: dict[str, Document] | None = None
    ) -> list[Document]:
        """Give the documents back."""
        return [*documents, *(more or {}).values()]
