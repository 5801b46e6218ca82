"""The answer of a plain run, as the hook's return annotation says."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from starlette.responses import Response

from hayhooks.core.events import Raw, Result
from hayhooks.engines.inline.values import encode, json_form
from hayhooks.sse import SSEStream

_SAYS_NOTHING = (inspect.Signature.empty, Any, None, type(None), object)
_STREAMS = (Iterator, Generator, AsyncIterator, AsyncGenerator, AsyncIterable)
# Annotations that a value of exactly this type cannot fail to fit.
_OPEN = {annotation: get_origin(annotation) or annotation for annotation in
         (str, int, float, bool, dict, list, dict[str, Any], list[Any], dict[Any, Any])}  # fmt: skip


class ResultModel:
    """Turns what a hook returns into an answer.

    A return annotation is a promise to callers: the value is checked against it, and sent with the fields that it
    names and no others, as FastAPI does. An annotation that pydantic cannot express promises nothing.
    """

    __slots__ = ("_adapter", "_open", "schema")

    def __init__(self, annotation: Any) -> None:
        self._open = _OPEN.get(annotation) if _is_hashable(annotation) else None
        self._adapter: TypeAdapter[Any] | None = None
        self.schema: dict[str, Any] | None = None
        if annotation in _SAYS_NOTHING or _mentions(annotation, (*_STREAMS, SSEStream, Response)):
            return
        try:
            # Many hooks return a str or a dict: what is known of these is made once.
            adapter, self.schema = (_known if self._open else _adapter)(annotation)
        except Exception:  # a class of the user's: nothing that a schema could say
            return
        self._adapter = adapter

    def reply(self, value: Any) -> Result | Raw:
        """The answer for *value*.

        Raises:
            TypeError: When it does not fit the annotation, or has no JSON form.
        """
        if type(value) is self._open or self._adapter is None:
            return Raw(value) if isinstance(value, Response) else Result(encode(value))
        if isinstance(value, Response):
            return Raw(value)
        adapter = self._adapter
        try:
            value = adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            # Without the values: this text goes to the log.
            found = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in ("result", *found["loc"]))
            raise TypeError(f"The result does not fit the return annotation. {where}: {found['msg']}") from None
        try:
            return Result(adapter.dump_json(value, by_alias=True, warnings="none", fallback=json_form))
        except (PydanticSerializationError, ValueError):  # bytes that are not text have a form there
            return Result(encode(adapter.dump_python(value, by_alias=True, warnings="none")))


def streams(annotation: Any) -> Literal["text", "sse", None]:
    """What a return annotation says about streaming; None when it leaves it open."""
    if annotation is SSEStream:
        return "sse"
    return "text" if (get_origin(annotation) or annotation) in _STREAMS else None


def _adapter(annotation: Any) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    return adapter, adapter.json_schema(mode="serialization")


_known = cache(_adapter)


def _mentions(annotation: Any, classes: tuple[type, ...]) -> bool:
    if (get_origin(annotation) or annotation) in classes:
        return True
    if isinstance(annotation, type) and issubclass(annotation, (Response, SSEStream)):
        return True
    return any(_mentions(option, classes) for option in get_args(annotation) if not isinstance(option, (str, list)))


def _is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True
