"""What is said of a new version's differences, and that what is called harmless is."""

import copy
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, Field, create_model

from hayhooks.core.deployment import Deployment, Entry, Limits
from hayhooks.core.json_schema_diff import Side, compare_schemas
from hayhooks.core.schema_diff import compare

Told = set[tuple[str, str, bool]]


def told(old: Mapping[str, Any], new: Mapping[str, Any], side: Side) -> Told:
    return {(one.path, one.text, one.breaks) for one in compare_schemas(old, new, side)}


def model(**fields: Any) -> dict[str, Any]:
    schema: dict[str, Any] = create_model("M", **fields).model_json_schema()
    return schema


STRING, INTEGER, NUMBER, NULL = ({"type": kind} for kind in ("string", "integer", "number", "null"))
CLOSED = {"type": "object", "properties": {"x": STRING}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("old", "new", "request_says", "answer_says"),
    [
        (model(q=(str, ...)), model(q=(str, ...)), set(), set()),
        (
            model(q=(str, ...)), model(question=(str, ...)),
            {("$.q", "is no longer taken: it is ignored", True), ("$.question", "is new and required", True)},
            {("$.q", "is no longer there", True), ("$.question", "is new", False)},
        ),
        (CLOSED, {**CLOSED, "properties": {}}, {("$.x", "is no longer taken: it is refused", True)},
         {("$.x", "is no longer there", True)}),
        (model(), model(k=(int, 3)), {("$.k", "is new, and may be left out", False)}, {("$.k", "is new", False)}),
        (model(k=(int, 3)), model(k=(int, ...)), {("$.k", "is required now", True)},
         {("$.k", "is always there now", False)}),
        (model(k=(int, ...)), model(k=(int, 3)), {("$.k", "may be left out now", False)},
         {("$.k", "may be missing now", True)}),
        (model(k=(int, 3)), model(k=(int, 4)), {("$.k", "is 4 by default, was 3", False)}, set()),
        (INTEGER, NUMBER, {("$", "also takes number", False)}, {("$", "may also be number", True)}),
        (NUMBER, INTEGER, {("$", "was number, is integer", True)}, {("$", "was number, is integer", False)}),
        (STRING, INTEGER, {("$", "was string, is integer", True)}, {("$", "was string, is integer", True)}),
        (STRING, {}, {("$", "also takes anything", False)}, {("$", "may also be anything", True)}),
        ({}, STRING, {("$", "was anything, is string", True)}, {("$", "was anything, is string", False)}),
        ({"anyOf": [STRING, NULL]}, STRING, {("$", "no longer takes null", True)},
         {("$", "is no longer ever null", False)}),
        (STRING, {"type": ["string", "null"]}, {("$", "also takes null", False)}, {("$", "may also be null", True)}),
        ({"enum": ["a", "b"]}, {"enum": ["b", "c"]},
         {("$", 'no longer takes "a"', True), ("$", 'also takes "c"', False)},
         {("$", 'is no longer ever "a"', False), ("$", 'may also be "c"', True)}),
        (STRING, {"type": "string", "enum": ["a"]}, {("$", 'is one of "a" now', True)},
         {("$", 'is one of "a" now', False)}),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}, {("$", "has minimum 1, had 0", True)},
         {("$", "has minimum 1, had 0", False)}),
        ({"type": "integer", "maximum": 9}, INTEGER, {("$", "has no maximum any more, had 9", False)},
         {("$", "has no maximum any more, had 9", True)}),
        (STRING, {"type": "string", "maxLength": 5}, {("$", "has maxLength 5 now", True)},
         {("$", "has maxLength 5 now", False)}),
        ({"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"},
         {("$", 'has pattern "b", had "a"', True)}, {("$", 'has pattern "b", had "a"', True)}),
        ({"type": "object"}, {"type": "object", "additionalProperties": False},
         {("$", "takes no other properties any more", True)}, {("$", "has no other properties any more", False)}),
        (model(xs=(list[int], ...)), model(xs=(list[str], ...)), {("$.xs[*]", "was integer, is string", True)},
         {("$.xs[*]", "was integer, is string", True)}),
        (model(xs=(dict[str, int], ...)), model(xs=(dict[str, str], ...)), {("$.xs.*", "was integer, is string", True)},
         {("$.xs.*", "was integer, is string", True)}),
        (model(t=(tuple[int, str], ...)), model(t=(tuple[int, int], ...)), {("$.t[1]", "was string, is integer", True)},
         {("$.t[1]", "was string, is integer", True)}),
        ({"properties": {"a b": STRING}}, {"properties": {"a b": INTEGER}},
         {('$["a b"]', "was string, is integer", True)}, {('$["a b"]', "was string, is integer", True)}),
    ],
)  # fmt: skip
def test_each_difference_is_named_and_breaks_those_whom_it_breaks(
    old: dict[str, Any], new: dict[str, Any], request_says: Told, answer_says: Told
) -> None:
    assert told(old, new, "request") == request_says
    assert told(old, new, "answer") == answer_says


class Leaf(BaseModel):
    kind: Literal["leaf"]
    value: int = Field(ge=0)


class Branch(BaseModel):
    kind: Literal["branch"]
    left: "Branch | Leaf | None" = None
    many: "list[Branch]" = []


def test_recursive_models_are_compared_to_their_end_and_told_once() -> None:
    old = model(tree=(Branch, ...))
    new = json.loads(json.dumps(old).replace('"minimum": 0', '"minimum": 1'))
    new["$defs"]["Branch"]["properties"]["label"] = {"type": "string"}
    new["$defs"]["Branch"]["required"] = ["kind", "label"]
    assert told(old, old, "request") == set()
    assert told(old, new, "request") == {
        ("$.tree.label", "is new and required", True), ("$.tree.left.value", "has minimum 1, had 0", True),
    }  # fmt: skip


def test_members_of_a_union_are_told_apart_by_their_constants_or_titles() -> None:
    old, new = model(node=(Leaf | Branch, ...)), model(node=(Branch | Leaf, Field(..., discriminator="kind")))
    assert told(old, new, "request") == set()
    gone = model(node=(Branch, ...))
    assert ("$.node", "no longer takes Leaf", True) in told(old, gone, "request")
    assert ("$.node", "may also be Leaf", True) in told(gone, old, "answer")


def test_a_model_that_only_has_another_name_is_the_same() -> None:
    one = {"$defs": {"A": {**model(x=(int, ...)), "title": "A"}}, "properties": {"p": {"$ref": "#/$defs/A"}}}
    other = json.loads(json.dumps(one).replace('"A"', '"B"').replace("defs/A", "defs/B"))
    assert told(one, other, "request") == told(one, other, "answer") == set()


def test_references_that_lead_nowhere_or_in_circles_end() -> None:
    circle = {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}
    assert told(circle, circle, "request") == set()
    assert told({"$ref": "#/$defs/none"}, STRING, "request") == {("$", "was anything, is string", True)}


def test_deep_unions_of_models_without_names_take_no_time() -> None:
    schema: dict[str, Any] = STRING
    for number in range(12):
        part = {"type": "object", "properties": {f"p{number}": schema}, "required": [f"p{number}"]}
        schema = {"anyOf": [part, {"type": "object", "properties": {"q": schema}, "required": ["q"]}]}
    assert told(schema, copy.deepcopy(schema), "request") == set()


# What is called harmless is: checked with a validator, on schemas and values of all kinds.

_LEAVES = st.sampled_from(
    [
        STRING, INTEGER, NUMBER, NULL, {"type": "boolean"}, {}, {"enum": ["a", "b"]}, {"enum": ["b"]}, {"const": 1},
        {"enum": [1, "a", None]}, {"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 2, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 1}, {"type": "string", "maxLength": 1},
        {"type": "string", "minLength": 1}, {"$ref": "#/$defs/R"},
    ]
)  # fmt: skip


def _objects(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def closed(schema: dict[str, Any], required: list[str], rest: Any) -> dict[str, Any]:
        needed = [name for name in required if name in schema]
        return {"type": "object", "properties": schema, "required": needed, "additionalProperties": rest}

    return st.builds(
        closed,
        st.dictionaries(st.sampled_from("xyz"), parts, max_size=2),
        st.lists(st.sampled_from("xyz"), unique=True, max_size=2),
        st.just(False),
    )


_SCHEMAS = st.recursive(
    _LEAVES,
    lambda parts: st.one_of(
        _objects(parts),
        st.builds(lambda items: {"type": "array", "items": items}, parts),
        st.builds(lambda some: {"anyOf": some}, st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
_VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 4, 1.5, "", "a", "b", "aa"]),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from("xyzr"), parts, max_size=2),
    max_leaves=4,
)
_R: dict[str, Any] = {
    "type": "object", "properties": {"r": {"anyOf": [{"$ref": "#/$defs/R"}, NULL]}}, "additionalProperties": False
}  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(_SCHEMAS, _SCHEMAS, st.lists(_VALUES, min_size=8, max_size=8))
def test_a_request_that_was_right_still_is_when_nothing_is_said_to_break(old: Any, new: Any, values: list[Any]) -> None:
    old, new = ({"$defs": {"R": _R}, "anyOf": [schema]} for schema in (old, new))
    if any(one.breaks for one in compare_schemas(old, new, "request")):
        return
    was, now = Draft202012Validator(old), Draft202012Validator(new)
    for value in values:
        assert not was.is_valid(value) or now.is_valid(value), value


@settings(max_examples=250, deadline=None)
@given(_SCHEMAS, _SCHEMAS, st.lists(_VALUES, min_size=8, max_size=8))
def test_an_answer_is_one_that_was_promised_when_nothing_is_said_to_break(
    old: Any, new: Any, values: list[Any]
) -> None:
    def opened(schema: Any) -> Any:  # readers skip what they do not know
        return json.loads(json.dumps(schema).replace('"additionalProperties": false', '"additionalProperties": true'))

    old, new = ({"$defs": {"R": _R}, "anyOf": [schema]} for schema in (old, new))
    if any(one.breaks for one in compare_schemas(old, new, "answer")):
        return
    was, now = Draft202012Validator(opened(old)), Draft202012Validator(new)
    for value in values:
        assert not now.is_valid(value) or was.is_valid(value), value


@settings(max_examples=100, deadline=None)
@given(_SCHEMAS)
def test_a_schema_does_not_differ_from_itself(schema: Any) -> None:
    schema = {"$defs": {"R": _R}, "anyOf": [schema]}
    sides: tuple[Side, ...] = ("request", "answer")
    for side in sides:
        assert compare_schemas(schema, json.loads(json.dumps(schema)), side) == []


# Deployments


def deployment(*entries: Entry, **attributes: Any) -> Deployment:
    return Deployment(
        "a", "1", {entry.name: entry for entry in entries}, None, Limits(), attributes=attributes  # type: ignore[arg-type]
    )  # fmt: skip


RUN, CHAT = Entry("run_api"), Entry("run_chat_completion")
ANSWER = {"type": "integer"}


@pytest.mark.parametrize(
    ("old", "new", "sentence", "breaks"),
    [
        (deployment(RUN, CHAT), deployment(RUN), "The hook run_chat_completion (chat completions) is gone.", True),
        (deployment(RUN), deployment(RUN, CHAT), "The hook run_chat_completion (chat completions) is new.", False),
        (deployment(RUN), deployment(RUN, skip_mcp=True), "It is no longer an MCP tool.", True),
        (deployment(Entry("run_api", response_schema=ANSWER)), deployment(Entry("run_api", streams="sse")),
         "run_api: it answered with one whole answer, now with server-sent events.", True),
        (deployment(RUN), deployment(Entry("run_api", streams="text")),
         "run_api: it answered with what only a call could tell, now with a stream of text.", False),
        (deployment(Entry("run_api", response_schema=ANSWER)), deployment(RUN),
         "run_api: the type of the answer, known before, is not declared any more.", True),
        (deployment(RUN), deployment(Entry("run_api", file_fields={"doc": False}, required_files=frozenset({"doc"}))),
         "run_api: the upload 'doc' is new and required.", True),
        (deployment(RUN), deployment(Entry("run_api", file_fields={"doc": False})),
         "run_api: the upload 'doc' is new, and may be left out.", False),
        (deployment(Entry("run_api", file_fields={"doc": True})), deployment(RUN),
         "run_api: the upload 'doc' is no longer taken.", True),
        (deployment(Entry("run_api", file_fields={"doc": True})),
         deployment(Entry("run_api", file_fields={"doc": False})),
         "run_api: the upload 'doc' takes one file, no longer several.", True),
        (deployment(Entry("run_api", request_schema={"properties": 1})),
         deployment(Entry("run_api", request_schema={"properties": 2})),
         "run_api: the schema of the request cannot be compared with the one before.", True),
        (deployment(Entry("run_api", response_schema=ANSWER)), deployment(Entry("run_api", response_schema=NUMBER)),
         "run_api: $ of the answer may also be number.", True),
    ],
)  # fmt: skip
def test_what_deployments_offer_is_compared(old: Deployment, new: Deployment, sentence: str, breaks: bool) -> None:
    assert (sentence, breaks) in {(change.sentence, change.breaks) for change in compare(old, new)}
    assert compare(old, old) == compare(new, new) == []
