"""What sockets take."""

import types
from collections.abc import Iterable, Sequence
from typing import Any, Union, get_args, get_origin

_LISTS = (list, Sequence, Iterable)


def needs_value(socket: Any) -> bool:
    """Whether a run must give it one: it has no default, and no component feeds it."""
    return socket.is_mandatory and not socket.senders


def options(kind: Any) -> tuple[Any, ...]:
    """The types that a union stands for, None left out; any other type stands for itself."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for option in get_args(kind) if option is not type(None))
    return (kind,)


def takes_none(kind: Any) -> bool:
    """Whether None is one of its values."""
    return kind in (Any, None, type(None)) or type(None) in get_args(kind)


def takes(kind: Any, wanted: Any) -> bool:
    """Whether a socket of this type takes a *wanted*, without Any's taking everything."""
    return wanted in options(kind)


def takes_list_of(kind: Any, wanted: Any) -> bool:
    """Whether a socket of this type takes a list of *wanted*."""
    return any(get_origin(option) in _LISTS and wanted in options(get_args(option)[0]) for option in options(kind))
