"""Finds the project's documentation and puts it, cut into passages, into a document store."""

import os
from pathlib import Path

from haystack import Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import MarkdownHeaderSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy

import hayhooks


def find_markdown_files() -> list[Path]:
    """The documentation to answer from.

    That is the directory named by ``ASK_DOCS_DIR``, else ``docs/`` and the README of the checkout that Hayhooks runs
    from, else the copies in the installed package.

    Raises:
        FileNotFoundError: If there are none.
    """
    package = Path(hayhooks.__file__).parent
    checkout = package.parent.parent
    if directory := os.environ.get("ASK_DOCS_DIR"):
        places = [Path(directory).expanduser()]
    elif (checkout / "pyproject.toml").is_file() and (checkout / "docs").is_dir():
        places = [checkout / "docs", checkout / "README.md"]
    else:
        places = [package / "demo" / "docs"]
    files = [file for place in places for file in (sorted(place.glob("*.md")) if place.is_dir() else [place])]
    if not files:
        raise FileNotFoundError(f"No Markdown files in {', '.join(map(str, places))}.")
    return files


def index(files: list[Path]) -> InMemoryDocumentStore:
    """A store with one document per section of *files*; its metadata names ``file_path`` and ``header``."""
    store = InMemoryDocumentStore()
    indexing = Pipeline()
    indexing.add_component("converter", TextFileToDocument())
    # Headings stay in the text, so that a search finds them too.
    indexing.add_component("splitter", MarkdownHeaderSplitter(keep_headers=True))
    indexing.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.SKIP))
    indexing.connect("converter.documents", "splitter.documents")
    indexing.connect("splitter.documents", "writer.documents")
    indexing.run({"converter": {"sources": files}})
    return store
