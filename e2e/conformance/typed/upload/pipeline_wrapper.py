"""Takes files beside fields."""

from enum import Enum

from fastapi import UploadFile
from haystack.dataclasses import Document
from pydantic import BaseModel

from hayhooks import BasePipelineWrapper


class Kind(Enum):
    """What a file is."""

    TEXT = "text"
    PICTURE = "picture"


class About(BaseModel):
    """What is known of the files."""

    title: str
    pages: int = 1


class PipelineWrapper(BasePipelineWrapper):
    """Keeps nothing."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    async def run_api_async(
        self,
        doc: UploadFile,
        title: str,
        others: list[UploadFile] | None = None,
        count: int = 1,
        is_public: bool = False,
        kind: Kind = Kind.TEXT,
        pages: list[int] = [],  # noqa: B006 - a default of a request
        about: About | None = None,
        meta: Document | None = None,
    ) -> dict[str, int]:
        """Tell how large the files are."""
        files = [doc, *(others or [])]
        return {f"{place}": len(await file.read()) for place, file in enumerate(files)}
