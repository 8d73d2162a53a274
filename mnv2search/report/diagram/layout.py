"""The places of the boxes and lines of a block diagram, in px."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

from mnv2search.cost import cost_of
from mnv2search.report.diagram.boxes import Box, boxes_of
from mnv2search.report.rows import millions
from mnv2search.spec.plan import Plan

# The gutter left of the boxes has the names of rows and the lines of residuals.
GUTTER, MARGIN = 92, 12
WIDTH, BETWEEN = 250, 22
LINE, PAD, GAP = 15, 6, 32
# Height above a row of boxes at which branches part and join, and width of the detour of a residual.
BUS, DETOUR = 9, 12
# Width of a character in the widest of the fonts in px, by role.
CHARACTERS = {"title": 9.0, "name": 7.2, "text": 6.2, "muted": 6.2}

Role: TypeAlias = Literal["title", "name", "text", "muted"]
Fill: TypeAlias = Literal["paper", "stem", "block", "part", "track", "share"]


class Text(NamedTuple):
    """A line of text; `y` is its baseline."""

    x: float
    y: float
    text: str
    role: Role
    anchor: Literal["start", "middle", "end"] = "start"


class Rectangle(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: Fill


class Path(NamedTuple):
    """Connected straight lines; with `has_arrow`, the last ends in an arrow head."""

    points: tuple[tuple[float, float], ...]
    has_arrow: bool = True
    is_dashed: bool = False


Shape: TypeAlias = Text | Rectangle | Path


class Drawing(NamedTuple):
    """A block diagram; shapes are drawn in this order.

    Attributes:
        described: the boxes in words, for those who cannot see the drawing.
    """

    title: str
    described: str
    width: float
    height: float
    shapes: tuple[Shape, ...]


class _Place(NamedTuple):
    x: float
    y: float
    height: float

    @property
    def center(self) -> float:
        return self.x + WIDTH / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def drawing_of(laid_out: Plan) -> Drawing:
    """The block diagram of a network, from the input at the top to the outputs at the bottom."""
    boxes = boxes_of(laid_out)
    ranks, columns = _ranks(boxes), _columns(boxes)
    width = GUTTER + (max(columns) + 1) * (WIDTH + BETWEEN) - BETWEEN + MARGIN
    header = list(_header(laid_out, width))
    places = _places(boxes, ranks, columns, top=header[-1].y + GAP + 6)
    lanes = sum(
        rank - ranks[source.box] > 1 for box, rank in zip(boxes, ranks, strict=True) for source in box.sources
    )
    bottom = max(place.bottom for place in places) + GAP
    footer = list(_lines(_legend(boxes), "muted", y=bottom + LINE, width=width))
    total, read = cost_of(laid_out).madds, {source.box for box in boxes for source in box.sources}
    shapes = (
        *_edges(boxes, places, ranks),
        *chain.from_iterable(
            _box_shapes(box, places[number], total, is_output=number not in read) for number, box in enumerate(boxes)
        ),
        *header,
        *footer,
    )
    spec = laid_out.spec
    return Drawing(
        title=f"Block diagram of {spec.name}",
        described=f"Input {boxes[0].input}. " + " ".join(map(_described, boxes)),
        width=width + (lanes + 1) * DETOUR if lanes else width,
        height=footer[-1].y + MARGIN,
        shapes=shapes,
    )


def _described(box: Box) -> str:
    times = f"{box.count} x " if box.count > 1 else ""
    return f"{box.at}: {times}{box.title}, {box.detail}, to {box.output}."


def _ranks(boxes: Sequence[Box]) -> list[int]:
    """The row of each box in the drawing: below all boxes that it reads."""
    ranks: list[int] = []
    for box in boxes:
        ranks.append(1 + max((ranks[source.box] for source in box.sources), default=-1))
    return ranks


def _columns(boxes: Sequence[Box]) -> list[int]:
    """The column of each box; boxes that no other box reads are right of the first column if they are several."""
    ranks, read = _ranks(boxes), {source.box for box in boxes for source in box.sources}
    columns = [0] * len(boxes)
    for rank in set(ranks):
        own = [number for number, one in enumerate(ranks) if one == rank]
        ordered = sorted(own, key=lambda number: number not in read)
        start = int(len(own) > 1 and ordered[0] not in read)
        for column, number in enumerate(ordered, start):
            columns[number] = column
    return columns


def _places(boxes: Sequence[Box], ranks: Sequence[int], columns: Sequence[int], *, top: float) -> list[_Place]:
    heights = [PAD + LINE * (2 + len(_wrapped(box.detail, "text", WIDTH - 2 * PAD))) + PAD for box in boxes]
    tops = {0: top}
    for rank in range(max(ranks)):
        tallest = max(height for height, own in zip(heights, ranks, strict=True) if own == rank)
        tops[rank + 1] = tops[rank] + tallest + GAP
    return [
        _Place(GUTTER + column * (WIDTH + BETWEEN), tops[rank], height)
        for column, rank, height in zip(columns, ranks, heights, strict=True)
    ]


def _header(laid_out: Plan, width: float) -> Iterator[Text]:
    spec, cost = laid_out.spec, cost_of(laid_out)
    y = MARGIN + LINE
    for text in _lines(spec.name, "title", y=y, width=width):
        yield text
        y = text.y + LINE
    counts = f"{millions(cost.params)} M parameters, {millions(cost.madds)} M multiply-adds"
    yield from _lines(f"{spec.size} px, width {spec.width:g}, {counts}", "muted", y=y, width=width)


def _legend(boxes: Sequence[Box]) -> str:
    letters = "t: expansion, c: channels before the width multiplier, s: stride, k: kernel, n: blocks of the row. "
    shortcuts = {box.shortcut for box in boxes}
    added = " Lines at the left: the input of each block is added to its output" if shortcuts != {"none"} else ""
    padded = ", pooled and padded where the line is dashed" if "pad" in shortcuts else ""
    return f"{letters}Counts are of one block; bars: share of all multiply-adds.{added}{padded}{'.' if added else ''}"


def _lines(text: str, role: Role, *, y: float, width: float) -> Iterator[Text]:
    for number, line in enumerate(_wrapped(text, role, width - 2 * MARGIN)):
        yield Text(MARGIN, y + number * LINE, line, role)


def _wrapped(text: str, role: Role, width: float) -> list[str]:
    return textwrap.wrap(text, max(1, int(width / CHARACTERS[role])), break_on_hyphens=False) or [""]


def _box_shapes(box: Box, place: _Place, total_madds: int, *, is_output: bool) -> Iterator[Shape]:
    fill: Fill = "block" if box.kind == "block" else "stem" if not box.at.startswith("head") else "part"
    yield Rectangle(place.x, place.y, WIDTH, place.height, fill)
    share = box.count * box.madds / total_madds if total_madds else 0.0
    yield Rectangle(place.x, place.bottom - 3, WIDTH, 3, "track")
    yield Rectangle(place.x, place.bottom - 3, round(WIDTH * share, 1), 3, "share")
    left, y = place.x + PAD, place.y + PAD + LINE - 4
    yield Text(left, y, f"{box.count} x {box.title}" if box.count > 1 else box.title, "name")
    for line in _wrapped(box.detail, "text", WIDTH - 2 * PAD):
        y += LINE
        yield Text(left, y, line, "text")
    if box.madds:
        yield Text(left, y + LINE, f"{box.params:,} params, {_millions(box.madds)} M multiply-adds", "muted")
    yield Text(place.center + 6, place.bottom + LINE - 2, box.output, "muted")
    if is_output:
        yield Path(((place.center, place.bottom), (place.center, place.bottom + LINE)))
    if place.x == GUTTER:
        yield from _gutter(box, place)


def _millions(count: int) -> str:
    """A count in millions with at least three significant digits.

    >>> _millions(4_220), _millions(22_100_000)
    ('0.00422', '22.1')
    """
    return millions(count) if count >= 1e6 else f"{count / 1e6:.3g}"


def _gutter(box: Box, place: _Place) -> Iterator[Shape]:
    """The name of a row beside its first box, and the residual."""
    if box.repeats:
        yield Text(MARGIN, place.y + LINE, box.at, "muted")
        yield Text(MARGIN, place.y + 2 * LINE, f"n {box.repeats}", "muted")
    elif box.kind in ("stem", "last"):
        yield Text(MARGIN, place.y + LINE, box.kind, "muted")
    if box.shortcut != "none":
        above, below, x = place.y - BUS, place.bottom + BUS, place.x - DETOUR
        points = ((place.center, above), (x, above), (x, below), (place.center, below))
        yield Path(points, is_dashed=box.shortcut == "pad")


def _edges(boxes: Sequence[Box], places: Sequence[_Place], ranks: Sequence[int]) -> Iterator[Shape]:
    """The input, and a line for every tensor that a box reads."""
    first = places[0]
    yield Path(((first.center, first.y - GAP + 8), (first.center, first.y)))
    yield Text(first.center + 6, first.y - GAP + LINE + 2, f"input {boxes[0].input}", "muted")
    lane = max(place.x for place in places) + WIDTH
    for number, box in enumerate(boxes):
        for source in box.sources:
            if ranks[number] - ranks[source.box] > 1:
                lane += DETOUR
                yield Path(_long(places[source.box], places[number], lane))
            else:
                yield from _short(places[source.box], places[number], source.inside)


def _short(start: _Place, end: _Place, inside: str) -> Iterator[Shape]:
    """A line to the next row of boxes; a tensor inside a box leaves it at its side."""
    bus = end.y - BUS
    if inside:
        side = start.x + WIDTH
        corner = side + BETWEEN / 2
        middle = start.y + start.height / 2
        yield Path(((side, middle), (corner, middle), (corner, bus), (end.center, bus), (end.center, end.y)))
        yield Text(corner + 4, middle, inside, "muted")
    elif start.center == end.center:
        yield Path(((start.center, start.bottom), (end.center, end.y)))
    else:
        yield Path(((start.center, start.bottom), (start.center, bus), (end.center, bus), (end.center, end.y)))


def _long(start: _Place, end: _Place, lane: float) -> tuple[tuple[float, float], ...]:
    """A line past other boxes, right of all of them."""
    middle, bus = start.y + start.height / 2, end.y - BUS
    return ((start.x + WIDTH, middle), (lane, middle), (lane, bus), (end.center, bus), (end.center, end.y))
