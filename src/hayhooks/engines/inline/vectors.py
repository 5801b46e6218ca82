"""What an embedding hook returns, packed into vectors."""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from starlette.responses import Response

from hayhooks.core.events import Raw, Usage, Vectors
from hayhooks.core.haystack.convert import usage_of

_WANTED = (
    "The embedding hook must return a list with one list of numbers for each input, an array of them, a dict with "
    "'embeddings' and maybe 'usage', or what an embedder of Haystack returns."
)


class VectorsModel:
    """Turns what an embedding hook returns into vectors.

    Numbers are taken over as wholes, not one by one: an array keeps its bytes.
    """

    schema: None = None

    def reply(self, value: Any) -> Vectors | Raw:
        """The answer for *value*.

        Raises:
            TypeError, ValueError: It holds no embeddings.
        """
        if isinstance(value, Response):
            return Raw(value)
        found, usage = _found(value)
        if found is None or isinstance(found, (str, bytes, Mapping)):
            raise TypeError(f"{_WANTED} It returned {type(value).__name__}.")
        return _packed(list(found), usage)


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


def _packed(vectors: Sequence[Any], usage: Usage | None) -> Vectors:
    arrays = [_array(vector) for vector in vectors]
    typecode: Literal["f", "d"] = "f" if all(numbers.typecode == "f" for numbers in arrays) else "d"
    items = [(numbers if numbers.typecode == typecode else array(typecode, numbers)).tobytes() for numbers in arrays]
    return Vectors(items, typecode, usage)


def _array(vector: Any) -> "array[float]":
    numbers = _numbers(vector)
    if not numbers:
        raise ValueError("The embedding hook returned an embedding without numbers.")
    # The sum is finite when all are, unless it overflows; looking at each is slow.
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        raise ValueError("The embedding hook returned an embedding with a number that is not finite.")
    return numbers


def _numbers(vector: Any) -> "array[float]":
    if not isinstance(vector, (list, tuple)):
        try:
            view = memoryview(vector)
        except TypeError:  # a tensor, perhaps
            view = None
        if view is not None and view.ndim == 1 and view.format in ("f", "d"):
            return array(view.format, view.tobytes())
        if isinstance(vector, (str, bytes, bytearray)) or not hasattr(vector, "tolist"):
            raise TypeError(f"{_WANTED} One of them is {type(vector).__name__}.")
        vector = vector.tolist()
    try:
        return array("d", vector)
    except TypeError as error:
        raise TypeError(f"{_WANTED} One of them does not hold numbers.") from error
