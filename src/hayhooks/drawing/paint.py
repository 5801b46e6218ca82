"""The brushes: shapes and letters of a scene, on a Pillow image."""

from __future__ import annotations

import zlib

from PIL import Image, ImageDraw

from hayhooks.drawing import card as c
from hayhooks.drawing.card import Card, Row
from hayhooks.drawing.geometry import Column, Layout, Point, Route, curve, dashes, rounded
from hayhooks.drawing.scene import Scene, Style
from hayhooks.drawing.text import drawable, text_width

MARGIN = 28.0

_PAPER, _BODY, _INK, _MUTED, _LINE = "#ffffff", "#fdfdfe", "#1f2937", "#6b7485", "#c3cad6"
# By the last word of a component's class name, which says what the component is for.
_SEARCH, _THINK, _WRITE, _RANK, _ROUTE = "#dbe9fb", "#e9e0fb", "#fdeccf", "#fbe0ec", "#d8f1ec"
_FAMILIES = {
    **dict.fromkeys(("Retriever", "Store", "Search", "Fetcher", "WebSearch"), _SEARCH),
    **dict.fromkeys(("Generator", "Agent", "Invoker", "LLM"), _THINK),
    **dict.fromkeys(("Builder", "Writer", "Adapter"), _WRITE),
    **dict.fromkeys(("Embedder", "Ranker", "Classifier", "Evaluator", "Extractor"), _RANK),
    **dict.fromkeys(("Router", "Joiner", "Splitter", "Converter", "Cleaner", "ToDocument"), _ROUTE),
}
_PLAIN_HEADER, _TOOL_HEADER = "#e9edf2", "#e0f2dc"
_PILLS = {"input": ("#e7f6ec", "#3f9d63"), "output": ("#e8f0fe", "#4a78d0")}
# The types that most pipelines carry have colours of their own; any other gets one by its name, always the same.
_DATA = {"list[Document]": "#3b74d6", "list[ChatMessage]": "#8b5fd0", "str": "#2f9460", "list[float]": "#d0722f"}
_OTHER_DATA = ("#c14f86", "#b08d1c", "#2f93a3", "#a3502f", "#7a8a2f", "#5563b8")
_UNTYPED = "#5b6b82"
_DOT, _RADIUS, _THICK = 4.0, 9.0, 1.6


class Shapes:
    """Everything but letters, on an image of *scale* pixels per unit."""

    def __init__(self, image: Image.Image, scale: float) -> None:
        self._draw = ImageDraw.Draw(image)
        self._scale = scale

    def scene(self, scene: Scene, layout: Layout) -> None:
        """Paint links, cards over them, and the ends of the links on top."""
        for route, style in zip(layout.routes, scene.styles, strict=True):
            self._link(route, style)
        for card, box in zip(scene.cards, layout.boxes, strict=True):
            self._card(card, box)
        for route, style in zip(layout.routes, scene.styles, strict=True):
            self._dot(route.points[0], _data_colour(style.type))
            self._arrow(route.points[-1], _data_colour(style.type))

    def _card(self, card: Card, box: Column) -> None:
        if card.role in _PILLS:
            fill, line = _PILLS[card.role]
            self._box(_pill_left(card, box), box.y, card.width, card.height, card.height / 2, fill, line)
            return
        header = _TOOL_HEADER if card.role == "tool" else _family_colour(card.kind)
        self._box(box.x, box.y, box.width, card.height, _RADIUS, header, None)
        if card.rows:
            body = self._px((box.x, box.y + c.HEADER), (box.x + box.width, box.y + card.height))
            # Round below only: the upper edge meets the header.
            self._draw.rounded_rectangle(body, _RADIUS * self._scale, _BODY, corners=(False, False, True, True))
        self._box(box.x, box.y, box.width, card.height, _RADIUS, None, _LINE)
        for row in card.rows:
            if row.is_open:
                self._dot((box.x if row.is_input else box.x + box.width, box.y + row.y), _LINE, is_hollow=True)

    def _box(
        self, x: float, y: float, width: float, height: float, radius: float, fill: str | None, line: str | None
    ) -> None:
        corners = self._px((x, y), (x + width, y + height))
        self._draw.rounded_rectangle(corners, radius * self._scale, fill, line, self._thick(1.0))

    def _link(self, route: Route, style: Style) -> None:
        line = list(rounded(route.points, 10.0) if route.is_loop else curve(route.points))
        for piece in dashes(line) if style.is_dashed else [line]:
            self._draw.line(self._px(*piece), _data_colour(style.type), self._thick(_THICK), "curve")

    def _dot(self, at: Point, colour: str, *, is_hollow: bool = False) -> None:
        (x, y), r = self._px(at)[0], _DOT * self._scale
        self._draw.ellipse((x - r, y - r, x + r, y + r), _PAPER if is_hollow else colour, colour, self._thick(1.2))

    def _arrow(self, at: Point, colour: str) -> None:
        x, y = at
        self._draw.polygon(self._px((x + 1, y), (x - 8, y - 4.5), (x - 8, y + 4.5)), colour)

    def _thick(self, units: float) -> int:
        return max(1, round(units * self._scale))

    def _px(self, *points: Point) -> list[Point]:
        return [((x + MARGIN) * self._scale, (y + MARGIN) * self._scale) for x, y in points]


class Letters:
    """All text, on the image at its final size, where the font's own smoothing looks best."""

    def __init__(self, image: Image.Image, scale: float) -> None:
        self._draw = ImageDraw.Draw(image)
        self._scale = scale

    def scene(self, scene: Scene, layout: Layout) -> None:
        """Write what stands on the cards."""
        for card, box in zip(scene.cards, layout.boxes, strict=True):
            self._card(card, box)

    def note(self, text: str, y: float, size: float) -> None:
        """Write a line about the drawing, its middle at *y*."""
        self._write(text, 0.0, y, size, _MUTED)

    def _card(self, card: Card, box: Column) -> None:
        if card.role in _PILLS:
            self._row(card.rows[0], _pill_left(card, box) + 2, box.y, card.width - 4)
            return
        x = box.x + c.PAD
        if card.kind:
            self._write(card.title, x, box.y + 17, c.NAME_SIZE, _INK)
            self._write(card.kind, x, box.y + 34, c.KIND_SIZE, _MUTED)
        else:
            self._write(card.title, x, box.y + c.HEADER / 2, c.NAME_SIZE, _INK)
        for row in card.rows:
            self._row(row, box.x, box.y, box.width)

    def _row(self, row: Row, x: float, y: float, width: float) -> None:
        name_width = text_width(row.name, c.ROW_SIZE)
        type_width = c.TYPE_GAP + text_width(row.type, c.ROW_SIZE) if row.type else 0.0
        left = x + c.PAD if row.is_input else x + width - c.PAD - name_width - type_width
        self._write(row.name, left, y + row.y, c.ROW_SIZE, _MUTED if row.is_muted else _INK)
        if row.type:
            self._write(row.type, left + name_width + c.TYPE_GAP, y + row.y, c.ROW_SIZE, _MUTED)

    def _write(self, text: str, x: float, y: float, size: float, colour: str) -> None:
        """*text* from *x* to the right, its middle at *y*."""
        shown, font = drawable(text, size * self._scale)
        self._draw.text(((x + MARGIN) * self._scale, (y + MARGIN) * self._scale), shown, colour, font, anchor="lm")


def _pill_left(card: Card, box: Column) -> float:
    # An input stands at the right of its layer and an output at the left: next to what it belongs to.
    return box.x + box.width - card.width if card.role == "input" else box.x


def _family_colour(kind: str) -> str:
    return next((colour for word, colour in _FAMILIES.items() if kind.endswith(word)), _PLAIN_HEADER)


def _data_colour(type_: str) -> str:
    if not type_:
        return _UNTYPED
    return _DATA.get(type_) or _OTHER_DATA[zlib.crc32(type_.encode("utf-8", "replace")) % len(_OTHER_DATA)]
