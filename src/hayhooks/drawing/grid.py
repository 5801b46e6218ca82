"""Layers, the order in them, and the row of each box: the combinatorial half of the layout."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hayhooks.drawing.geometry import Link, Size

_ROW_GAP = 20.0
_BEND_GAP = 10.0
_SWEEPS = 12
_MAX_BENDS = 4000  # past this, long links are drawn straight: routing them would cost more than it shows
_BEND_WEIGHT = 8.0  # long links rather stay straight than boxes stay level


def loops_of(count: int, links: Sequence[Link]) -> set[int]:
    """Find the links that close a cycle, seen from the boxes that nothing leads to."""
    leaving: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, link in enumerate(links):
        leaving[link.tail].append((number, link.head))
    entered = {link.head for link in links}
    unseen, on_path, done = 0, 1, 2
    state = [unseen] * count
    loops: set[int] = set()
    for start in sorted(range(count), key=lambda i: i in entered):
        if state[start] is not unseen:
            continue
        state[start] = on_path
        path = [(start, iter(leaving[start]))]
        while path:  # not recursive: a chain may be longer than the interpreter's stack
            at, rest = path[-1]
            for number, head in rest:
                if state[head] == on_path:
                    loops.add(number)
                elif state[head] == unseen:
                    state[head] = on_path
                    path.append((head, iter(leaving[head])))
                    break
            else:
                state[at] = done
                path.pop()
    return loops


def layers_of(count: int, links: Sequence[Link]) -> list[int]:
    """Give each box its layer: the longest path to it; what nothing leads to stands right before its first reader."""
    heads: dict[int, list[int]] = defaultdict(list)
    waiting = [0] * count
    for link in links:
        heads[link.tail].append(link.head)
        waiting[link.head] += 1
    sources = [i for i in range(count) if not waiting[i]]
    layer, ready = [0] * count, list(sources)
    for box in ready:
        for head in heads[box]:
            layer[head] = max(layer[head], layer[box] + 1)
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    for box in sources:
        if heads[box]:
            layer[box] = min(layer[head] for head in heads[box]) - 1
    return layer


class Grid:
    """Boxes and the bends of long links, in layers. Order and rows change; the rest is fixed."""

    def __init__(self, sizes: Sequence[Size], links: Sequence[Link], layer: Sequence[int]) -> None:
        self.layer_of = list(layer)
        self.heights = [size.height for size in sizes]
        self.boxes = len(sizes)
        # Neighbours to the left and right: (who, height at its side, height at mine).
        self.left: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
        self.right: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
        self._bends: dict[tuple[int, float, int], int] = {}
        spans = {(link.tail, link.tail_y): 0 for link in links}
        for link in links:
            key = (link.tail, link.tail_y)
            spans[key] = max(spans[key], layer[link.head] - layer[link.tail] - 1)
        self._routes_long_links = sum(spans.values()) <= _MAX_BENDS
        for link in links:
            at, at_y = link.tail, link.tail_y
            for column in self._between(link):
                place = (link.tail, link.tail_y, column)
                bend = self._bends.get(place)
                if bend is None:  # links from one output share their bends, and so run as one line until they part
                    bend = self._bends[place] = len(self.layer_of)
                    self.layer_of.append(column)
                    self.heights.append(0.0)
                    self._join(at, at_y, bend, 0.0)
                at, at_y = bend, 0.0
            self._join(at, at_y, link.head, link.head_y)
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer_of, default=-1) + 1)]
        for vertex, column in enumerate(self.layer_of):
            self.layers[column].append(vertex)

    def bends_of(self, link: Link) -> list[int]:
        """Give the bends of *link*, from left to right: vertices after the boxes."""
        return [self._bends[link.tail, link.tail_y, column] for column in self._between(link)]

    def arrange(self) -> None:
        """Order each layer by the mean place of its neighbours, left and right in turn; keep the best order seen."""
        best, fewest = [list(row) for row in self.layers], self._crossings()
        for sweep in range(_SWEEPS):
            if not fewest:
                break
            ltr = sweep % 2 == 0
            sides, place = (self.left if ltr else self.right), self._places()
            for row in self.layers if ltr else reversed(self.layers):
                wish = {v: float(place[v]) for v in row}
                for v in row:
                    if sides[v]:
                        wish[v] = sum(self._end(place, u, y) for u, y, _ in sides[v]) / len(sides[v])
                row.sort(key=wish.__getitem__)
                place.update((v, i) for i, v in enumerate(row))
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.layers], crossings
        self.layers = best

    def settle(self) -> list[float]:
        """Give the top of each box (and the height of each bend), from 0 downwards."""
        tops = [0.0] * len(self.layer_of)
        for row in self.layers:
            y = 0.0
            for v in row:
                tops[v] = y
                y += self.heights[v] + _ROW_GAP
        for sweep in range(_SWEEPS):
            ltr = sweep % 2 == 0
            balance = sweep >= _SWEEPS - 2  # at the end both sides count, so that nothing leans one way
            for row in self.layers if ltr else reversed(self.layers):
                near = {
                    v: self.left[v] + self.right[v] if balance else (self.left if ltr else self.right)[v] for v in row
                }
                self._settle_row(row, near, tops)
        for row in self.layers:  # ends have one side only, and room to be level with it
            ends = [v for v in row if not (self.left[v] and self.right[v])]
            self._settle_row(row, {v: self.left[v] + self.right[v] for v in ends}, tops)
        highest = min((tops[v] for v in range(len(tops))), default=0.0)
        return [y - highest for y in tops]

    def _settle_row(
        self, row: Sequence[int], near: Mapping[int, Sequence[tuple[int, float, float]]], tops: list[float]
    ) -> None:
        """Bring *row* as near to being level with its *near* neighbours as its gaps allow."""
        wishes = []
        for v in row:
            ends = near.get(v)
            wishes.append(sum(tops[u] + uy - y for u, uy, y in ends) / len(ends) if ends else tops[v])
        for v, y in zip(row, self._separated(row, wishes), strict=True):
            tops[v] = y

    def _separated(self, row: Sequence[int], wishes: Sequence[float]) -> list[float]:
        """Find the rows nearest to *wishes* that keep the order and the gaps of *row*."""
        offsets, total = [], 0.0
        for i, v in enumerate(row):
            if i:
                bends = v >= self.boxes or row[i - 1] >= self.boxes
                total += self.heights[row[i - 1]] + (_BEND_GAP if bends else _ROW_GAP)
            offsets.append(total)
        blocks: list[tuple[float, float, int]] = []  # (mean, weight, members)
        for v, wish, offset in zip(row, wishes, offsets, strict=True):
            weight = _BEND_WEIGHT if v >= self.boxes else 1.0
            mean, members = wish - offset, 1
            while blocks and blocks[-1][0] > mean:
                other, other_weight, other_members = blocks.pop()
                mean = (mean * weight + other * other_weight) / (weight + other_weight)
                weight, members = weight + other_weight, members + other_members
            blocks.append((mean, weight, members))
        means = [mean for mean, _, members in blocks for _ in range(members)]
        return [mean + offset for mean, offset in zip(means, offsets, strict=True)]

    def _between(self, link: Link) -> range:
        first, last = self.layer_of[link.tail] + 1, self.layer_of[link.head]
        return range(first, last if self._routes_long_links else first)

    def _join(self, a: int, a_y: float, b: int, b_y: float) -> None:
        self.right[a].append((b, b_y, a_y))
        self.left[b].append((a, a_y, b_y))

    def _places(self) -> dict[int, int]:
        return {v: i for row in self.layers for i, v in enumerate(row)}

    def _end(self, place: dict[int, int], v: int, y: float) -> float:
        return place[v] + (y / (self.heights[v] + 1.0) if self.heights[v] else 0.5)

    def _crossings(self) -> int:
        place, total = self._places(), 0
        for row in self.layers:
            ends = sorted((self._end(place, v, y), self._end(place, u, uy)) for v in row for u, uy, y in self.right[v])
            seen: list[float] = []
            for _, end in ends:
                total += len(seen) - bisect_right(seen, end)
                insort(seen, end)
        return total
