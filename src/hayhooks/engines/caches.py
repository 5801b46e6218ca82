"""Caches and registries of the language and of libraries that would keep a dropped package's classes alive."""

import logging
import os
import sys
import typing
from pathlib import Path
from typing import Any


def purge(package: str, directory: Path) -> None:
    """Take everything defined in *package*, whose files are in *directory*, out of them.

    Most are private to their owners; where one is not found, some memory is kept and nothing else is lost.
    """
    below = package + "."
    # ``Optional[Model]`` and the like: each form keeps its last 128 arguments. CPython's own leak tests clear them so.
    for clear in getattr(typing, "_cleanups", ()):
        clear()
    _drop(getattr(typing, "_overload_registry", None), lambda key: _is_below(key, below))
    # The keys of pydantic's ``Model[Argument]`` hold both classes, and these hold the value.
    _drop(_pydantic_generics(), lambda key: _mentions(key, below))
    _drop(logging.root.manager.loggerDict, lambda key: key == package or _is_below(key, below))
    _drop(sys.path_importer_cache, lambda key: _is_in(key, str(directory)))


def _pydantic_generics() -> Any:
    try:
        from pydantic._internal import _generics
    except ImportError:
        return None
    return getattr(_generics, "_GENERIC_TYPES_CACHE", None)


def _drop(cache: Any, is_ours: typing.Callable[[Any], bool]) -> None:
    if cache is None:
        return
    for key in list(cache.keys()):
        if is_ours(key):
            cache.pop(key, None)


def _mentions(key: Any, below: str) -> bool:
    """Whether a class of the package is in *key*, a tuple of types and tuples."""
    if isinstance(key, (tuple, list)):
        return any(_mentions(part, below) for part in key)
    arguments = typing.get_args(key)
    return _is_below(getattr(key, "__module__", None), below) or any(_mentions(part, below) for part in arguments)


def _is_below(name: Any, below: str) -> bool:
    return isinstance(name, str) and name.startswith(below)


def _is_in(path: Any, directory: str) -> bool:
    return isinstance(path, str) and (path == directory or path.startswith(directory + os.sep))
