"""Memory: what deployments that came and went leave behind, and how long freeing them holds others up."""

from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "pipelines") as running:
        yield running
