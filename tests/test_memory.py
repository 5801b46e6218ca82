"""Memory: what deployments and runs that came and went leave behind."""

from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from hayhooks.testing import RunningServer, running_server

# Everything by which a class or a value could be kept alive: caches of typing, pydantic and Haystack, registries of
# components, loggers, overloads, a failing run's traceback, a generator never read to its end.
WRAPPER = '''
import enum
import functools
import logging
import warnings
from dataclasses import dataclass
from typing import Annotated, Generic, List, Literal, Optional, TypeVar, Union, overload

from haystack import Document, Pipeline, component
from haystack.components.builders import PromptBuilder
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from hayhooks import BasePipelineWrapper
from pydantic import BaseModel, Field, create_model

from .held import BALLAST as OTHER

BALLAST = bytearray(b"module %(serial)d " * 40_000)
log = logging.getLogger(__name__)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    number: int = 1
    colour: Colour = Colour.RED


class Question(BaseModel):
    text: str = "why"
    inner: Optional[Inner] = None
    many: List[Union[Inner, str]] = Field(default_factory=list)


class Box(BaseModel, Generic[T]):
    value: T


@dataclass
class Point:
    x: int = 0
    colours: Optional[List[Colour]] = None


@component
class Echo:
    ballast = bytearray(b"class %(serial)d " * 40_000)

    @component.output_types(text=str, points=List[Point], either=Union[Point, Inner])
    def run(self, text: str, points: Optional[List[Point]] = None):
        log.debug("echo %%s", text)
        return {"text": text, "points": points or [], "either": Point()}


@overload
def twice(value: int) -> int: ...
@overload
def twice(value: str) -> str: ...
def twice(value):
    return value + value


@functools.lru_cache
def cached(value: str) -> Question:
    return Question(text=value)


def weather(city: Annotated[str, "the city"]) -> str:
    """The weather."""
    return city


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.ballast = bytearray(b"object %(serial)d " * 40_000)
        self.pipeline = Pipeline()
        self.pipeline.add_component("prompt", PromptBuilder("{{ question }} {{ documents }}"))
        self.pipeline.add_component("echo", Echo())
        self.pipeline.connect("prompt.prompt", "echo.text")
        self.tool = create_tool_from_function(weather)
        self.model = create_model("Made", question=(Question, ...), box=(Box[Inner], ...))

    def run_api(
        self,
        question: Question,
        colour: Colour = Colour.RED,
        choice: Optional[Literal["a", "b"]] = None,
        boxes: Optional[List[Box[Point]]] = None,
        documents: Optional[List[Document]] = None,
        message: Union[ChatMessage, str, None] = None,
        fail: bool = False,
    ) -> Question:
        from . import late

        if fail:
            raise ValueError(f"asked to {len(self.ballast)}")
        if False:
            warnings.warn("never")
        cached(question.text)
        text = self.pipeline.run({"prompt": {"question": twice(question.text), "documents": documents or []}})
        return Question(text=text["echo"]["text"] + str(len(OTHER) + len(late.BALLAST)), inner=question.inner)

    def run_chat_completion(self, model: str, messages: list[dict], body: dict):
        def words():
            yield "ballast "
            yield str(len(self.ballast))

        return words()

    def teardown(self) -> None:
        log.info("bye")
'''
HELD = 'BALLAST = bytearray(b"held %(serial)d " * 40_000)\n'


def files(serial: int) -> dict[str, bytes]:
    return {
        "pipeline_wrapper.py": (WRAPPER % {"serial": serial}).encode(),
        "held.py": (HELD % {"serial": serial}).encode(),
        "late.py": (HELD % {"serial": serial}).encode(),
    }


SIMPLE = """
from hayhooks import BasePipelineWrapper

BALLAST = bytearray(b"{serial:08}" * 131_072)


class PipelineWrapper(BasePipelineWrapper):
    ballast = bytearray(b"{serial:08}" * 131_072)

    def setup(self) -> None:
        pass

    def run_api(self, number: int = 1) -> int:
        return number + len(self.ballast) + len(BALLAST)
"""
QUESTION = {
    "question": {"text": "a", "inner": {"number": 2, "colour": "blue"}},
    "boxes": [{"value": {"x": 1}}],
    "documents": [{"content": "something"}],
}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("memory") / "pipelines") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_300_deployments_of_2_mb_that_came_and_went_leave_no_memory_behind(
    server: RunningServer, client: httpx.Client
) -> None:
    def cycle(serial: int) -> None:
        code = SIMPLE.format(serial=serial).encode()
        server.client.deploy_files("heavy", {"pipeline_wrapper.py": code}, save_files=False)
        assert client.post("/heavy/run", json={}).json() == {"result": 1 + 2 * 8 * 131_072}
        server.client.undeploy("heavy")

    assert growth_mb(server, cycle, warm_up=20, cycles=300) < 20


@pytest.mark.parametrize("way", ["undeployed", "overwritten", "each with its own name"])
def test_everything_a_wrapper_defines_is_free_after_it_was_retired(
    server: RunningServer, client: httpx.Client, way: str
) -> None:
    def cycle(serial: int) -> None:
        name = f"rich-{serial}" if way == "each with its own name" else "rich"
        server.client.deploy_files(name, files(serial), overwrite=way == "overwritten")
        assert client.post(f"/{name}/run", json=QUESTION).status_code == 200
        assert client.post(f"/{name}/run", json={**QUESTION, "fail": True}).status_code == 500
        assert client.post(f"/{name}/run", json={"question": 3}).status_code == 422
        assert client.post(f"/{name}/chat", json={**CHAT, "stream": bool(serial % 2)}).status_code == 200
        with client.stream("POST", f"/{name}/chat", json={**CHAT, "stream": True}):
            pass  # not read to its end
        if serial % 5 == 0:
            assert client.get("/openapi.json").status_code == 200
        if way != "overwritten":
            server.client.undeploy(name)

    # A version that stays holds 2.8 MB; a module, a class or an object of it that stays alone 0.6 MB or more.
    assert growth_mb(server, cycle, warm_up=10, cycles=25) < 10


def test_deploys_that_fail_leave_no_memory_behind(server: RunningServer, client: httpx.Client) -> None:
    def cycle(serial: int) -> None:
        broken = files(serial)
        broken["pipeline_wrapper.py"] = broken["pipeline_wrapper.py"].replace(
            b"self.tool =", b"raise ValueError('no'); self.tool ="
        )
        texts = {path: content.decode() for path, content in broken.items()}
        assert client.post("/deploy_files", json={"name": "broken", "files": texts}).status_code == 422

    assert growth_mb(server, cycle, warm_up=10, cycles=25) < 10


def test_runs_leave_no_memory_behind(server: RunningServer, client: httpx.Client) -> None:
    server.client.deploy_files("busy", files(0))
    text = "x" * 500_000

    def cycle(serial: int) -> None:
        assert client.post("/busy/run", json={"question": {"text": text}}).status_code == 200
        assert client.post("/busy/run", json={"question": {"text": text}, "fail": True}).status_code == 500
        assert client.post("/busy/run", json={"question": text}).status_code == 422
        assert client.post("/busy/chat", json={**CHAT, "user": text}).status_code == 200
        assert client.post("/busy/run", content=b"{" + text.encode()).status_code == 422

    assert growth_mb(server, cycle, warm_up=20, cycles=60) < 15
    server.client.undeploy("busy")


def growth_mb(server: RunningServer, cycle: Callable[[int], None], *, warm_up: int, cycles: int) -> float:
    """By how much the server's memory grows in *cycles* that come after those of the warm-up."""
    process = psutil.Process(server.process.pid)
    for serial in range(warm_up):
        cycle(serial)
    before = process.memory_info().rss
    for serial in range(warm_up, warm_up + cycles):
        cycle(serial)
    return (process.memory_info().rss - before) / 2**20
