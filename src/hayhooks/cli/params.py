"""Values given as ``-p name=text``, made what the deployment's schema says they are."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]


class InvalidParam(ValueError):
    """A ``-p`` option that cannot be read."""


def param_values(options: Iterable[str], schema: Schema | None) -> dict[str, Any]:
    """The JSON values of *options* (each ``name=text`` or ``name=@file``) for a request of *schema*.

    A text parameter gets the text as it is, ``123`` included; any other is read as JSON. A list may be given
    as JSON or by repeating the option. Without a schema, what reads as JSON is JSON.

    Raises:
        InvalidParam: When an option is malformed, repeated for a single value, or not JSON where it must be.
    """
    texts: dict[str, list[str]] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise InvalidParam(f"{option!r}: write name=value.")
        texts.setdefault(name, []).append(_file_text(name, text[1:]) if text.startswith("@") else text)
    root = schema or {}
    properties = _properties(root, root)
    return {name: _value(name, given, properties.get(name, {}), root) for name, given in texts.items()}


def upload_params(schema: Schema | None) -> list[str]:
    """Names of the parameters of *schema* that take files, lists of files first."""
    root = schema or {}
    lists, single = [], []
    for name, prop in _properties(root, root).items():
        options = list(_alternatives(prop, root))
        if any(_is_file(item) for option in options for item in _alternatives(option.get("items"), root)):
            lists.append(name)
        elif any(_is_file(option) for option in options):
            single.append(name)
    return lists + single


def _value(name: str, given: list[str], schema: Schema, root: Schema) -> Any:
    options = list(_alternatives(schema, root))
    items = next((option.get("items", {}) for option in options if "array" in _types(option)), None)
    if len(given) > 1:
        if items is None:
            raise InvalidParam(f"{name!r} is given {len(given)} times but takes one value.")
        return [_value(name, [text], items, root) for text in given]
    text = given[0]
    types = {type_ for option in options for type_ in _types(option)}
    if "string" in types and types <= {"string", "null"}:
        return _enum_value(text, options)
    try:
        value = _json(text)
    except ValueError as error:
        if items is not None and "string" not in types and not text.lstrip().startswith("["):
            return [_value(name, [text], items, root)]
        if types and types <= {"object", "array", "null"}:
            raise InvalidParam(
                f"{name!r} takes JSON: {error}. Quote it for your shell, or use {name}=@file."
            ) from error
        return text  # the server says what is wrong with it, or takes it (yes for true)
    found = _type_of(value)
    if not types or found & types:
        return value
    if "array" in types and items is not None and "string" not in types:
        return [_value(name, [text], items, root)]
    return text if "string" in types else value


def _enum_value(text: str, options: list[Schema]) -> Any:
    allowed = [choice for option in options for choice in _choices(option)]
    if text in allowed or not any(not isinstance(choice, str) and choice is not None for choice in allowed):
        return text
    return next((choice for choice in allowed if json.dumps(choice) == text), text)


def _alternatives(schema: Any, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """The plain schemas that *schema* allows: references followed, unions taken apart."""
    if not isinstance(schema, Mapping) or depth > 20:  # a schema may refer to itself
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield from _alternatives(_referred(reference, root), root, depth + 1)
        return
    unions = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word) or ()]
    if not unions:
        yield schema
    for part in unions:
        yield from _alternatives(part, root, depth + 1)


def _properties(schema: Schema, root: Schema) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for option in _alternatives(schema, root):
        found.update(option.get("properties") or {})
    return found


def _referred(reference: str, root: Schema) -> Any:
    place: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        place = place.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(place, Mapping) else None
    return place


def _types(schema: Schema) -> set[str]:
    declared = schema.get("type")
    types = {declared} if isinstance(declared, str) else set(declared or ())
    for choice in _choices(schema) if not types else ():
        types |= _type_of(choice)
    if not types and "properties" in schema:
        types = {"object"}
    return types


def _choices(schema: Schema) -> list[Any]:
    return [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else ())]


def _is_file(schema: Schema) -> bool:
    return schema.get("format") == "binary" or schema.get("contentMediaType") == "application/octet-stream"


def _type_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
        case _:
            return {"object"}


def _json(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _file_text(name: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidParam(f"{name!r}: cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidParam(f"{name!r}: {path} is not UTF-8 text; send it with --file {name}={path}.") from error
