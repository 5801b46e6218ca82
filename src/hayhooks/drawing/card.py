"""A node as a card: which lines it shows, how large it is, and where its ports are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hayhooks.core.graph import Node, Port, Terminal
from hayhooks.drawing.text import clean, text_width

NAME_SIZE = 15.0
KIND_SIZE = 11.0
ROW_SIZE = 12.0
PAD = 12.0
HEADER = 46.0
TYPE_GAP = 6.0

_ROW = 19.0
_HEAD, _FOOT = 4.0, 7.0
_MIN_WIDTH = 140.0
_PILL = 28.0
_MAX_NAME, _MAX_TYPE, _MAX_OPEN_TYPE = 36, 28, 18  # characters
_MAX_OPTIONAL = 4  # open optional inputs listed by name; the others are counted


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a card."""

    name: str
    type: str
    y: float  # of its middle, from the card's top
    is_input: bool = True
    is_open: bool = False  # a port that nothing is joined to
    is_muted: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """What is drawn for one node or terminal."""

    title: str
    kind: str
    role: str  # a node's role, or "input", "output"
    rows: tuple[Row, ...]
    width: float
    height: float
    inputs: dict[str, float]  # port name to height
    outputs: dict[str, float]


def card_of(node: Node, used_inputs: Collection[str], used_outputs: Collection[str], *, is_compact: bool) -> Card:
    """Make the card of *node*. Ports in use are always on it, also those the node does not know of.

    Args:
        node: What to show.
        used_inputs: Names of inputs where a link ends; "" is the head of a tool's card.
        used_outputs: Names of outputs where a link begins; "" is an agent's port towards its tools.
        is_compact: Leave out types and whatever nothing is joined to.
    """
    inputs = _with_used(node.inputs, used_inputs)
    outputs = _with_used(node.outputs, used_outputs)
    if is_compact:
        inputs = [port for port in inputs if port.name in used_inputs or not port.is_optional]
        outputs = [port for port in outputs if port.name in used_outputs]
    needed = [port for port in inputs if port.name and (port.name in used_inputs or not port.is_optional)]
    optional = [port for port in inputs if port.is_optional and port.name not in used_inputs]
    # One more is listed where "1 more" would take the same line.
    listed = optional if len(optional) <= _MAX_OPTIONAL + 1 else optional[:_MAX_OPTIONAL]

    rows: list[Row] = []
    lines = 0
    input_heights, output_heights = {"": HEADER / 2}, {"": HEADER / 2}

    def add(name: str, type_: str, *, is_input: bool = True, is_open: bool = False, is_muted: bool = False) -> float:
        nonlocal lines
        y = HEADER + _HEAD + _ROW * lines + _ROW / 2
        lines += 1
        text = "" if is_compact else clean(type_, _MAX_OPEN_TYPE if is_muted else _MAX_TYPE)
        rows.append(Row(clean(name, _MAX_NAME), text, y, is_input, is_open, is_muted))
        return y

    # Outputs stand above inputs, as in other node editors: a chain then runs level, whatever optional inputs it has.
    for port in outputs:
        is_open = port.name not in used_outputs
        output_heights[port.name] = add(port.name or "tools", port.type, is_input=False, is_open=is_open)
    if is_compact:  # names alone are short enough to stand side by side
        lines = 0
    for port in [*needed, *listed]:
        is_open = port.name not in used_inputs
        name, type_ = (f"{port.name}?", _without_none(port.type)) if port.is_optional else (port.name, port.type)
        input_heights[port.name] = add(name, type_, is_open=is_open, is_muted=port in listed)
    if len(listed) < len(optional):
        add(f"+ {len(optional) - len(listed)} more optional", "", is_muted=True)

    # A tool's node name carries its agent's, to be unique; its card stands beside the agent.
    title = clean(node.name.rpartition("/")[2] if node.role == "tool" else node.name, _MAX_NAME)
    kind = clean(node.kind, _MAX_NAME)
    widths = [_MIN_WIDTH - 2 * PAD, text_width(title, NAME_SIZE), text_width(kind, KIND_SIZE)]
    widths += [_row_width(row) for row in rows]
    if is_compact:
        both = zip((r for r in rows if r.is_input), (r for r in rows if not r.is_input), strict=False)
        widths += [_row_width(a) + _row_width(b) + PAD for a, b in both]
    height = max((row.y for row in rows), default=HEADER - _ROW / 2 - _FOOT) + _ROW / 2 + _FOOT
    return Card(title, kind, node.role, tuple(rows), max(widths) + 2 * PAD, height, input_heights, output_heights)


def pill_of(terminal: Terminal, role: str) -> Card:
    """Make the small round card of a pipeline's input or output; *role* says which."""
    row = Row(clean(terminal.name, _MAX_NAME), clean(terminal.type, _MAX_TYPE), _PILL / 2)
    middle = {"": _PILL / 2}
    return Card(row.name, "", role, (row,), _row_width(row) + 2 * PAD + 4, _PILL, middle, middle)


def _with_used(ports: Collection[Port], used: Collection[str]) -> list[Port]:
    known = {port.name for port in ports}
    return [*ports, *(Port(name) for name in used if name not in known)]


def _without_none(type_: str) -> str:
    return type_.removesuffix(" | None")  # the mark of an optional input says it


def _row_width(row: Row) -> float:
    return text_width(row.name, ROW_SIZE) + (TYPE_GAP + text_width(row.type, ROW_SIZE) if row.type else 0.0)
