"""Haystack's embedders behind one call: texts in, embeddings and usage out."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from haystack import Document

from hayhooks.core.errors import InvalidRequest
from hayhooks.core.haystack.convert import usage_of

# Texts that an embedder of single texts is asked for at once.
_AT_ONCE = 8


def embed_texts(embedder: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    """``{"embeddings": [...], "usage": {...}}`` of *inputs*, as the embedding hook gets them and may return it.

    *embedder* is a component for documents, which takes all inputs at once, or for texts, which takes one after the
    other. The usage is left out when it reports none.

    Raises:
        InvalidRequest: Some inputs are tokens.
        TypeError: *embedder* is no embedder.
    """
    texts = _texts(inputs)
    if _takes_documents(embedder):
        return _of_documents(embedder.run(documents=_documents(texts)))
    return _of_texts([embedder.run(text=text) for text in texts])


async def embed_texts_async(embedder: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    """As ``embed_texts``, without blocking: texts are embedded a few at a time.

    An embedder that cannot run asynchronously runs in a thread.
    """
    texts = _texts(inputs)
    if not callable(getattr(embedder, "run_async", None)):
        return await asyncio.to_thread(embed_texts, embedder, inputs)
    if _takes_documents(embedder):
        return _of_documents(await embedder.run_async(documents=_documents(texts)))
    turn = asyncio.Semaphore(_AT_ONCE)

    async def embed(text: str) -> dict[str, Any]:
        async with turn:
            result: dict[str, Any] = await embedder.run_async(text=text)
            return result

    try:
        async with asyncio.TaskGroup() as group:  # when one fails, the others are stopped
            tasks = [group.create_task(embed(text)) for text in texts]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return _of_texts([task.result() for task in tasks])


def _texts(inputs: Sequence[Any]) -> Sequence[str]:
    for place, text in enumerate(inputs):
        if not isinstance(text, str):
            message = "This model takes texts, not tokens."
            raise InvalidRequest(message, [{"loc": ["body", "input", place], "msg": message, "type": "string_type"}])
    return inputs


def _takes_documents(embedder: Any) -> bool:
    sockets = getattr(getattr(embedder, "__haystack_input__", None), "_sockets_dict", {})
    if "documents" in sockets:
        return True
    if "text" in sockets:
        return False
    raise TypeError(f"{type(embedder).__name__} is no embedder: it takes neither 'text' nor 'documents'.")


def _documents(texts: Iterable[str]) -> list[Document]:
    # An id of its own for each: equal texts would be one document to whoever looks at ids.
    return [Document(id=str(place), content=text) for place, text in enumerate(texts)]


def _of_documents(result: dict[str, Any]) -> dict[str, Any]:
    embeddings = [document.embedding for document in result["documents"]]
    return {"embeddings": embeddings, **_usage([result])}


def _of_texts(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"embeddings": [result["embedding"] for result in results], **_usage(results)}


def _usage(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    metas = [result.get("meta") or {} for result in results]
    usage = usage_of([meta["usage"] for meta in metas if isinstance(meta.get("usage"), dict)])
    if usage is None:
        return {}
    return {"usage": {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}}
