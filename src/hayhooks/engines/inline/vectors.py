"""What an embedding hook returns, packed into vectors."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from hayhooks.core.events import Raw, Usage, Vectors
from hayhooks.core.haystack.arrays import pack
from hayhooks.core.haystack.convert import usage_of

_WANTED = (
    "The embedding hook must return a list with one list of numbers for each input, an array of them, a dict with "
    "'embeddings' and maybe 'usage', or what an embedder of Haystack returns"
)


class VectorsModel:
    """Turns what an embedding hook returns into vectors, without looking at each number."""

    def reply(self, value: Any) -> Vectors | Raw:
        """The answer for *value*.

        Raises:
            TypeError: It holds no embeddings, or what should be one is none.
        """
        if isinstance(value, Response):
            return Raw(value)
        found, usage = _found(value)
        if found is None or isinstance(found, (str, bytes, Mapping)):
            raise TypeError(f"{_WANTED}, not {type(value).__name__}.")
        try:
            items, typecode = pack(found)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{_WANTED}: {error}.") from error
        return Vectors(items, typecode, usage)


def _found(value: Any) -> tuple[Any, Usage | None]:
    """The embeddings in *value*, and the usage beside them."""
    if not isinstance(value, Mapping):
        return value, None
    meta = value.get("meta")
    report = value.get("usage") or (meta.get("usage") if isinstance(meta, Mapping) else None)
    usage = usage_of([dict(report)]) if isinstance(report, Mapping) else None
    if value.get("embedding") is not None:  # an embedder of one text
        return [value["embedding"]], usage
    if value.get("documents") is not None:
        return [document.embedding for document in value["documents"]], usage
    return value.get("embeddings"), usage
