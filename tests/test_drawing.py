"""Pipelines and agents are read as graphs and drawn as PNGs without any outside help."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any

import pytest
from haystack import Document, Pipeline, component
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.joiners import BranchJoiner, DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import Toolset
from haystack.tools.tool import Tool
from PIL import Image

from hayhooks.core.graph import Edge, Graph, Node, Port, Socket, Terminal
from hayhooks.core.haystack.graph import graph_of
from hayhooks.drawing import render_png
from hayhooks.drawing.geometry import Link, Size
from hayhooks.drawing.layout import lay_out


@component
class Replier:
    """Stands where a chat generator would."""

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools: Any = None) -> dict[str, Any]:
        return {"replies": [*messages]}


@component
class Checker:
    """Accepts or sends back."""

    @component.output_types(accepted=list[ChatMessage], rejected=str)
    def run(self, replies: list[ChatMessage], strict: bool = False) -> dict[str, Any]:
        return {"accepted": replies}


def rag() -> Pipeline:
    pipeline = Pipeline()
    prompt = ChatPromptBuilder([ChatMessage.from_user("{{ documents }} {{ query }}")], required_variables="*")
    pipeline.add_component("retriever", InMemoryBM25Retriever(InMemoryDocumentStore()))
    pipeline.add_component("prompt", prompt)
    pipeline.add_component("llm", Replier())
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline


def branching() -> Pipeline:
    pipeline, store = Pipeline(), InMemoryDocumentStore()
    pipeline.add_component("news", InMemoryBM25Retriever(store))
    pipeline.add_component("manuals", InMemoryBM25Retriever(store))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.connect("news", "joiner")
    pipeline.connect("manuals", "joiner")
    return pipeline


def looping() -> Pipeline:
    pipeline = Pipeline(max_runs_per_component=3)
    pipeline.add_component("start", BranchJoiner(str))
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user("{{ text }}")], required_variables="*"))
    pipeline.add_component("llm", Replier())
    pipeline.add_component("checker", Checker())
    pipeline.connect("start.value", "prompt.text")
    pipeline.connect("prompt.prompt", "llm.messages")
    pipeline.connect("llm.replies", "checker.replies")
    pipeline.connect("checker.rejected", "start.value")
    return pipeline


def tool(name: str) -> Tool:
    properties = {"city": {"type": "string"}, "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    return Tool(name=name, description=name, parameters=schema, function=str)


def agent() -> Agent:
    return Agent(chat_generator=Replier(), tools=[tool("weather"), Toolset([tool("traffic")])])


def picture(graph: Graph) -> Image.Image:
    image = Image.open(io.BytesIO(render_png(graph)))
    image.load()
    assert image.format == "PNG"
    return image


def node(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if node.name == name)


def test_a_graph_names_every_component_and_connection_of_a_pipeline() -> None:
    graph = graph_of(rag())
    assert {(n.name, n.kind) for n in graph.nodes} == {
        ("retriever", "InMemoryBM25Retriever"),
        ("prompt", "ChatPromptBuilder"),
        ("llm", "Replier"),
    }
    assert set(graph.edges) == {
        Edge("retriever", "documents", "prompt", "documents", "list[Document]"),
        Edge("prompt", "prompt", "llm", "messages", "list[ChatMessage]"),
    }


def test_inputs_with_a_default_are_marked_optional() -> None:
    ports = {port.name: port for port in node(graph_of(rag()), "retriever").inputs}
    assert not ports["query"].is_optional
    assert ports["top_k"].is_optional
    assert ports["top_k"].type == "int | None"


def test_an_input_that_several_components_take_is_one_terminal() -> None:
    (query,) = graph_of(rag()).inputs
    assert (query.name, query.type) == ("query", "str")
    assert {socket.node for socket in query.sockets} == {"retriever", "prompt"}


def test_outputs_that_nothing_consumes_are_the_outputs_of_the_pipeline() -> None:
    assert [(out.name, out.sockets) for out in graph_of(looping()).outputs] == [
        ("accepted", (Socket("checker", "accepted"),))
    ]


def test_declared_inputs_and_outputs_replace_the_found_ones() -> None:
    graph = graph_of(
        rag(), inputs={"question": ["retriever.query", "prompt.query"], "limit": "retriever.top_k"},
        outputs={"documents": "retriever.documents"},
    )  # fmt: skip
    assert [terminal.name for terminal in graph.inputs] == ["question", "limit"]
    assert graph.inputs[1].sockets == (Socket("retriever", "top_k", is_optional=True),)
    assert [(out.name, out.type) for out in graph.outputs] == [("documents", "list[Document]")]


def test_an_agent_is_shown_with_each_of_its_tools() -> None:
    graph = graph_of(agent())
    assert [(n.name, n.role) for n in graph.nodes] == [
        ("agent", "agent"),
        ("agent/weather", "tool"),
        ("agent/traffic", "tool"),
    ]
    assert node(graph, "agent/weather").inputs == (Port("city", "string"), Port("days", "integer | null", True))
    assert [terminal.name for terminal in graph.inputs] == ["messages"]
    assert "last_message" in {terminal.name for terminal in graph.outputs}


def test_an_agent_inside_a_pipeline_is_shown_with_its_tools_too() -> None:
    pipeline = Pipeline()
    pipeline.add_component("helper", agent())
    assert {n.name for n in graph_of(pipeline).nodes} == {"helper", "helper/weather", "helper/traffic"}


def test_a_single_component_is_a_graph_of_one_and_no_pipeline_an_empty_one() -> None:
    assert [n.name for n in graph_of(Replier()).nodes] == ["Replier"]  # type: ignore[arg-type]
    assert graph_of(None) == Graph()


def test_reading_a_graph_leaves_the_agent_free_for_a_pipeline() -> None:
    shown = agent()
    graph_of(shown)
    Pipeline().add_component("agent", shown)


@pytest.mark.parametrize(
    "pipeline", [rag(), branching(), looping(), agent(), Pipeline()], ids=["rag", "branches", "loop", "agent", "empty"]
)
def test_real_pipelines_are_drawn(pipeline: Pipeline | Agent) -> None:
    image = picture(graph_of(pipeline))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert len(image.getcolors(maxcolors=1 << 24) or []) > 10, "it is not blank, and its edges are smooth"


def test_the_same_graph_gives_the_same_picture() -> None:
    graph = graph_of(branching())
    assert render_png(graph) == render_png(graph)


def chain(count: int) -> Graph:
    nodes = tuple(Node(f"step_{i}", "Converter", (Port("text", "str"),), (Port("text", "str"),)) for i in range(count))
    return Graph(nodes, tuple(Edge(f"step_{i}", "text", f"step_{i + 1}", "text", "str") for i in range(count - 1)))


def tangle(nodes: int, edges: int) -> Graph:
    draw = random.Random(7)
    pairs = [(draw.randrange(nodes), draw.randrange(nodes)) for _ in range(edges)]
    return Graph((), tuple(Edge(f"n{a}", "out", f"n{b}", "in", "int") for a, b in pairs))


ODD = {
    "empty": Graph(),
    "one node that feeds itself": Graph((Node("a"),), (Edge("a", "out", "a", "in"),)),
    "two nodes that feed each other": Graph((), (Edge("a", "o", "b", "i"), Edge("b", "o", "a", "i"))),
    "names that no node has": Graph((Node("a"),), (Edge("x", "o", "y", "i"),), (Terminal("t", (Socket("z", "p"),)),)),
    "terminals that lead nowhere": Graph((), (), (Terminal("in", ()),), (Terminal("out", ()),)),
    "the same name twice": Graph((Node("a"), Node("a"), Node("b", inputs=(Port("i"), Port("i"))))),
    "empty names": Graph((Node("", ""),), (Edge("", "", "", ""),)),
    "very long names": Graph((Node("n" * 9_000, "k" * 9_000, tuple(Port("p" * i, "t" * 900) for i in range(99))),)),
    "other scripts": Graph((Node("поиск", "検索器", (Port("ملف", "naïve"), Port("😀\ud800\x00\n\u202e", "→…"))),)),
    "a chain of 200": chain(200),
    "a tangle of 200": tangle(200, 400),
    "a dense tangle": tangle(60, 2_500),
    "a thousand readers": Graph((), tuple(Edge("hub", "out", f"n{i}", "in") for i in range(1_000))),
}


@pytest.mark.parametrize("graph", ODD.values(), ids=ODD.keys())
def test_odd_and_huge_graphs_are_drawn_within_limits(graph: Graph) -> None:
    image = picture(graph)
    assert image.width * image.height <= 24_000_000
    assert max(image.size) <= 30_000


def boxes_overlap(sizes: Sequence[Size], links: Sequence[Link]) -> bool:
    layout = lay_out(sizes, links)
    rectangles = [(b.x, b.y, b.x + b.width, b.y + s.height) for b, s in zip(layout.boxes, sizes, strict=True)]
    return any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for i, a in enumerate(rectangles)
        for b in rectangles[:i]
    )


@pytest.mark.parametrize("seed", range(20))
def test_boxes_never_overlap_and_links_begin_and_end_at_their_boxes(seed: int) -> None:
    draw = random.Random(seed)
    sizes = [Size(draw.uniform(50, 300), draw.uniform(20, 200)) for _ in range(25)]
    links = [Link(draw.randrange(25), draw.uniform(0, 20), draw.randrange(25), draw.uniform(0, 20)) for _ in range(40)]
    assert not boxes_overlap(sizes, links)
    layout = lay_out(sizes, links)
    for link, route in zip(links, layout.routes, strict=True):
        tail, head = layout.boxes[link.tail], layout.boxes[link.head]
        assert route.points[0] == pytest.approx((tail.x + tail.width, tail.y + link.tail_y))
        assert route.points[-1] == pytest.approx((head.x, head.y + link.head_y))
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in route.points)


def test_links_flow_to_the_right_and_only_what_closes_a_cycle_turns_back() -> None:
    sizes = [Size(100, 50)] * 4
    links = [Link(0, 10, 1, 10), Link(1, 10, 2, 10), Link(2, 10, 3, 10), Link(2, 20, 1, 20), Link(0, 10, 3, 20)]
    layout = lay_out(sizes, links)
    assert [route.is_loop for route in layout.routes] == [False, False, False, True, False]
    assert [box.x for box in layout.boxes] == sorted({box.x for box in layout.boxes})


def test_a_simple_chain_is_drawn_as_a_straight_line() -> None:
    layout = lay_out([Size(100, 50)] * 5, [Link(i, 25, i + 1, 25) for i in range(4)])
    assert {y for route in layout.routes for _, y in route.points} == {25.0}


def test_documents_are_never_part_of_a_graph() -> None:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="secret")])
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    assert "secret" not in repr(graph_of(pipeline))
