"""What is drawn of a graph: its cards, and the links between them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hayhooks.core.graph import Edge, Graph, Node, Socket, Terminal
from hayhooks.drawing.card import Card, card_of, pill_of
from hayhooks.drawing.geometry import Link

_MAX_NODES, _MAX_LINKS, _COMPACT_FROM = 300, 2_000, 60


@dataclass(frozen=True, slots=True)
class Style:
    """How a link looks."""

    type: str  # of the data that flows, which gives the colour
    is_dashed: bool = False  # towards a tool, or a value that is optional there


@dataclass(frozen=True, slots=True)
class Scene:
    """Cards and links in drawing order; each link has a style. The note says what is not shown."""

    cards: list[Card]
    links: list[Link]
    styles: list[Style]
    note: str


def scene_of(graph: Graph) -> Scene:
    """Choose what is drawn of *graph*. Names that only edges or terminals mention get an empty card."""
    nodes, edges, note = _within_limits(graph)
    kept = {node.name for node in nodes}
    inputs, outputs = _ends(graph.inputs, kept), _ends(graph.outputs, kept)
    used_inputs, used_outputs = _used_ports(edges, inputs, outputs)
    is_compact = len(nodes) > _COMPACT_FROM

    # Inputs come first: the layout reads a cycle from where the pipeline is entered.
    cards = [pill_of(terminal, "input") for terminal, _ in inputs]
    number = {node.name: len(cards) + i for i, node in enumerate(nodes)}
    cards += [card_of(n, used_inputs[n.name], used_outputs[n.name], is_compact=is_compact) for n in nodes]
    first_output = len(cards)
    cards += [pill_of(terminal, "output") for terminal, _ in outputs]
    scene = Scene(cards, [], [], note)

    def join(tail: int, out: str, head: int, into: str, style: Style) -> None:
        scene.links.append(Link(tail, cards[tail].outputs[out], head, cards[head].inputs[into]))
        scene.styles.append(style)

    for i, (terminal, sockets) in enumerate(inputs):
        for socket in sockets:
            join(i, "", number[socket.node], socket.port, Style(terminal.type, socket.is_optional))
    for edge in edges:
        style = Style(edge.type, is_dashed=not edge.sender_socket and not edge.receiver_socket)
        join(number[edge.sender], edge.sender_socket, number[edge.receiver], edge.receiver_socket, style)
    for i, (terminal, sockets) in enumerate(outputs, start=first_output):
        for socket in sockets:
            join(number[socket.node], socket.port, i, "", Style(terminal.type))
    return scene


def _within_limits(graph: Graph) -> tuple[list[Node], list[Edge], str]:
    named = {node.name: node for node in graph.nodes}
    for edge in graph.edges:
        for name in (edge.sender, edge.receiver):
            named.setdefault(name, Node(name))
    for terminal in (*graph.inputs, *graph.outputs):
        for socket in terminal.sockets:
            named.setdefault(socket.node, Node(socket.node))
    nodes = list(itertools.islice(named.values(), _MAX_NODES))
    kept = {node.name for node in nodes}
    edges = [edge for edge in graph.edges if edge.sender in kept and edge.receiver in kept][:_MAX_LINKS]
    left_out = [
        f"{count} {what}{'' if count == 1 else 's'}"
        for count, what in ((len(named) - len(nodes), "component"), (len(graph.edges) - len(edges), "connection"))
        if count
    ]
    if not named:
        return nodes, edges, "This pipeline has no components."
    return nodes, edges, f"Not shown: {' and '.join(left_out)}." if left_out else ""


def _ends(terminals: Sequence[Terminal], kept: set[str]) -> list[tuple[Terminal, list[Socket]]]:
    """Each terminal with the sockets of it that are drawn."""
    ends = ((terminal, [socket for socket in terminal.sockets if socket.node in kept]) for terminal in terminals)
    return [(terminal, sockets) for terminal, sockets in ends if sockets or not terminal.sockets][:_MAX_NODES]


_Ports = Mapping[str, dict[str, None]]  # by node: an ordered set of port names


def _used_ports(
    edges: Sequence[Edge],
    inputs: Sequence[tuple[Terminal, Sequence[Socket]]],
    outputs: Sequence[tuple[Terminal, Sequence[Socket]]],
) -> tuple[_Ports, _Ports]:
    entered: defaultdict[str, dict[str, None]] = defaultdict(dict)
    left: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for edge in edges:
        left[edge.sender][edge.sender_socket] = None
        entered[edge.receiver][edge.receiver_socket] = None
    for used, terminals in ((entered, inputs), (left, outputs)):
        for _, sockets in terminals:
            for socket in sockets:
                used[socket.node][socket.port] = None
    return entered, left
