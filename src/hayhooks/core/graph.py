"""The shape of a pipeline as plain data: what a drawing, a console or an API shows, without Haystack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NodeRole = Literal["component", "agent", "tool"]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a node."""

    name: str
    type: str = ""
    is_optional: bool = False  # an input that has a default


@dataclass(frozen=True, slots=True)
class Node:
    """One component, agent or tool."""

    name: str
    kind: str = ""  # the class name, as people know the component
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    role: NodeRole = "component"


@dataclass(frozen=True, slots=True)
class Edge:
    """Data that flows from an output of one node to an input of another.

    A tool edge joins an agent with a tool it may call and has no sockets.
    """

    sender: str
    sender_socket: str
    receiver: str
    receiver_socket: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Socket:
    """Where a terminal meets the graph: a port of a node."""

    node: str
    port: str
    is_optional: bool = False  # the port has a default, the value goes there as well when it is given


@dataclass(frozen=True, slots=True)
class Terminal:
    """A value that a caller gives (an input) or gets (an output); one input may feed several sockets."""

    name: str
    sockets: tuple[Socket, ...]
    type: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole pipeline or agent. Names of nodes are unique."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    inputs: tuple[Terminal, ...] = ()
    outputs: tuple[Terminal, ...] = ()
