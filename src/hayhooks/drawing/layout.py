"""Layered left-to-right layout (Sugiyama): where boxes go and how links run between them.

Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures",
IEEE Transactions on Systems, Man, and Cybernetics 11(2), 1981. Rows are settled by isotonic regression
(pool adjacent violators), which gives the least squared distance to the wished positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from hayhooks.drawing.geometry import Column, Layout, Link, Route, Size
from hayhooks.drawing.grid import Grid, layers_of, loops_of

_COLUMN_GAP = 60.0
_CHANNEL = 9.0  # room between two links that run beside each other


def lay_out(sizes: Sequence[Size], links: Sequence[Link]) -> Layout:
    """Place *sizes* so that links flow from left to right; cycles are opened by turning links around."""
    loops = loops_of(len(sizes), links)
    forward = [link for number, link in enumerate(links) if number not in loops]
    layer = layers_of(len(sizes), forward)
    grid = Grid(sizes, forward, layer)
    grid.arrange()
    tops = grid.settle()
    xs, widths = _columns(sizes, layer, [links[number] for number in loops])
    boxes = tuple(Column(xs[layer[i]], tops[i], widths[layer[i]]) for i in range(len(sizes)))

    def forward_route(link: Link) -> Route:
        points = [(xs[layer[link.tail]] + widths[layer[link.tail]], tops[link.tail] + link.tail_y)]
        for bend in grid.bends_of(link):
            at = grid.layer_of[bend]
            points += [(xs[at], tops[bend]), (xs[at] + widths[at], tops[bend])]
        return Route((*points, (xs[layer[link.head]], tops[link.head] + link.head_y)), is_loop=False)

    looped = _loop_routes(sizes, [(number, links[number]) for number in sorted(loops)], layer, boxes)
    routes = tuple(looped[n] if n in loops else forward_route(link) for n, link in enumerate(links))
    rights = [box.x + box.width for box in boxes] + [x for route in routes for x, _ in route.points]
    bottoms = [box.y + size.height for box, size in zip(boxes, sizes, strict=True)]
    bottoms += [y for route in routes for _, y in route.points]
    return Layout(boxes, routes, max(rights, default=0.0), max(bottoms, default=0.0))


def _columns(sizes: Sequence[Size], layer: Sequence[int], loops: Sequence[Link]) -> tuple[list[float], list[float]]:
    """Left side and width of each layer; a gap is wider where loops come down or go up in it."""
    count = max(layer, default=-1) + 1
    widths = [0.0] * count
    for size, column in zip(sizes, layer, strict=True):
        widths[column] = max(widths[column], size.width)
    before = [0.0] * (count + 1)
    for loop in loops:
        before[layer[loop.head]] += _CHANNEL
        before[layer[loop.tail] + 1] += _CHANNEL
    xs, x = [], 0.0
    for column in range(count):
        x += before[column] + (_COLUMN_GAP if column else _CHANNEL if before[0] else 0.0)
        xs.append(x)
        x += widths[column]
    return xs, widths


def _loop_routes(
    sizes: Sequence[Size], loops: Sequence[tuple[int, Link]], layer: Sequence[int], boxes: Sequence[Column]
) -> dict[int, Route]:
    """Each loop goes right, down below everything it passes, left, and up again, in channels of its own."""
    bottoms = [0.0] * (max(layer, default=-1) + 1)
    for size, column, box in zip(sizes, layer, boxes, strict=True):
        bottoms[column] = max(bottoms[column], box.y + size.height)
    downs: dict[int, int] = defaultdict(int)
    ups: dict[int, int] = defaultdict(int)
    routes = {}
    # The shortest and lowest leave first and so lie inside: no two loops of one box cross.
    for number, link in sorted(loops, key=lambda it: (layer[it[1].tail] - layer[it[1].head], -it[1].tail_y)):
        tail, head = boxes[link.tail], boxes[link.head]
        first, last = layer[link.head], layer[link.tail]
        downs[last] += 1
        ups[first] += 1
        low = max(bottoms[first : last + 1]) + 2 * _CHANNEL
        bottoms[first : last + 1] = [low] * (last + 1 - first)
        right = tail.x + tail.width + _CHANNEL * (downs[last] + 1)
        left = head.x - _CHANNEL * (ups[first] + 1)
        start, end = tail.y + link.tail_y, head.y + link.head_y
        points = ((tail.x + tail.width, start), (right, start), (right, low), (left, low), (left, end), (head.x, end))
        routes[number] = Route(points, is_loop=True)
    return routes
