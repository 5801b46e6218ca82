"""Plain data as a pipeline's inputs: documents and messages become objects where a socket takes them."""

from collections.abc import Mapping
from typing import Any, get_args

from haystack.dataclasses import ChatMessage, Document
from pydantic import TypeAdapter, ValidationError

from hayhooks.core.haystack.schema import teach_pydantic


def coerce_pipeline_inputs(pipeline: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """*data* in the shape it has, with dictionaries made into Documents and ChatMessages where sockets take them.

    Takes ``{component: {input: value}}`` as well as flat ``{input: value}``; other values and unknown names pass.

    Raises:
        ValueError: A value does not fit its socket, or a flat name means sockets of different types.
    """
    teach_pydantic()
    sockets: dict[str, dict[str, Any]] = pipeline.inputs(include_components_with_connected_inputs=True)
    is_nested = bool(data) and all(name in sockets and isinstance(value, Mapping) for name, value in data.items())
    if is_nested:
        return {
            component: {
                name: _coerced(f"{component}.{name}", value, sockets[component].get(name, {}).get("type"))
                for name, value in values.items()
            }
            for component, values in data.items()
        }
    return {name: _coerced(name, value, _flat_type(name, value, sockets)) for name, value in data.items()}


def _flat_type(name: str, value: Any, sockets: Mapping[str, Mapping[str, Any]]) -> Any:
    types = {repr(found[name]["type"]): found[name]["type"] for found in sockets.values() if name in found}
    made = [kind for kind in types.values() if _takes_objects(kind)]
    if isinstance(value, (dict, list)) and made and len(types) > 1:
        raise ValueError(
            f"Input {name!r} is ambiguous: components take it as {', '.join(sorted(types))}. "
            "Use {component: {input: value}}."
        )
    return next(iter(types.values()), None)


def _coerced(where: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, (dict, list)) or not _takes_objects(kind):
        return value
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"Input {where!r} does not fit: {error.errors(include_url=False)[0]['msg']}") from None


def _takes_objects(kind: Any) -> bool:
    """Whether a socket's type mentions a Haystack object that has a form in JSON."""
    if kind in (Document, ChatMessage):
        return True
    return any(_takes_objects(part) for part in get_args(kind))
