import json

from fastapi import HTTPException, UploadFile
from haystack import Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.dataclasses import ByteStream
from starlette.responses import Response

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("converter", TextFileToDocument())
        self.pipeline.add_component("splitter", DocumentSplitter(split_by="word", split_length=50))
        self.pipeline.connect("converter.documents", "splitter.documents")

    def run_api(
        self, files: list[UploadFile] | None = None, labels: dict[str, str] | None = None, max_passages: int = 100
    ) -> Response:
        """
        Cut text and Markdown files into passages and give them back as a JSON Lines file.

        Args:
            files: Plain text or Markdown files.
            labels: Copied to the metadata of every passage.
            max_passages: Stop after so many.
        """
        if not files:
            raise HTTPException(status_code=400, detail="Send at least one file.")
        sources = [
            ByteStream(file.file.read(), meta={"file_name": file.filename}, mime_type=file.content_type)
            for file in files
        ]
        documents = self.pipeline.run({"converter": {"sources": sources}})["splitter"]["documents"]
        lines = [
            json.dumps(
                {"text": document.content, "meta": {"file_name": document.meta["file_name"], **(labels or {})}},
                ensure_ascii=False,
            )
            for document in documents[:max_passages]
        ]
        return Response(
            "\n".join(lines) + "\n",
            media_type="application/jsonl",
            headers={"Content-Disposition": 'attachment; filename="passages.jsonl"'},
        )
