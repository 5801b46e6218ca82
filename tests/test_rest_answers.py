"""What ``POST /{name}/run`` answers: results of every kind, responses of the hook's own, and errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.wrappers import Wrappers

wrappers = Wrappers()
SECRET = "xyzzy-secret"


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipelines = tmp_path_factory.mktemp("answers") / "pipelines"
    wrappers.write(pipelines)
    return pipelines


@pytest.fixture(scope="module")
def server(pipelines: Path) -> Iterator[RunningServer]:
    with running_server(pipelines) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def schemas(http: httpx.Client) -> dict[str, Any]:
    schemas: dict[str, Any] = http.get("/openapi.json").json()["components"]["schemas"]
    return schemas


def test_every_deployment_of_this_file_is_live(http: httpx.Client) -> None:
    assert http.get("/status").json()["failed"] == {}


# -- results --------------------------------------------------------------------------------------------------------

IMPORTS = """
import asyncio, dataclasses, datetime, decimal, enum, pathlib, uuid
from typing import Any
import numpy as np
from haystack.dataclasses import ChatMessage, Document, StreamingChunk, ToolCall
from hayhooks.events import create_status_event
from pydantic import BaseModel, Field
"""
BEFORE = """
class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: float
    where: datetime.date

class Model(BaseModel):
    a: int
    b: str | None = None
    drive: str = "C"
    aliased: int = Field(default=1, serialization_alias="as")

class Custom:
    def to_dict(self):
        return {"type": "custom", "inner": Point(1, datetime.date(2024, 1, 2))}

class Opaque:
    pass

loop = []
loop.append(loop)

VALUES = {
    "str": "é\\u2028😀\\x00", "int": 10**30, "true": True, "none": None, "nan": [float("nan"), float("inf")],
    "nested": {"a": [1, {"b": None}]}, "intkeys": {1: "a", None: "b"}, "tuple": (1, 2), "set": {1},
    "frozenset": frozenset("a"),
    "bytes": b"abc", "blob": {"data": b"\\xff\\xfe"},
    "datetime": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "date": datetime.date(2024, 1, 2), "timedelta": datetime.timedelta(seconds=90), "uuid": uuid.UUID(int=1),
    "decimal": decimal.Decimal("1.10"), "path": pathlib.PurePosixPath("a/b"), "enum": Colour.RED,
    "dataclass": Point(1, datetime.date(2024, 1, 2)), "model": Model(a=1), "models": [Model(a=1)],
    "np64": np.float64(1.5), "np32": np.float32(1.5), "npint": np.int64(3), "npbool": np.bool_(True),
    "array": {"embedding": np.array([[1.0, float("nan")], [2, 3]], dtype=np.float32)},
    "document": [Document(id="d1", content="hi", meta={"k": 1})],
    "message": ChatMessage.from_assistant("yo", tool_calls=[ToolCall("t", {"a": 1}, "id1")]),
    "chunk": StreamingChunk("c"), "event": create_status_event("w"), "custom": Custom(),
    "object": object(), "opaque": {"a": [Opaque()]}, "loop": loop, "class": Opaque,
    "function": print, "surrogate": "\\ud800",
    "generatorinside": {"a": (i for i in range(3))},
    "range": range(3), "map": {"a": map(str, [1])}, "emptystring": "", "emptydict": {},
}
"""
wrappers.add("values", "def run_api(self, which: str):\n    return VALUES[which]", imports=IMPORTS, before=BEFORE)
wrappers.add(
    "values-async",
    "async def run_api_async(self, which: str) -> Any:\n    await asyncio.sleep(0)\n    return VALUES[which]",
    imports=IMPORTS,
    before=BEFORE,
)

MODEL = {"a": 1, "b": None, "drive": "C", "as": 1}
DOCUMENT = {
    "id": "d1", "content": "hi", "blob": None, "meta": {"k": 1}, "score": None,
    "embedding": None, "sparse_embedding": None,
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "_role": "assistant",
    "_content": [{"text": "yo"}, {"tool_name": "t", "arguments": {"a": 1}, "id": "id1", "extra": None}],
    "_name": None,
    "_meta": {},
}
CHUNK: dict[str, Any] = {
    "content": "c", "meta": {}, "component_info": None, "index": None, "tool_calls": None, "tool_call_result": None,
    "start": False, "finish_reason": None, "reasoning": None,
}  # fmt: skip
RESULTS: list[tuple[str, Any]] = [
    ("str", "é\u2028😀\x00"),
    ("int", 10**30),
    ("true", True),
    ("none", None),
    ("nan", [None, None]),
    ("nested", {"a": [1, {"b": None}]}),
    ("intkeys", {"1": "a", "None": "b"}),
    ("tuple", [1, 2]),
    ("set", [1]),
    ("frozenset", ["a"]),
    ("bytes", "abc"),
    ("blob", {"data": "__4="}),
    ("datetime", "2024-01-02T03:04:05Z"),
    ("date", "2024-01-02"),
    ("timedelta", "PT1M30S"),
    ("uuid", "00000000-0000-0000-0000-000000000001"),
    ("decimal", "1.10"),
    ("path", "a/b"),
    ("enum", "red"),
    ("dataclass", {"x": 1, "where": "2024-01-02"}),
    ("model", MODEL),
    ("models", [MODEL]),
    ("np64", 1.5),
    ("np32", 1.5),
    ("npint", 3),
    ("npbool", True),
    ("array", {"embedding": [[1.0, None], [2, 3]]}),
    ("document", [DOCUMENT]),
    ("message", MESSAGE),
    ("chunk", CHUNK),
    ("event", {"type": "status", "data": {"description": "w", "done": False, "hidden": False}}),
    ("custom", {"type": "custom", "inner": {"x": 1, "where": "2024-01-02"}}),
    ("generatorinside", {"a": [0, 1, 2]}),
    ("emptystring", ""),
    ("emptydict", {}),
]


@pytest.mark.parametrize("deployment", ["values", "values-async"])
@pytest.mark.parametrize(("which", "shown"), RESULTS)
def test_every_kind_of_result_has_a_json_form(http: httpx.Client, deployment: str, which: str, shown: Any) -> None:
    answer = http.post(f"/{deployment}/run", json={"which": which})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"result": shown}


@pytest.mark.parametrize("deployment", ["values", "values-async"])
@pytest.mark.parametrize("which", ["object", "opaque", "loop", "class", "function", "surrogate"])
def test_a_result_without_a_json_form_is_a_failure_of_the_one_shape(
    http: httpx.Client, deployment: str, which: str
) -> None:
    check_failure(http.post(f"/{deployment}/run", json={"which": which}), deployment)


def check_failure(answer: httpx.Response, name: str) -> None:
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"detail": f"The run of {name!r} failed. The server's log says why.", "kind": "failed"}
    assert SECRET not in answer.text


# -- response models ------------------------------------------------------------------------------------------------

wrappers.add(
    "public",
    """
    def run_api(self, how: str) -> list[Public]:
        if how == "subclass":
            return [Private(name="Ada", password="xyzzy-secret")]
        if how == "dict":
            return [{"name": "Ada", "password": "xyzzy-secret"}]
        if how == "wrong":
            return [{"name": ["xyzzy-secret"]}]
        return (Public(name=name) for name in ["Ada"]) if how == "generator" else [Row()]
    """,
    imports="from pydantic import BaseModel",
    before="""
    class Public(BaseModel):
        name: str

    class Private(Public):
        password: str

    class Row:
        name = "Ada"
        password = "xyzzy-secret"
    """,
)
wrappers.add("counts", "async def run_api_async(self, v=None) -> int:\n    return v")
wrappers.add(
    "documents",
    "def run_api(self) -> list[Document]:\n    return [Document(id='d1', content='hi', meta={'k': 1})]",
    imports="from haystack import Document",
)
wrappers.add(
    "response",
    "def run_api(self) -> FileResponse | dict[str, int]:\n    return {'a': 1}",
    imports="from starlette.responses import FileResponse",
)
wrappers.add(
    "shapes",
    """
    def run_api(self, which: str) -> dict[str, Any]:
        return {"np": np.float32(1.5), "blob": b"\\xff", "document": Document(id="d1", content="hi", meta={"k": 1})}
    """,
    imports=IMPORTS,
)


@pytest.mark.parametrize("how", ["subclass", "dict", "row"])
def test_an_answer_has_the_fields_of_the_return_annotation_and_no_others(http: httpx.Client, how: str) -> None:
    assert http.post("/public/run", json={"how": how}).json() == {"result": [{"name": "Ada"}]}


def test_a_result_that_breaks_its_annotation_fails_and_the_log_says_where(
    http: httpx.Client, server: RunningServer
) -> None:
    check_failure(http.post("/public/run", json={"how": "wrong"}), "public")
    server.wait_for_log(r"does not fit the return annotation\. result\.0\.name: Input should be a valid string")
    assert SECRET not in server.log


@pytest.mark.parametrize(("value", "status"), [(5, 200), ("5", 200), ("x", 500), (None, 500)])
def test_a_result_is_read_as_its_annotation_says(http: httpx.Client, value: Any, status: int) -> None:
    answer = http.post("/counts/run", json={"v": value})
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"result": 5}


def test_annotated_results_have_the_shapes_of_plain_ones(http: httpx.Client) -> None:
    assert http.post("/documents/run").json() == {"result": [DOCUMENT]}
    assert http.post("/response/run").json() == {"result": {"a": 1}}
    result = http.post("/shapes/run", json={"which": "a"}).json()["result"]
    assert result == {"np": 1.5, "blob": "_w==", "document": DOCUMENT}


def test_the_return_annotation_is_in_the_document(schemas: dict[str, Any]) -> None:
    result = schemas["publicRunResponse"]["properties"]["result"]
    assert result["items"] == {"$ref": "#/components/schemas/public.Public"}
    assert schemas["countsRunResponse"]["properties"]["result"]["type"] == "integer"
    assert schemas["valuesRunResponse"]["properties"]["result"] == {}


# -- responses ------------------------------------------------------------------------------------------------------

RESPONSES_IMPORTS = """
import asyncio, threading, time
from pathlib import Path
from typing import Any
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.responses import Response
from hayhooks import log
"""
wrappers.add(
    "own-responses",
    """
    def run_api(self, which: str) -> Response:
        if which == "json":
            return JSONResponse({"a": 1}, 201, {"x-thing": "b"})
        if which == "empty":
            return Response(status_code=204)
        if which == "html":
            return HTMLResponse("<p>é</p>")
        if which == "redirect":
            return RedirectResponse("/elsewhere", 303)
        if which == "cookies":
            response = PlainTextResponse("ok")
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            return response
        if which == "stream":
            return StreamingResponse((f"{i}," for i in range(3)), media_type="text/csv")
        if which == "breaks":
            return StreamingResponse(broken(True), media_type="text/csv")
        if which == "breaks-first":
            return StreamingResponse(broken(False), media_type="text/csv")
        if which == "exits":
            return StreamingResponse(broken(False, SystemExit(3)))
        if which == "cancels":
            return Cancelling()
        if which == "missing":
            return FileResponse("/nonexistent/xyzzy-secret")
        if which == "big":
            path = Path(__file__).parent / "big.bin"
            if not path.exists():
                with path.open("wb") as file:
                    file.truncate(30_000_000)
            return FileResponse(path, filename="gr\\u00f6\\u00dfe.bin", media_type="application/x-big")
    """,
    imports=RESPONSES_IMPORTS,
    before="""
    def broken(begins, error=ValueError("xyzzy-secret")):
        if begins:
            yield "begun"
        raise error

    class Cancelling(Response):
        async def __call__(self, scope, receive, send):
            raise asyncio.CancelledError
    """,
)


def respond(http: httpx.Client, which: str) -> httpx.Response:
    return http.post("/own-responses/run", json={"which": which})


def test_a_response_goes_out_as_it_is(http: httpx.Client) -> None:
    answer = respond(http, "json")
    assert (answer.status_code, answer.json(), answer.headers["x-thing"]) == (201, {"a": 1}, "b")
    answer = respond(http, "empty")
    assert (answer.status_code, answer.content) == (204, b"")
    answer = respond(http, "html")
    assert (answer.headers["content-type"], answer.text) == ("text/html; charset=utf-8", "<p>é</p>")
    answer = respond(http, "redirect")
    assert (answer.status_code, answer.headers["location"]) == (303, "/elsewhere")
    assert respond(http, "cookies").headers.get_list("set-cookie")[1].startswith("b=2")
    answer = respond(http, "stream")
    assert (answer.headers["content-type"], answer.text) == ("text/csv; charset=utf-8", "0,1,2,")


def test_a_file_is_an_answer(http: httpx.Client) -> None:
    answer = respond(http, "big")
    assert answer.headers["content-type"] == "application/x-big"
    assert answer.headers["content-length"] == "30000000"
    assert "filename*=utf-8''gr%C3%B6%C3%9Fe.bin" in answer.headers["content-disposition"]
    assert answer.content == bytes(30_000_000)


@pytest.mark.parametrize("which", ["breaks-first", "exits", "missing", "cancels"])
def test_a_response_that_fails_before_it_begins_is_answered_in_the_one_shape(http: httpx.Client, which: str) -> None:
    check_failure(respond(http, which), "own-responses")
    assert respond(http, "json").status_code == 201


def test_a_response_that_breaks_is_cut_and_logged(http: httpx.Client, server: RunningServer) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        respond(http, "breaks")
    server.wait_for_log(r"Run \w+ of own-responses \(run_api, rest\) failed")


wrappers.add(
    "background",
    """
    def run_api(self, path: str, kind: str) -> Response:
        return JSONResponse("ok", background=BackgroundTask(later if kind == "sync" else later_async, path))
    """,
    imports=RESPONSES_IMPORTS,
    before="""
    def later(path):
        time.sleep(0.3)
        Path(path).write_text("done")
        log.warning("background of {}", path)

    async def later_async(path):
        await asyncio.sleep(0.3)
        later(path)
    """,
)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_background_task_runs_to_its_end_after_the_caller_has_left(
    http: httpx.Client, server: RunningServer, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "file"
    answer = httpx.post(f"{server.url}/background/run", json={"path": str(path), "kind": kind})
    assert answer.json() == "ok"
    server.wait_for_log(f"background of {path}")
    assert path.read_text() == "done"


# -- errors ---------------------------------------------------------------------------------------------------------

ERRORS = """
def run_api(self, what: str, {more}) -> Any:
    explode(what)
"""
ERRORS_BEFORE = """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("xyzzy-secret")

class Grumpy(BaseException):
    pass

def explode(what):
    if what == "exit":
        sys.exit("xyzzy-secret")
    if what == "recursion":
        explode(what)
    if what == "group":
        raise ExceptionGroup("xyzzy-secret", [ValueError("xyzzy-secret")])
    raise {
        "value": ValueError("xyzzy-secret"), "quit": SystemExit(0), "interrupt": KeyboardInterrupt("xyzzy-secret"),
        "stop": StopIteration("xyzzy-secret"), "astop": StopAsyncIteration("xyzzy-secret"),
        "cancel": asyncio.CancelledError("xyzzy-secret"),
        "generatorexit": GeneratorExit("xyzzy-secret"), "timeout": TimeoutError("xyzzy-secret"),
        "base": BaseException("xyzzy-secret"),
        "grumpy": Grumpy("xyzzy-secret"), "odd": Odd(), "memory": MemoryError(), "unicode": ValueError("\\ud800"),
        "oserror": FileNotFoundError(2, "No such", "/xyzzy-secret"),
        "core": DeploymentNotFound("xyzzy-secret"), "runtime": PipelineRuntimeError("c", str, "xyzzy-secret"),
        "http": HTTPException(418, {"a": "tea"}, {"X-Thing": "b", "Retry-After": "3"}),
        "httpplain": StarletteHTTPException(404),
        "httptext": HTTPException(403, "Not for you"),
        "httpodd": HTTPException(400, {"when": datetime.date(2024, 1, 2), "doc": Document(id="d", content="x")}),
        "httpnobody": HTTPException(304),
    }[what]
"""
ERRORS_IMPORTS = """
import asyncio, datetime, sys
from typing import Any
from fastapi import HTTPException
from haystack import Document
from haystack.core.errors import PipelineRuntimeError
from starlette.exceptions import HTTPException as StarletteHTTPException
from hayhooks.core.errors import DeploymentNotFound
"""
wrappers.add("errors", ERRORS.format(more=""), imports=ERRORS_IMPORTS, before=ERRORS_BEFORE)
wrappers.add(
    "errors-async",
    ERRORS.replace("def run_api", "async def run_api_async").format(more=""),
    imports=ERRORS_IMPORTS,
    before=ERRORS_BEFORE,
)
FATAL = [
    "value", "exit", "quit", "interrupt", "stop", "astop", "cancel", "generatorexit", "timeout", "base",
    "grumpy", "odd",
    "memory", "unicode", "oserror", "group", "recursion", "runtime",
]  # fmt: skip


@pytest.mark.parametrize("deployment", ["errors", "errors-async"])
@pytest.mark.parametrize("what", FATAL)
def test_whatever_a_hook_raises_the_answer_tells_nothing_and_the_server_lives(
    http: httpx.Client, server: RunningServer, deployment: str, what: str
) -> None:
    check_failure(http.post(f"/{deployment}/run", json={"what": what}), deployment)
    assert server.process.poll() is None
    assert http.get("/status").status_code == 200


def test_the_log_says_what_the_hook_raised_and_where(http: httpx.Client, server: RunningServer) -> None:
    http.post("/errors/run", json={"what": "oserror"})
    server.wait_for_log(r"FileNotFoundError: \[Errno 2\] No such: '/xyzzy-secret'")
    assert "pipeline_wrapper.py" in server.log


@pytest.mark.parametrize("deployment", ["errors", "errors-async"])
def test_a_hooks_own_http_exception_is_its_answer(http: httpx.Client, deployment: str) -> None:
    answer = http.post(f"/{deployment}/run", json={"what": "http"})
    assert answer.status_code == 418
    assert answer.json()["detail"] == {"a": "tea"}
    assert (answer.headers["x-thing"], answer.headers["retry-after"]) == ("b", "3")
    answer = http.post(f"/{deployment}/run", json={"what": "httpplain"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")
    answer = http.post(f"/{deployment}/run", json={"what": "httptext"})
    assert (answer.status_code, answer.json()["detail"]) == (403, "Not for you")
    assert answer.json()["kind"] == "forbidden"


def test_the_detail_of_an_http_exception_may_be_any_value(http: httpx.Client) -> None:
    answer = http.post("/errors/run", json={"what": "httpodd"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == {"when": "2024-01-02", "doc": {**DOCUMENT, "id": "d", "content": "x", "meta": {}}}


def test_an_http_exception_whose_status_has_no_body_has_none(http: httpx.Client) -> None:
    answer = http.post("/errors/run", json={"what": "httpnobody"})
    assert (answer.status_code, answer.content) == (304, b"")


wrappers.add(
    "validator",
    "def run_api(self, model: Model) -> Any:\n    return model",
    imports="from typing import Any\nfrom pydantic import BaseModel, field_validator",
    before="""
    class Model(BaseModel):
        a: str

        @field_validator("a")
        @classmethod
        def check(cls, value):
            if value == "bad":
                raise ValueError("a must be good")
            return {"ok": value}[value]
    """,
)


def test_a_validator_of_the_user_refuses_with_its_own_words(http: httpx.Client) -> None:
    answer = http.post("/validator/run", json={"model": {"a": "bad"}})
    assert answer.status_code == 422
    assert "a must be good" in answer.json()["detail"]


def test_a_validator_that_breaks_is_a_failed_run(http: httpx.Client) -> None:
    check_failure(http.post("/validator/run", json={"model": {"a": SECRET}}), "validator")


def test_bodies_never_reach_the_log(http: httpx.Client, server: RunningServer) -> None:
    needle = "plugh-in-the-body"
    http.post("/errors/run", json={"what": "value", "more": needle})
    http.post("/errors/run", json={"what": [needle]})
    http.post("/errors/run", content=needle)
    http.post("/public/run", json={"how": needle})
    http.post("/errors/run", json={"what": needle}, headers={"content-type": "text/plain"})
    http.post(f"/errors/run?{needle}", json={"what": "timeout"})
    server.wait_for_log("TimeoutError: xyzzy-secret")
    assert needle not in server.log


def test_with_show_tracebacks_errors_carry_them(pipelines: Path) -> None:
    chosen = pipelines.parent / "few"
    (chosen / "errors").mkdir(parents=True)
    source = pipelines / "errors" / "pipeline_wrapper.py"
    (chosen / "errors" / "pipeline_wrapper.py").write_text(source.read_text())
    with running_server(chosen, env={"HAYHOOKS_SHOW_TRACEBACKS": "true"}) as server:
        for what in FATAL:
            answer = httpx.post(f"{server.url}/errors/run", json={"what": what})
            assert answer.status_code == 500
            body = answer.json()
            assert body["kind"] == "failed"
            assert "Traceback" in body["traceback"], what
            assert "pipeline_wrapper.py" in body["traceback"], what
        assert "traceback" not in httpx.post(f"{server.url}/errors/run", json={"what": "http"}).json()
        refused = httpx.post(f"{server.url}/errors/run", json={"what": 1})
        assert (refused.status_code, "traceback" in refused.json()) == (422, False)


def test_answers_name_their_run(http: httpx.Client) -> None:
    first, second = (http.post("/values/run", json={"which": "int"}).headers["x-request-id"] for _ in range(2))
    assert first != second


def test_answers_are_compact_and_carry_their_length(http: httpx.Client) -> None:
    answer = http.post("/values/run", json={"which": "nested"})
    assert answer.content == b'{"result":{"a":[1,{"b":null}]}}'
    assert answer.headers["content-length"] == str(len(answer.content))
    assert json.loads(answer.content)
