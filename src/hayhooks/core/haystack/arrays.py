"""Numbers by the thousand as bytes; by numpy, which Haystack brings along and has loaded."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy

Typecode = Literal["f", "d"]


def pack(vectors: Iterable[Any]) -> tuple[list[bytes], Typecode]:
    """Each of *vectors* as machine floats, and their kind: 4 bytes where all are arrays of such, else 8.

    Lists, arrays and tensors will do.

    Raises:
        TypeError: One of them is no list of numbers.
        ValueError: One is empty, or holds a number that is not finite.
    """
    arrays = [_array(vector) for vector in vectors]
    typecode: Typecode = "f" if all(array.dtype == numpy.float32 for array in arrays) else "d"
    return [array.astype(typecode).tobytes() for array in arrays], typecode


def numbers(item: bytes, typecode: Typecode) -> list[float]:
    """What was packed, as numbers."""
    unpacked: list[float] = numpy.frombuffer(item, typecode).tolist()
    return unpacked


def little_floats(item: bytes, typecode: Typecode) -> bytes:
    """What was packed, as little-endian floats of 4 bytes."""
    with numpy.errstate(over="ignore"):  # beyond their range lies infinity
        return numpy.frombuffer(item, typecode).astype("<f4").tobytes()


def _array(vector: Any) -> Any:
    array: Any
    try:
        array = numpy.asarray(vector)
    except (TypeError, ValueError, RuntimeError):  # a tensor that lies elsewhere, or is of a kind of its own
        array = numpy.asarray(vector.tolist() if hasattr(vector, "tolist") else None)
    if array.size == 0:
        raise ValueError("an embedding is empty")
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise TypeError(f"an embedding is {type(vector).__name__}, not a list of numbers")
    if not numpy.isfinite(array).all():
        raise ValueError("an embedding holds a number that is not finite")
    return array
