"""Paints a graph as a PNG with Pillow: no web service, no Graphviz."""

from __future__ import annotations

import io
import math

from PIL import Image

from hayhooks.core.graph import Graph
from hayhooks.drawing.geometry import Size
from hayhooks.drawing.layout import lay_out
from hayhooks.drawing.paint import MARGIN, Letters, Shapes
from hayhooks.drawing.scene import scene_of
from hayhooks.drawing.text import text_width

_SCALE = 2.0  # pixels per unit: sharp on high-density screens
_SMOOTH = 2  # shapes are painted this much larger and then reduced, because Pillow draws hard edges
_MAX_PIXELS, _MAX_SIDE = 24_000_000, 30_000
_MAX_SMOOTH_PIXELS = 8_000_000
_NOTE_SIZE, _NOTE_ROOM = 11.0, 24.0


def render_png(graph: Graph) -> bytes:
    """Draw *graph*: inputs on the left, outputs on the right, an optional input marked with `?`.

    Answers for any graph: names that only edges mention are drawn as empty cards, long texts are shortened, a large
    graph is drawn in less detail, and of a huge one the picture says how much it leaves out. At most 24 megapixels
    and 200 MB of memory while it runs; from 0.1 to some seconds of CPU, so call it off the event loop.
    """
    scene = scene_of(graph)
    layout = lay_out([Size(card.width, card.height) for card in scene.cards], scene.links)
    width = max(layout.width, text_width(scene.note, _NOTE_SIZE)) + 2 * MARGIN
    height = layout.height + (_NOTE_ROOM if scene.note else 0.0) + 2 * MARGIN
    scale = min(_SCALE, _MAX_SIDE / max(width, height), math.sqrt(_MAX_PIXELS / (width * height)))
    smooth = _SMOOTH if width * height * scale * scale <= _MAX_SMOOTH_PIXELS else 1
    size = (max(1, int(width * scale)), max(1, int(height * scale)))

    image = Image.new("RGB", (size[0] * smooth, size[1] * smooth), "white")
    Shapes(image, scale * smooth).scene(scene, layout)
    if smooth > 1:
        image = image.reduce(smooth)
    letters = Letters(image, scale)
    letters.scene(scene, layout)
    if scene.note:
        letters.note(scene.note, layout.height + _NOTE_ROOM / 2, _NOTE_SIZE)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
