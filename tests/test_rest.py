"""What a caller may send to ``POST /{name}/run``, and what the hook then gets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from hayhooks.testing import RunningServer, running_server
from tests.support.wrappers import Wrappers

wrappers = Wrappers()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    pipelines = tmp_path_factory.mktemp("rest") / "pipelines"
    wrappers.write(pipelines)
    with running_server(pipelines, env={"HAYHOOKS_MAX_BODY_BYTES": "200000"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = http.get("/openapi.json").json()
    return document


def run(http: httpx.Client, name: str, body: Any) -> Any:
    answer = http.post(f"/{name}/run", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def refuse(http: httpx.Client, name: str, body: Any) -> list[dict[str, Any]]:
    answer = http.post(f"/{name}/run", json=body)
    return faults(answer)


def faults(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert body["kind"] == "invalid"
    assert isinstance(body["detail"], str)
    errors: list[dict[str, Any]] = body["errors"]
    assert all(set(error) == {"loc", "msg", "type"} for error in errors)
    return errors


def test_every_deployment_of_this_file_is_live(http: httpx.Client) -> None:
    assert http.get("/status").json()["failed"] == {}


# -- types ----------------------------------------------------------------------------------------------------------

ANY_TYPE = "\n".join(
    [
        "def run_api(self, v: {annotation}) -> Any:",
        "    return show(v)",
    ]
)
TYPES_IMPORTS = """
import dataclasses, datetime, decimal, enum, ipaddress, pathlib, uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import *
import typing
from typing_extensions import TypedDict
from haystack.dataclasses import ChatMessage, Document
from pydantic import BaseModel, Field, HttpUrl, SecretStr, constr
"""
TYPES = """
class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Level(enum.IntEnum):
    LOW = 1

class Inner(BaseModel):
    x: int
    tags: list[str] = []

class Outer(BaseModel):
    inner: Inner
    when: datetime.datetime | None = None

@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0

class Pair(NamedTuple):
    a: int
    b: str

class Movie(TypedDict):
    title: str
    year: int

class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int

class Dog(BaseModel):
    kind: Literal["dog"]
    name: str

class WithDocument(BaseModel):
    doc: Document

def show(value):
    kind = type(value)
    name = kind.__name__
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [name, [show(item) for item in (value if isinstance(value, (list, tuple, deque)) else sorted(value))]]
    if isinstance(value, dict):
        return [name, {key: show(item) for key, item in value.items()}]
    return [name, str(value)]
"""

TYPE_CASES: list[tuple[str, str, Any, Any]] = [
    ("str", "str", "é€😀", ["str", "é€😀"]),
    ("int", "int", 10**15, ["int", "1000000000000000"]),
    ("float", "float", 1, ["float", "1.0"]),
    ("bool", "bool", True, ["bool", "True"]),
    ("none", "None", None, ["NoneType", "None"]),
    ("any", "Any", {"a": [1]}, ["dict", {"a": ["list", [["int", "1"]]]}]),
    ("dict", "dict", {"a": 1}, ["dict", {"a": ["int", "1"]}]),
    ("dictint", "dict[int, float]", {"1": 2}, ["dict", {"1": ["float", "2.0"]}]),
    ("mapping", "Mapping[str, int]", {"a": 1}, ["dict", {"a": ["int", "1"]}]),
    ("list", "list", [1, "a"], ["list", [["int", "1"], ["str", "a"]]]),
    ("typinglist", "typing.List[int]", [1], ["list", [["int", "1"]]]),
    ("sequence", "Sequence[int]", [1], ["list", [["int", "1"]]]),
    ("set", "set[int]", [2, 1, 2], ["set", [["int", "1"], ["int", "2"]]]),
    ("frozenset", "frozenset[str]", ["a", "a"], ["frozenset", [["str", "a"]]]),
    ("tuple", "tuple[int, str]", [1, "a"], ["tuple", [["int", "1"], ["str", "a"]]]),
    ("tupleopen", "tuple[int, ...]", [1, 2, 3], ["tuple", [["int", "1"], ["int", "2"], ["int", "3"]]]),
    ("deque", "deque[int]", [1], ["deque", [["int", "1"]]]),
    ("optional", "Optional[int]", None, ["NoneType", "None"]),
    ("union", "int | str", "1", ["str", "1"]),
    ("unionint", "Union[int, str]", 1, ["int", "1"]),
    ("uniontagged", 'Annotated[Cat | Dog, Field(discriminator="kind")]', {"kind": "dog", "name": "Rex"}, "Dog"),
    ("literal", 'Literal["a", 1]', 1, ["int", "1"]),
    ("enum", "Colour", "red", ["Colour", "Colour.RED"]),
    ("enumlist", "list[Colour]", ["red", "blue"], ["list", [["Colour", "Colour.RED"], ["Colour", "Colour.BLUE"]]]),
    ("intenum", "Level", 1, ["Level", "1"]),
    ("model", "Outer", {"inner": {"x": 1}, "when": "2024-01-02T03:04:05Z"}, "Outer"),
    ("modellist", "list[Inner]", [{"x": 1}], ["list", [["Inner", "x=1 tags=[]"]]]),
    ("modeldict", "dict[str, Inner]", {"k": {"x": 1}}, ["dict", {"k": ["Inner", "x=1 tags=[]"]}]),
    ("optionalmodel", "Optional[Inner]", {"x": 1}, ["Inner", "x=1 tags=[]"]),
    ("dataclass", "Point", {"x": 1}, ["Point", "Point(x=1.0, y=0.0)"]),
    ("namedtuple", "Pair", [1, "b"], ["Pair", [["int", "1"], ["str", "b"]]]),
    ("typeddict", "Movie", {"title": "M", "year": 1931}, ["dict", {"title": ["str", "M"], "year": ["int", "1931"]}]),
    ("datetime", "datetime.datetime", "2024-01-02T03:04:05+01:00", ["datetime", "2024-01-02 03:04:05+01:00"]),
    ("date", "datetime.date", "2024-01-02", ["date", "2024-01-02"]),
    ("time", "datetime.time", "03:04:05", ["time", "03:04:05"]),
    ("timedelta", "datetime.timedelta", "PT90S", ["timedelta", "0:01:30"]),
    ("uuid", "uuid.UUID", "12345678-1234-5678-1234-567812345678", ["UUID", "12345678-1234-5678-1234-567812345678"]),
    ("decimal", "decimal.Decimal", "1.10", ["Decimal", "1.10"]),
    ("decimalnumber", "decimal.Decimal", 1.5, ["Decimal", "1.5"]),
    ("bytes", "bytes", "abc", ["bytes", "b'abc'"]),
    ("path", "pathlib.Path", "a/b", ["PosixPath", "a/b"]),
    ("url", "HttpUrl", "https://a.example/x", ["HttpUrl", "https://a.example/x"]),
    ("secret", "SecretStr", "s", ["SecretStr", "**********"]),
    ("ip", "ipaddress.IPv4Address", "127.0.0.1", ["IPv4Address", "127.0.0.1"]),
    ("constrained", "Annotated[str, Field(max_length=3)]", "abc", ["str", "abc"]),
    ("constr", "constr(pattern='^a')", "ab", ["str", "ab"]),
    ("document", "Document", {"content": "hi", "meta": {"k": 1}}, "Document"),
    ("documents", "list[Document]", [{"id": "1", "content": "hi"}], "list"),
    ("documentin", "WithDocument", {"doc": {"content": "hi"}}, "WithDocument"),
    ("message", "ChatMessage", {"role": "user", "content": "hi"}, "ChatMessage"),
    ("messages", "Optional[list[ChatMessage]]", [{"role": "user", "content": "hi"}], "list"),
    ("unionhaystack", "str | Document", "hi", ["str", "hi"]),
]
for case_name, annotation, _, _ in TYPE_CASES:
    wrappers.add(f"t-{case_name}", ANY_TYPE.format(annotation=annotation), imports=TYPES_IMPORTS, before=TYPES)


@pytest.mark.parametrize(("case", "value", "shown"), [(case, value, shown) for case, _, value, shown in TYPE_CASES])
def test_the_hook_gets_what_its_annotation_says(http: httpx.Client, case: str, value: Any, shown: Any) -> None:
    result = run(http, f"t-{case}", {"v": value})
    assert result[0 if isinstance(shown, str) else slice(None)] == shown


@pytest.mark.parametrize(("case", "value"), [(case, value) for case, _, value, _ in TYPE_CASES])
def test_a_type_is_described_in_the_openapi_document(document: dict[str, Any], case: str, value: Any) -> None:
    schema = document["components"]["schemas"][f"t-{case}RunRequest"]
    assert schema["required"] == ["v"]
    assert document["paths"][f"/t-{case}/run"]["post"]["requestBody"]["required"] is True


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("str", 5),
        ("str", None),
        ("int", "5"),
        ("int", False),
        ("int", 1.5),
        ("float", "1"),
        ("bool", 1),
        ("bool", "true"),
        ("dict", []),
        ("list", {}),
        ("tuple", [1]),
        ("union", 1.5),
        ("literal", "b"),
        ("enum", "RED"),
        ("model", {"inner": {"x": "1"}}),
        ("dataclass", {"y": 1}),
        ("datetime", "yesterday"),
        ("uuid", "1"),
        ("decimal", "abc"),
        ("constrained", "abcd"),
        ("constr", "b"),
        ("uniontagged", {"kind": "cow"}),
        ("document", "text"),
        ("document", {"content": "a", "score": "high"}),
        ("document", {"content": 5}),
        ("document", {"content": "a", "meta": "none"}),
        ("message", {"role": "user", "content": {}}),
        ("message", {"role": "user", "content": ["a"]}),
        ("message", {"role": "user", "content": "a", "name": 1}),
        ("message", {"role": "user", "content": "a", "meta": "none"}),
        ("documents", {"content": "a"}),
        ("message", {"content": "hi"}),
        ("message", {"role": "nobody", "content": "hi"}),
        ("message", {"role": "user", "content": 5}),
        ("message", {"role": "user"}),
    ],
)
def test_a_value_of_another_type_is_refused_and_its_place_named(http: httpx.Client, case: str, value: Any) -> None:
    assert refuse(http, f"t-{case}", {"v": value})[0]["loc"][:2] == ["body", "v"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, _, value, _ in TYPE_CASES])
def test_what_is_accepted_fits_the_schema_that_is_published(http: httpx.Client, name: str, value: Any) -> None:
    schema = http.get(f"/deployments/t-{name}").json()["request_schema"]
    Draft202012Validator(schema).validate({"v": value})


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("document", {"id": None, "content": "a", "meta": None}),
        ("message", {"role": "developer", "content": "a", "meta": None, "name": None}),
    ],
)
def test_null_is_the_same_as_nothing_in_haystacks_objects(http: httpx.Client, case: str, value: Any) -> None:
    assert http.post(f"/t-{case}/run", json={"v": value}).status_code == 200
    test_what_is_accepted_fits_the_schema_that_is_published(http, case, value)


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    answer = http.post("/t-int/run", json={"w": 1})
    assert faults(answer) == [{"loc": ["body", "v"], "msg": "Field required", "type": "missing"}]
    assert answer.json()["detail"] == "v: Field required"


def test_a_fault_inside_a_model_is_named_by_its_whole_path(http: httpx.Client) -> None:
    errors = refuse(http, "t-modellist", {"v": [{"x": 1}, {"x": "no"}]})
    assert errors[0]["loc"] == ["body", "v", 1, "x"]


wrappers.add(
    "haystack",
    """
    def run_api(self, docs: list[Document], messages: list[ChatMessage] | None = None) -> dict:
        assert all(isinstance(doc, Document) for doc in docs)
        assert all(isinstance(message, ChatMessage) for message in messages or [])
        return {
            "docs": [[doc.id, doc.content, doc.meta, doc.score, doc.embedding] for doc in docs],
            "messages": [
                [message.role.value, message.text, message.meta, message.name,
                 [[call.tool_name, call.arguments, call.id] for call in message.tool_calls]]
                for message in messages or []
            ],
        }
    """,
    imports="from haystack.dataclasses import ChatMessage, Document",
)


def test_documents_arrive_as_objects_with_all_their_fields(http: httpx.Client) -> None:
    document = {"id": "d", "content": "hi", "meta": {"k": [1]}, "score": 1, "embedding": [0.5, 1]}
    assert run(http, "haystack", {"docs": [document]})["docs"] == [["d", "hi", {"k": [1]}, 1, [0.5, 1]]]


def test_a_document_that_an_answer_gave_can_be_sent_back(http: httpx.Client) -> None:
    given = run(http, "a-document", {})
    assert run(http, "haystack", {"docs": [given]})["docs"][0][:3] == [given["id"], "hi", {"k": 1}]


def test_a_document_without_an_id_gets_the_one_haystack_computes(http: httpx.Client) -> None:
    first, second = run(http, "haystack", {"docs": [{"content": "a"}, {"content": "a"}]})["docs"]
    assert first[0] == second[0]
    assert len(first[0]) == 64


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"role": "user", "content": "hi"}, ["user", "hi", {}, None, []]),
        ({"role": "developer", "content": "hi"}, ["system", "hi", {}, None, []]),
        (
            {"role": "user", "content": [{"text": "hi"}], "meta": {"a": 1}, "name": "Ada"},
            ["user", "hi", {"a": 1}, "Ada", []],
        ),
        ({"role": "user", "content": [{"type": "text", "text": "hi"}]}, ["user", "hi", {}, None, []]),
        (
            {"_role": "user", "_content": [{"text": "hi"}], "_name": None, "_meta": {"a": 1}},
            ["user", "hi", {"a": 1}, None, []],
        ),
        (
            {
                "_role": "assistant",
                "_content": [{"text": "yo"}, {"tool_name": "t", "arguments": {"a": 1}, "id": "i", "extra": None}],
            },
            ["assistant", "yo", {}, None, [["t", {"a": 1}, "i"]]],
        ),
        (
            {"role": "assistant", "content": [{"tool_call": {"tool_name": "t", "arguments": {"a": 1}, "id": "i"}}]},
            ["assistant", None, {}, None, [["t", {"a": 1}, "i"]]],
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "i", "type": "function", "function": {"name": "t", "arguments": '{"a": 1}'}}],
            },
            ["assistant", None, {}, None, [["t", {"a": 1}, "i"]]],
        ),
    ],
)
def test_chat_messages_are_taken_in_haystacks_form_and_in_openais(http: httpx.Client, message: Any, shown: Any) -> None:
    assert run(http, "haystack", {"docs": [], "messages": [message]})["messages"] == [shown]


wrappers.add(
    "a-document",
    "def run_api(self):\n    return Document(content='hi', meta={'k': 1})",
    imports="from haystack import Document",
)
wrappers.add(
    "a-message",
    """
    def run_api(self, kind: str):
        if kind == "tool":
            return ChatMessage.from_tool("42", ToolCall("t", {}, "i"))
        return ChatMessage.from_assistant("yo", tool_calls=[ToolCall("t", {"a": 1}, "i")], meta={"m": 1})
    """,
    imports="from haystack.dataclasses import ChatMessage, ToolCall",
)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("assistant", ["assistant", "yo", {"m": 1}, None, [["t", {"a": 1}, "i"]]]),
        ("tool", ["tool", None, {}, None, []]),
    ],
)
def test_a_chat_message_that_an_answer_gave_can_be_sent_back(http: httpx.Client, kind: str, shown: Any) -> None:
    given = run(http, "a-message", {"kind": kind})
    assert given["_role"] == kind
    assert run(http, "haystack", {"docs": [], "messages": [given]})["messages"] == [shown]


# -- signatures -----------------------------------------------------------------------------------------------------

wrappers.add(
    "defaults",
    '''
    def run_api(
        self,
        q: str,
        n: int = 3,
        o: Optional[str] = None,
        sloppy: int = None,
        f: int = Field(default=4, ge=1, description="From the field"),
        fr: int = Field(ge=0),
        made: list = Field(default_factory=list),
        when: date = date(2024, 1, 2),
        colour: Colour = Colour.RED,
        inner: Inner = Inner(x=7),
        plain=5,
        items: list[int] = [1, 2],
        *,
        only: Annotated[int, Field(le=9, description="Annotated text")] = 1,
    ) -> dict:
        """Does a thing.

        And says more.

        Args:
            q: The question
                over two lines.
            n: How many.
        Returns:
            Something.
        """
        items.append(3)
        made.append(1)
        return {
            "q": q, "n": n, "o": o, "sloppy": sloppy, "f": f, "fr": fr, "made": made, "when": str(when),
            "colour": str(colour), "inner": inner.x, "plain": plain, "items": items, "only": only,
        }
    ''',
    imports="""
    from __future__ import annotations
    from datetime import date
    from enum import Enum
    from typing import Annotated, Optional
    from pydantic import BaseModel, Field
    """,
    before="""
    class Colour(Enum):
        RED = "red"

    class Inner(BaseModel):
        x: int
    """,
)


def test_what_is_not_sent_has_its_default(http: httpx.Client) -> None:
    expected = {
        "q": "a", "n": 3, "o": None, "sloppy": None, "f": 4, "fr": 2, "made": [1], "when": "2024-01-02",
        "colour": "Colour.RED", "inner": 7, "plain": 5, "items": [1, 2, 3], "only": 1,
    }  # fmt: skip
    assert run(http, "defaults", {"q": "a", "fr": 2}) == expected
    assert run(http, "defaults", {"q": "a", "fr": 2}) == expected  # a mutable default is no memory


def test_what_is_sent_replaces_its_default(http: httpx.Client) -> None:
    sent = {
        "q": "a", "n": 0, "o": "x", "sloppy": 1, "f": 9, "fr": 0, "made": [2], "when": "2025-01-01", "colour": "red",
        "inner": {"x": 8}, "plain": "any", "items": [], "only": 9,
    }  # fmt: skip
    expected = {**sent, "colour": "Colour.RED", "inner": 8, "made": [2, 1], "items": [3]}
    assert run(http, "defaults", sent) == expected


def test_a_parameter_whose_default_is_none_takes_null(http: httpx.Client) -> None:
    assert run(http, "defaults", {"q": "a", "fr": 2, "sloppy": None, "o": None})["sloppy"] is None


@pytest.mark.parametrize("fault", [{"f": 0}, {"fr": -1}, {"only": 10}, {"n": None}, {"n": "3"}])
def test_constraints_of_fields_hold(http: httpx.Client, fault: dict[str, Any]) -> None:
    errors = refuse(http, "defaults", {"q": "a", "fr": 2, **fault})
    assert [error["loc"] for error in errors] == [["body", *fault]]


def test_the_request_schema_says_what_the_signature_and_the_docstring_say(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["defaultsRunRequest"]
    properties = schema["properties"]
    assert schema["required"] == ["q", "fr"]
    assert properties["q"]["description"] == "The question\nover two lines."
    assert properties["n"]["description"] == "How many."
    assert properties["n"]["default"] == 3
    assert properties["f"]["description"] == "From the field"
    assert properties["f"]["default"] == 4
    assert properties["f"]["minimum"] == 1
    assert properties["only"]["description"] == "Annotated text"
    assert properties["when"]["default"] == "2024-01-02"
    assert properties["inner"]["default"] == {"x": 7}
    operation = document["paths"]["/defaults/run"]["post"]
    assert operation["summary"] == "Does a thing."
    assert operation["description"].startswith("Does a thing.\n\nAnd says more.")


wrappers.add(
    "styles",
    '''
    def run_api(self, a: int = 0, b: int = 0) -> int:
        """Numpy style.

        Parameters
        ----------
        a : int
            The first.
        b : int
            The second.
        """
        return a + b
    ''',
)
wrappers.add(
    "rst",
    '''
    async def run_api_async(self, a: Annotated[int, Field(description="Annotated")] = 0, b: int = 0) -> int:
        """
        Sphinx style.

        :param a: The first.
        :param b: The second.
        """
        return a + b

    def run_api(self, wrong: str) -> str:
        return wrong
    ''',
    imports="from typing import Annotated\nfrom pydantic import Field",
)


@pytest.mark.parametrize("name", ["styles", "rst"])
def test_docstrings_of_every_style_describe_the_parameters(document: dict[str, Any], name: str) -> None:
    properties = document["components"]["schemas"][f"{name}RunRequest"]["properties"]
    assert [properties[key]["description"] for key in ("a", "b")] == ["The first.", "The second."]


def test_with_both_forms_of_a_hook_the_async_one_is_used(http: httpx.Client, document: dict[str, Any]) -> None:
    assert run(http, "rst", {"a": 1, "b": 2}) == 3
    assert document["paths"]["/rst/run"]["post"]["summary"] == "Sphinx style."


wrappers.add("bare", "def run_api(self, a, b=None):\n    return [type(a).__name__, a, b]")
wrappers.add("nothing", "def run_api(self):\n    return 'ok'")
wrappers.add("extra", "def run_api(self, a: int, *args, **kwargs):\n    return [a, args, kwargs]")
wrappers.add("typedextra", "def run_api(self, **options: int) -> dict:\n    return options")


@pytest.mark.parametrize("value", ["x", 1, None, [1, {"a": None}], {"a": 1.5}])
def test_a_parameter_without_an_annotation_takes_any_json(http: httpx.Client, value: Any) -> None:
    assert run(http, "bare", {"a": value})[1:] == [value, None]


def test_a_hook_with_kwargs_gets_the_fields_it_does_not_name(http: httpx.Client) -> None:
    assert run(http, "extra", {"a": 1, "b": {"c": [2]}, "args": 3}) == [1, [], {"b": {"c": [2]}, "args": 3}]
    assert run(http, "extra", {"a": 1}) == [1, [], {}]


def test_annotated_kwargs_are_checked(http: httpx.Client) -> None:
    assert run(http, "typedextra", {"a": 1}) == {"a": 1}
    assert refuse(http, "typedextra", {"a": "x"})[0]["loc"] == ["body", "a"]


def test_the_document_says_that_further_fields_are_taken(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["extraRunRequest"]["additionalProperties"] is True


def test_without_kwargs_unknown_fields_are_ignored(http: httpx.Client) -> None:
    assert run(http, "nothing", {"x": 1, "self": 2}) == "ok"


def test_a_field_called_self_cannot_confuse_a_hook_with_kwargs(http: httpx.Client) -> None:
    assert run(http, "extra", {"a": 1, "self": 2, "cls": 3}) == [1, [], {"cls": 3}]


wrappers.add(
    "names",
    """
    def run_api(self, model_config: str, schema: str, json: str, copy: str, _x: int = 1, класс: str = ""):
        return [model_config, schema, json, copy, _x, класс]
    """,
)


def test_parameters_may_have_any_name(http: httpx.Client) -> None:
    body = {"model_config": "a", "schema": "b", "json": "c", "copy": "d", "_x": 2, "класс": "e"}
    assert run(http, "names", body) == ["a", "b", "c", "d", 2, "e"]


wrappers.add(
    "forward",
    """
    def run_api(self, tree: Tree, more: list["Tree"] = [], later: "Tree | None" = None) -> Tree:
        assert all(isinstance(other, Tree) for other in more) and isinstance(later or tree, Tree)
        assert isinstance(tree, Tree) and isinstance(tree.children[0], Tree)
        return tree.children[0]
    """,
    imports="from __future__ import annotations\nfrom pydantic import BaseModel",
    before="""
    class Tree(BaseModel):
        name: str
        children: list[Tree] = []
    """,
)


def test_forward_references_and_recursive_models_work(http: httpx.Client, document: dict[str, Any]) -> None:
    tree = {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}
    assert run(http, "forward", {"tree": tree, "more": [tree], "later": tree})["children"] == [
        {"name": "c", "children": []}
    ]
    assert "forward.Tree" in document["components"]["schemas"]


wrappers.add(
    "headers",
    """
    def run_api(self, q: str = "", headers: Headers | None = None) -> Any:
        return [type(headers).__name__, headers.get("X-Thing"), headers.getlist("x-many"), q]
    """,
    imports="from typing import Any\nfrom starlette.datastructures import Headers",
)
wrappers.add("headersbare", "async def run_api_async(self, headers):\n    return headers['x-thing']")
wrappers.add("headersown", "def run_api(self, headers: dict) -> dict:\n    return headers")


def test_a_hook_that_asks_for_headers_gets_the_requests(http: httpx.Client) -> None:
    sent = [("X-Thing", "a"), ("X-Many", "1"), ("X-Many", "2")]
    answer = http.post("/headers/run", json={"q": "b", "headers": {"x-thing": "forged"}}, headers=sent)
    assert answer.json()["result"] == ["Headers", "a", ["1", "2"], "b"]
    assert http.post("/headersbare/run", json={}, headers=sent).json()["result"] == "a"


def test_headers_are_in_no_schema(document: dict[str, Any]) -> None:
    assert list(document["components"]["schemas"]["headersRunRequest"]["properties"]) == ["q"]
    assert document["components"]["schemas"]["headersbareRunRequest"]["properties"] == {}


def test_a_parameter_called_headers_of_another_type_is_a_field(http: httpx.Client) -> None:
    assert run(http, "headersown", {"headers": {"a": 1}}) == {"a": 1}


UNREADABLE = [
    ("q: Opaque", "parameter 'q' has a type that cannot be read from JSON: Opaque"),
    ("q: typing.Callable", "parameter 'q' has a type that cannot be read from JSON"),
    ("q: 'Nowhere'", "an annotation cannot be evaluated: name 'Nowhere' is not defined"),
    ("q, /", "parameter 'q' is positional-only"),
]


@pytest.mark.parametrize(("parameter", "reason"), UNREADABLE)
def test_a_signature_that_no_request_can_fill_is_refused_when_it_is_deployed(
    http: httpx.Client, tmp_path: Path, parameter: str, reason: str
) -> None:
    bad = Wrappers()
    hook = f"def run_api(self, {parameter}):\n    return q"
    bad.add("bad", hook, imports="import typing", before="class Opaque: ...")
    bad.write(tmp_path)
    source = (tmp_path / "bad" / "pipeline_wrapper.py").read_text()
    answer = http.post("/deploy_files", json={"name": "bad", "files": {"pipeline_wrapper.py": source}})
    assert answer.status_code == 422
    assert f"run_api(): {reason}" in answer.json()["detail"]


# -- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_hook_without_required_parameters_needs_no_body(http: httpx.Client, content: bytes) -> None:
    assert http.post("/nothing/run", content=content).json() == {"result": "ok"}


def test_a_missing_body_is_told_as_the_missing_field(http: httpx.Client) -> None:
    assert faults(http.post("/t-int/run"))[0]["loc"] == ["body", "v"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"v": 1} trailing',
        b"{'v': 1}",
        b'{"v": NaN1}',
        b"\xff\xfe",
        b'{"v": "\xff"}',
        b'{"v": "\\ud800"}',
        b"v=1",
        b"\x00",
        b"[" * 100_000,
        b'{"v":' * 30_000,
        b'{"v": ' + b"9" * 5000 + b"}",
    ],
    ids=range(15),
)
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, server: RunningServer, content: bytes) -> None:
    answer = http.post("/t-str/run", content=content, headers={"content-type": "application/json"})
    assert faults(answer)[0]["loc"][0] == "body"
    assert len(answer.content) < 1000


def test_a_byte_order_mark_is_no_json(http: httpx.Client) -> None:
    faults(http.post("/nothing/run", content=b"\xef\xbb\xbf{}"))


def test_deep_nesting_harms_nobody(http: httpx.Client) -> None:
    deep = b'{"a":' + b"[" * 180 + b"]" * 180 + b"}"
    assert http.post("/bare/run", content=deep).status_code == 200
    deeper = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert http.post("/bare/run", content=deeper).status_code == 422
    assert run(http, "nothing", {}) == "ok"


def test_the_last_of_two_equal_keys_counts(http: httpx.Client) -> None:
    assert http.post("/t-int/run", content=b'{"v": 1, "v": 2}').json()["result"] == ["int", "2"]


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json", None]
)
def test_json_is_taken_under_its_names_or_none(http: httpx.Client, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    assert http.post("/t-int/run", content=b'{"v":1}', headers=headers).json()["result"] == ["int", "1"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "nonsense"]
)
def test_another_content_type_is_refused(http: httpx.Client, kind: str) -> None:
    answer = http.post("/t-int/run", content=b'{"v":1}', headers={"content-type": kind})
    assert faults(answer)[0]["loc"] == ["header", "content-type"]


def test_a_body_above_the_limit_is_refused_and_the_next_request_served(http: httpx.Client) -> None:
    answer = http.post("/t-str/run", json={"v": "x" * 200_000})
    assert answer.status_code == 413
    assert answer.json()["kind"] == "too_large"
    assert run(http, "nothing", {}) == "ok"


def test_a_body_of_unknown_length_above_the_limit_is_refused(http: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"v": "'
        for _ in range(300):
            yield b"x" * 1000
        yield b'"}'

    answer = http.post("/t-str/run", content=parts(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_a_body_in_many_pieces_is_put_together(http: httpx.Client) -> None:
    pieces = (bytes([byte]) for byte in json.dumps({"v": "in pieces"}).encode())
    answer = http.post("/t-str/run", content=pieces, headers={"content-type": "application/json"})
    assert answer.json()["result"] == ["str", "in pieces"]


# -- paths and methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post_runs(http: httpx.Client, method: str) -> None:
    answer = http.request(method, "/nothing/run")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method == "HEAD":
        assert answer.content == b""
    else:
        assert answer.json()["kind"] == "invalid"


def test_a_preflight_is_answered(http: httpx.Client) -> None:
    headers = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    answer = http.options("/nothing/run", headers=headers)
    assert answer.status_code == 200
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert http.post("/nothing/run", json={}, headers={"origin": "https://a.example"}).headers[
        "access-control-allow-origin"
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/nope/run",
        "/nothing/runn",
        "/nothing/run//",
        "/nothing",
        "/nothing/",
        "//nothing/run",
        "/Nothing/run",
        "/nothing/run/x",
        "/%2e%2e/run",
        "/nothing%2Frun/run",
    ],
)
def test_an_unknown_path_is_not_found(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={})
    assert answer.status_code == 404
    assert answer.json()["kind"] == "not_found"


def test_a_percent_encoded_name_is_the_same_name(http: httpx.Client) -> None:
    assert http.post("/%6eothing/%72un", json={}).json() == {"result": "ok"}
    assert http.post("/t%2Dint/run", json={"v": 1}).status_code == 200


def test_a_query_string_changes_nothing(http: httpx.Client) -> None:
    assert http.post("/t-int/run?v=5&x=%FF", json={"v": 1}).json()["result"] == ["int", "1"]


wrappers.add("chatonly", "def run_chat_completion(self, model, messages, body):\n    return 'hi'")


def test_a_deployment_without_run_api_says_so(http: httpx.Client, document: dict[str, Any]) -> None:
    answer = http.post("/chatonly/run", json={})
    assert answer.status_code == 404
    assert "run_api" in answer.json()["detail"]
    assert "/chatonly/run" not in document["paths"]


# -- the document ---------------------------------------------------------------------------------------------------


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            if isinstance(value.get("discriminator"), dict):
                yield from value["discriminator"].get("mapping", {}).values()
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) - known == set()


def test_each_parameter_has_a_type_or_a_reference(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["t-documentRunRequest"]["properties"]
    assert "content" in json.dumps(properties) or "$ref" in json.dumps(properties)
