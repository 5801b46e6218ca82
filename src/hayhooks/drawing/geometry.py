"""Boxes, links and the lines between them: plain geometry, in units of the drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Size:
    """A box to place."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Link:
    """Joins the right side of box *tail* with the left side of box *head*; heights count from a box's top."""

    tail: int
    tail_y: float
    head: int
    head_y: float


@dataclass(frozen=True, slots=True)
class Column:
    """The place of one box. All boxes of a layer share *x* and *width*."""

    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Route:
    """The points of one link. A loop runs against the flow, below the boxes, in right angles."""

    points: tuple[Point, ...]
    is_loop: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes and links in the order they were given, and the room they take from (0, 0)."""

    boxes: tuple[Column, ...]
    routes: tuple[Route, ...]
    width: float
    height: float


def curve(points: Sequence[Point]) -> Iterator[Point]:
    """Run straight across layers, and through each gap as an S-shaped cubic Bézier."""
    yield points[0]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 != y1:
            steps = 8 + min(16, int(abs(y1 - y0) / 12))
            pull = max((x1 - x0) / 2, 24.0)
            for t in (i / steps for i in range(1, steps)):
                s = 1 - t
                a, b, d, e = s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t
                yield a * x0 + b * (x0 + pull) + d * (x1 - pull) + e * x1, (a + b) * y0 + (d + e) * y1
        yield x1, y1


def rounded(points: Sequence[Point], radius: float) -> Iterator[Point]:
    """Round the corners of a line of right angles."""
    yield points[0]
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        r = min(radius, math.dist(before, at) / 2, math.dist(at, after) / 2)
        a, b = _towards(at, before, r), _towards(at, after, r)
        for t in (i / 6 for i in range(7)):
            s = 1 - t
            yield (
                s * s * a[0] + 2 * s * t * at[0] + t * t * b[0],
                s * s * a[1] + 2 * s * t * at[1] + t * t * b[1],
            )
    yield points[-1]


def _towards(start: Point, end: Point, distance: float) -> Point:
    part = distance / (math.dist(start, end) or 1.0)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part


def dashes(line: Sequence[Point], dash: float = 6.0, gap: float = 4.0) -> Iterator[list[Point]]:
    """Cut *line* into the pieces that are drawn."""
    left, is_drawn, piece = dash, True, [line[0]]
    for a, b in itertools.pairwise(line):
        at = a
        while (rest := math.dist(at, b)) > left:
            at = _towards(at, b, left)
            if is_drawn:
                yield [*piece, at]
            is_drawn = not is_drawn
            left, piece = dash if is_drawn else gap, [at]
        left -= rest
        piece.append(b)
    if is_drawn and len(piece) > 1:
        yield piece
