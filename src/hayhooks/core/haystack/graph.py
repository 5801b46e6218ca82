"""Reads a Haystack pipeline or agent into a `Graph`. Works on both Haystack majors and imports neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hayhooks.core.graph import Edge, Graph, Node, Port, Socket, Terminal

if TYPE_CHECKING:
    from haystack import Pipeline
    from haystack.components.agents import Agent

_MODULE_PATH = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_BARE_AGENT = "agent"  # the node name of an agent that is in no pipeline


def graph_of(
    pipeline: Pipeline | Agent | None,
    *,
    inputs: Mapping[str, str | Sequence[str]] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> Graph:
    """Read the graph of *pipeline*, or of an agent with its tools.

    A single component is a graph of one node, and anything else (a wrapper may have no pipeline) an empty graph.
    Without *inputs* and *outputs* the terminals are what `Pipeline.run` takes and gives: one input per name that
    some component requires, one output per socket that nothing consumes.

    Args:
        pipeline: Read only; it is neither warmed up nor changed.
        inputs: Declared names and the `component.socket` each feeds, as in a YAML file; replaces the found inputs.
        outputs: Declared names and the `component.socket` each comes from; replaces the found outputs.
    """
    edges: list[Edge] = []
    components: dict[str, Any] = {}
    shown: Any = pipeline  # told apart by shape, below: see `_is_agent`
    if hasattr(shown, "walk"):
        components = dict(shown.walk())
        for sender, receiver, data in shown.graph.edges(data=True):
            source, target = data["from_socket"], data["to_socket"]
            edges.append(Edge(sender, source.name, receiver, target.name, type_text(source.type)))
    elif hasattr(shown, "__haystack_input__"):
        components = {_BARE_AGENT if _is_agent(shown) else type(shown).__name__: shown}
    nodes: list[Node] = []
    for name, instance in components.items():
        tools = list(_tools_of(instance))
        nodes.append(
            Node(
                name,
                type(instance).__name__,
                tuple(_ports(instance, "__haystack_input__")),
                tuple(_ports(instance, "__haystack_output__")),
                "agent" if _is_agent(instance) else "component",
            )
        )
        for tool in tools:
            node = _tool_node(name, tool)
            nodes.append(node)
            edges.append(Edge(name, "", node.name, ""))
    return Graph(
        tuple(nodes),
        tuple(edges),
        tuple(_found_inputs(nodes, edges) if inputs is None else _declared_inputs(inputs, nodes)),
        tuple(_found_outputs(nodes, edges) if outputs is None else _declared_outputs(outputs, nodes)),
    )


def type_text(annotation: Any) -> str:
    """*annotation* as a person would write it: `list[Document]`, without module names."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return _MODULE_PATH.sub("", str(annotation)).replace("NoneType", "None")


def _ports(instance: Any, attribute: str) -> Iterator[Port]:
    # Each socket is a public attribute of the component's Sockets object, under its own name.
    for name, socket in vars(getattr(instance, attribute)).items():
        if not name.startswith("_"):
            yield Port(name, type_text(socket.type), not getattr(socket, "is_mandatory", True))


def _is_agent(instance: Any) -> bool:
    # By its shape: importing the Agent class costs a second that a pipeline without agents need not pay.
    return hasattr(instance, "chat_generator") and hasattr(instance, "tools")


def _tools_of(instance: Any) -> Iterator[Any]:
    if _is_agent(instance):
        yield from _flat(instance.tools)


def _flat(tools: Any) -> Iterator[Any]:
    """Every tool in a tool, a toolset, or a list of both."""
    if hasattr(tools, "parameters"):
        yield tools
    elif isinstance(tools, Iterable) and not isinstance(tools, str):
        for item in tools:
            yield from _flat(item)


def _tool_node(agent: str, tool: Any) -> Node:
    properties: Mapping[str, Any] = tool.parameters.get("properties") or {}
    required = tool.parameters.get("required") or ()
    ports = (Port(name, _json_type(schema), name not in required) for name, schema in properties.items())
    return Node(f"{agent}/{tool.name}", type(tool).__name__, tuple(ports), (), "tool")


def _json_type(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return ""
    if "anyOf" in schema:
        return " | ".join(_json_type(choice) for choice in schema["anyOf"])
    found = schema.get("type", schema.get("$ref", "").rpartition("/")[2])
    return " | ".join(found) if isinstance(found, list) else str(found)


def _found_inputs(nodes: Sequence[Node], edges: Sequence[Edge]) -> Iterator[Terminal]:
    taken = {(edge.receiver, edge.receiver_socket) for edge in edges}
    by_name: dict[str, list[tuple[Socket, str]]] = {}
    for node in nodes:
        for port in node.inputs if node.role != "tool" else ():
            if (node.name, port.name) not in taken:
                socket = Socket(node.name, port.name, port.is_optional)
                by_name.setdefault(port.name, []).append((socket, port.type))
    for name, found in by_name.items():
        required = [kind for socket, kind in found if not socket.is_optional]
        if required:
            yield Terminal(name, tuple(socket for socket, _ in found), _one_type(required))


def _found_outputs(nodes: Sequence[Node], edges: Sequence[Edge]) -> Iterator[Terminal]:
    taken = {(edge.sender, edge.sender_socket) for edge in edges}
    for node in nodes:
        for port in node.outputs:
            if (node.name, port.name) not in taken:
                yield Terminal(port.name, (Socket(node.name, port.name),), port.type)


def _declared_inputs(declared: Mapping[str, str | Sequence[str]], nodes: Sequence[Node]) -> Iterator[Terminal]:
    ports = {(node.name, port.name): port for node in nodes for port in node.inputs}
    for name, targets in declared.items():
        ends = [_split(target) for target in ([targets] if isinstance(targets, str) else targets)]
        known = [ports[end] for end in ends if end in ports]
        sockets = (Socket(node, port, (node, port) in ports and ports[node, port].is_optional) for node, port in ends)
        yield Terminal(name, tuple(sockets), _one_type([port.type for port in known]))


def _declared_outputs(declared: Mapping[str, str], nodes: Sequence[Node]) -> Iterator[Terminal]:
    ports = {(node.name, port.name): port.type for node in nodes for port in node.outputs}
    for name, target in declared.items():
        end = _split(target)
        yield Terminal(name, (Socket(*end),), ports.get(end, ""))


def _split(target: str) -> tuple[str, str]:
    component, _, socket = target.rpartition(".")
    return component, socket


def _one_type(types: Sequence[str]) -> str:
    # Template variables accept anything; the socket beside them that is typed says what the value is.
    told = {text for text in types if text != "Any"} or set(types)
    return told.pop() if len(told) == 1 else ""
