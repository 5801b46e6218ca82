"""How two JSON Schemas differ for those who send, or read, what they describe.

It knows what pydantic writes: types, enums, bounds, objects, arrays, unions, ``$ref`` into ``$defs``, recursion. What
it does not know (``not``, ``if``, ``patternProperties``) is compared as it stands, and a difference counts as breaking.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Schema = Mapping[str, Any]
Side = Literal["request", "answer"]

_ANYTHING: Schema = {}
_MAX_DEPTH = 40  # deeper than people write by hand; what lies below is not compared
# Keyword: whether a larger value allows less. A missing one is no bound.
_BOUNDS = {
    "minimum": True, "exclusiveMinimum": True, "minLength": True, "minItems": True, "minProperties": True,
    "maximum": False, "exclusiveMaximum": False, "maxLength": False, "maxItems": False, "maxProperties": False,
}  # fmt: skip
_EXACT = (
    "pattern", "format", "multipleOf", "uniqueItems", "not", "if", "then", "else", "patternProperties",
    "propertyNames", "contains", "dependentRequired", "contentEncoding", "contentMediaType",
)  # fmt: skip
_IS_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, float),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different at *path*, as the end of a sentence about it."""

    path: str
    text: str
    breaks: bool


def compare_schemas(old: Schema, new: Schema, side: Side) -> list[Difference]:
    """The differences for callers who send a request of that schema, or read such an answer.

    A property that a request no longer has always breaks: where others are refused it is an error, elsewhere it is
    ignored without a word. One that an answer has in addition does not: readers skip what they do not know. A
    definition that differs is told at the first place that uses it.
    """
    return _Comparison(old, new, side).run()


class _Memory:
    """What comparisons within one another share, by identity: what it knows of stays alive with it."""

    def __init__(self) -> None:
        self._alternatives: dict[int, tuple[Any, list[Schema]]] = {}
        self.accepted: dict[tuple[int, int], bool] = {}

    def alternatives(self, schema: Any, root: Schema) -> list[Schema]:
        """Those of *schema*, the same objects each time."""
        known = self._alternatives.get(id(schema))
        if known is None:
            known = self._alternatives[id(schema)] = (schema, _alternatives(schema, root))
        return known[1]


class _Comparison:
    def __init__(self, old: Schema, new: Schema, side: Side, outer: "_Comparison | None" = None) -> None:
        self._old, self._new = old, new
        self._is_request = side == "request"
        self._found: list[Difference] = []
        self._memory: _Memory = outer._memory if outer else _Memory()
        # What is under way further out is taken to fit, as recursion is, unless it shows there that it does not.
        self._assumed = frozenset(outer._under_way) if outer else frozenset()
        self._has_assumed = False
        self._under_way: set[tuple[int, int]] = set(self._assumed)
        self._seen: set[tuple[int, int]] = set(self._assumed)  # pairs that are told, or under way

    def run(self) -> list[Difference]:
        self._compare(self._old, self._new, "$", 0)
        return self._found

    def _compare(self, old: Any, new: Any, path: str, depth: int) -> None:
        pair = (id(old), id(new))
        if pair in self._seen or depth > _MAX_DEPTH:
            self._has_assumed = self._has_assumed or pair in self._assumed
            return
        self._seen.add(pair)
        self._under_way.add(pair)
        olds, news = self._memory.alternatives(old, self._old), self._memory.alternatives(new, self._new)
        self._compare_alternatives(olds, news, path, depth)
        self._under_way.discard(pair)

    def _compare_alternatives(self, olds: Sequence[Schema], news: Sequence[Schema], path: str, depth: int) -> None:
        if len(olds) == 1 and len(news) == 1 and _kind(olds[0]) == _kind(news[0]):
            self._compare_alike(olds[0], news[0], path, depth)
            return
        pairs, gone, added = self._matched(olds, news)
        for one, other in pairs:
            self._compare_alike(one, other, path, depth)
        self._tell_alternatives(gone, added, olds, news, path)

    def _matched(
        self, olds: Sequence[Schema], news: Sequence[Schema]
    ) -> tuple[list[tuple[Schema, Schema]], list[Schema], list[Schema]]:
        """Alternatives of a union that mean the same thing, and those that are on one side alone."""
        pairs, gone, added = [], list(olds), list(news)
        rules: tuple[Callable[[Schema, Schema], bool], ...] = (
            lambda one, other: _count(olds, one) == 1 and _count(news, other) == 1,
            lambda one, other: _label(one) is not None and _label(one) == _label(other),
            self._is_same,  # the slow one: it looks at all that lies below
        )
        for is_match in rules:
            for one in list(gone):
                other = next((other for other in added if _kind(one) == _kind(other) and is_match(one, other)), None)
                if other is not None:
                    pairs.append((one, other))
                    gone.remove(one)
                    added.remove(other)
        return pairs, gone, added

    def _tell_alternatives(
        self, gone: Sequence[Schema], added: Sequence[Schema], olds: Sequence[Schema], news: Sequence[Schema], path: str
    ) -> None:
        # An integer is a number, and anything is taken where no type is asked for.
        lost = [one for one in gone if not self._fits(one, news, self._old, self._new)]
        more = [one for one in added if not self._fits(one, olds, self._new, self._old)]
        if not lost and not more:
            if gone or added:
                self._add(path, f"is described as {_words(news)}, no longer as {_words(olds)}", breaks=False)
        elif lost and len(lost) == len(olds):
            self._add(path, f"was {_words(olds)}, is {_words(news)}", breaks=bool(more) or self._is_request)
        else:
            self._tell_choices(_words(lost) if lost else "", _words(more) if more else "", path)

    def _fits(self, one: Schema, others: Iterable[Schema], root: Schema, other_root: Schema) -> bool:
        """Whether all that *one* allows is allowed by one of *others*."""
        for other in others:
            if not _kind(other) and _values(other) is None:
                return True
            is_alike = _kind(one) == _kind(other) or (_kind(one), _kind(other)) == ("integer", "number")
            if is_alike and self._accepts(one, other, root, other_root):
                return True
        return False

    def _accepts(self, one: Schema, other: Schema, root: Schema, other_root: Schema) -> bool:
        pair = (id(one), id(other))
        known = self._memory.accepted.get(pair)
        if known is None:
            inner = _Comparison(root, other_root, "request", self)
            inner._compare_alike(one, other, "$", 0)
            known = not any(difference.breaks for difference in inner._found)
            self._has_assumed = self._has_assumed or inner._has_assumed
            if not known or not inner._has_assumed:
                self._memory.accepted[pair] = known
        return known

    def _is_same(self, one: Schema, other: Schema) -> bool:
        return self._accepts(one, other, self._old, self._new) and self._accepts(other, one, self._new, self._old)

    def _compare_alike(self, old: Schema, new: Schema, path: str, depth: int) -> None:
        """Compare two schemas of one type."""
        self._compare_values(old, new, path)
        for keyword, is_lower in _BOUNDS.items():
            self._compare_bound(keyword, is_lower, old.get(keyword), new.get(keyword), path)
        for keyword in _EXACT:
            self._compare_exact(keyword, old.get(keyword), new.get(keyword), path)
        if self._is_request and "default" in old and "default" in new and old["default"] != new["default"]:
            self._add(path, f"is {_json(new['default'])} by default, was {_json(old['default'])}", breaks=False)
        if "properties" in old or "properties" in new or _kind(old) == "object":
            self._compare_objects(old, new, path, depth)
        if _kind(old) == "array":
            self._compare_arrays(old, new, path, depth)

    def _compare_values(self, old: Schema, new: Schema, path: str) -> None:
        before, after = _values(old), _values(new)
        if before is None and after is None:
            return
        if before is None or after is None:
            values = ", ".join(map(_json, before or after or ()))
            text = f"is one of {values} now" if before is None else f"is no longer limited to {values}"
            self._narrowed(path, text, is_narrower=before is None)
            return
        gone = [value for value in before if value not in after]
        more = [value for value in after if value not in before]
        self._tell_choices(", ".join(map(_json, gone)), ", ".join(map(_json, more)), path)

    def _tell_choices(self, gone: str, more: str, path: str) -> None:
        if gone:
            text = f"no longer takes {gone}" if self._is_request else f"is no longer ever {gone}"
            self._add(path, text, breaks=self._is_request)
        if more:
            text = f"also takes {more}" if self._is_request else f"may also be {more}"
            self._add(path, text, breaks=not self._is_request)

    def _compare_bound(self, keyword: str, is_lower: bool, old: Any, new: Any, path: str) -> None:
        if old == new:
            return
        if old is None:
            self._narrowed(path, f"has {keyword} {_json(new)} now", is_narrower=True)
        elif new is None:
            self._narrowed(path, f"has no {keyword} any more, had {_json(old)}", is_narrower=False)
        else:
            text = f"has {keyword} {_json(new)}, had {_json(old)}"
            self._narrowed(path, text, is_narrower=(new > old) is is_lower)

    def _compare_exact(self, keyword: str, old: Any, new: Any, path: str) -> None:
        if old == new:
            return
        if old is None:
            self._narrowed(path, f"has {keyword} {_json(new)} now", is_narrower=True)
        elif new is None:
            self._narrowed(path, f"has no {keyword} any more, had {_json(old)}", is_narrower=False)
        else:  # which allows more cannot be told
            self._add(path, f"has {keyword} {_json(new)}, had {_json(old)}", breaks=True)

    def _compare_objects(self, old: Schema, new: Schema, path: str, depth: int) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        rest_before, rest_after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        pair = (id(before), id(after))
        if before and after:
            if pair in self._seen:
                return  # the same two models, told where they are used first
            self._seen.add(pair)
        for name in before:
            below = f"{path}.{name}" if name.isidentifier() else f"{path}[{_json(name)}]"
            if name not in after:
                self._tell_removed(below, before[name], rest_after, depth)
                continue
            self._compare(before[name], after[name], below, depth + 1)
            if name in needed_after and name not in needed_before:
                text = "is required now" if self._is_request else "is always there now"
                self._add(below, text, breaks=self._is_request)
            if name in needed_before and name not in needed_after:
                text = "may be left out now" if self._is_request else "may be missing now"
                self._add(below, text, breaks=not self._is_request)
        for name in after:
            if name not in before:
                below = f"{path}.{name}" if name.isidentifier() else f"{path}[{_json(name)}]"
                is_needed = name in needed_after and self._is_request
                optional = ", and may be left out" if self._is_request else ""
                self._add(below, "is new and required" if is_needed else f"is new{optional}", breaks=is_needed)
        if rest_before == rest_after:
            return
        if rest_after is False:
            text = "takes no other properties any more" if self._is_request else "has no other properties any more"
            self._add(path, text, breaks=self._is_request)
        elif rest_before is False:
            text = "takes other properties now" if self._is_request else "may have other properties now"
            self._add(path, text, breaks=False)
        else:
            self._compare(
                _ANYTHING if rest_before is True else rest_before,
                _ANYTHING if rest_after is True else rest_after,
                f"{path}.*",
                depth + 1,
            )

    def _tell_removed(self, path: str, schema: Any, rest: Any, depth: int) -> None:
        if not self._is_request:
            self._add(path, "is no longer there", breaks=True)
        elif rest is False:
            self._add(path, "is no longer taken: it is refused", breaks=True)
        elif isinstance(rest, Mapping) and rest:  # **kwargs with a type
            self._compare(schema, rest, path, depth + 1)
        else:
            self._add(path, "is no longer taken: it is ignored", breaks=True)

    def _compare_arrays(self, old: Schema, new: Schema, path: str, depth: int) -> None:
        before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
        rest_before, rest_after = old.get("items", True), new.get("items", True)
        for index in range(max(len(before), len(after))):
            one = before[index] if index < len(before) else rest_before
            other = after[index] if index < len(after) else rest_after
            if one is not False and other is not False:  # else a bound of the length says it
                self._compare(_schema(one), _schema(other), f"{path}[{index}]", depth + 1)
        if rest_before is not False and rest_after is not False:
            self._compare(_schema(rest_before), _schema(rest_after), f"{path}[*]", depth + 1)

    def _narrowed(self, path: str, text: str, *, is_narrower: bool) -> None:
        """Less may be sent, which breaks a request; or more may come, which breaks an answer."""
        self._add(path, text, breaks=is_narrower is self._is_request)

    def _add(self, path: str, text: str, *, breaks: bool) -> None:
        self._found.append(Difference(path, text, breaks))


def _schema(value: Any) -> Any:
    return _ANYTHING if value is True else value


def _alternatives(schema: Any, root: Schema, seen: frozenset[str] = frozenset()) -> list[Schema]:
    """*schema* as a list of schemas of one type each: references followed, unions taken apart, ``allOf`` merged."""
    if not isinstance(schema, Mapping):
        return [] if schema is False else [_ANYTHING]
    if "$ref" in schema:
        reference = str(schema["$ref"])
        if reference in seen:
            return []
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _alternatives({**_resolved(reference, root), **beside}, root, seen | {reference})
    if "allOf" in schema:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            choices = _alternatives(part, root, seen)
            merged = {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **merged}
        return _alternatives(merged, root, seen)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            beside = {
                key: value for key, value in schema.items() if key not in (keyword, "title", "discriminator", "default")
            }
            found: list[Schema] = []
            for choice in schema[keyword]:
                found += [{**one, **beside} if beside else one for one in _alternatives(choice, root, seen)]
            return found
    kind = schema.get("type")
    if isinstance(kind, list):
        return [{**schema, "type": one} for one in kind]
    values = _values(schema)
    if kind is None and values is not None:
        kinds = {_kind_of(value) for value in values}
        typed = [
            {**schema, "type": one, "enum": [value for value in values if _kind_of(value) == one]} for one in kinds
        ]
        return sorted(typed, key=lambda one: str(one["type"]))
    if kind is None and "properties" in schema:
        return [{**schema, "type": "object"}]
    return [schema]


def _resolved(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key, _ANYTHING) if isinstance(found, Mapping) else _ANYTHING
    return found if isinstance(found, Mapping) else _ANYTHING


def _kind(schema: Schema) -> str:
    """The type of an alternative, empty for anything."""
    return str(schema.get("type", ""))


def _kind_of(value: Any) -> str:
    return next(name for name, is_type in _IS_TYPE.items() if is_type(value))


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(values) if values is not None else None


def _label(schema: Schema) -> str | None:
    """What tells an object from the others of a union: the constants by which it is chosen, or its title."""
    constants = {
        name: values for name, part in schema.get("properties", {}).items()
        if isinstance(part, Mapping) and (values := _values(part)) is not None and len(values) == 1
    }  # fmt: skip
    if constants:
        return _json(constants)
    title = schema.get("title")
    return str(title) if title is not None else None


def _count(schemas: Iterable[Schema], one: Schema) -> int:
    return sum(_kind(schema) == _kind(one) for schema in schemas)


def _words(schemas: Sequence[Schema]) -> str:
    """Alternatives as people say them: string, null or Item."""
    names = list(dict.fromkeys(_word(schema) for schema in schemas)) or ["nothing"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _word(schema: Schema) -> str:
    values = _values(schema)
    if values is not None and len(values) <= 8 and _kind(schema) != "null":
        return " or ".join(map(_json, values))
    if _kind(schema) == "object" and schema.get("title"):
        return str(schema["title"])
    return _kind(schema) or "anything"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
