"""Quicker checks against protocols, of which Haystack makes several for each input of a component."""

import sys
import typing
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary


def remember_protocols() -> None:
    """Let CPython 3.11 gather the members of a protocol once, as later versions do; nothing where it would not fit.

    Source: What's New In Python 3.12, typing; ``Lib/typing.py`` of 3.11.
    """
    gather: Any = getattr(typing, "_get_protocol_attrs", None)
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython":
        return
    if getattr(gather, "__module__", None) == "typing":  # neither gone nor replaced
        typing._get_protocol_attrs = _remembering(gather)  # type: ignore[attr-defined]


def _remembering(gather: Callable[[type], set[str]]) -> Callable[[type], set[str]]:
    known: WeakKeyDictionary[type, set[str]] = WeakKeyDictionary()

    def members(cls: type) -> set[str]:
        try:
            return known[cls]
        except KeyError:
            found = known[cls] = gather(cls)
            return found

    return members
