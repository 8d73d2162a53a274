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
GUTTER, MARGIN = 82, 6
WIDTH, BETWEEN = 250, 22
LINE, PAD, GAP = 15, 6, 32
# Height above a row of boxes at which branches part and join, and width of the detour of a residual.
BUS, DETOUR = 9, 12
# Height of the bar of a box.
BAR = 3
# Width of a character in the widest of the fonts in px, by role.
CHARACTERS = {"title": 9.0, "name": 7.2, "text": 6.2, "muted": 6.2}

Role: TypeAlias = Literal["title", "name", "text", "muted"]
Fill: TypeAlias = Literal["paper", "stem", "block", "part", "track", "share"]


class Text(NamedTuple):
    """A line of text from `x` to the right; `y` is its baseline."""

    x: float
    y: float
    text: str
    role: Role


class Rectangle(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: Fill


class Path(NamedTuple):
    """Connected horizontal and vertical lines, the last of which ends in an arrow head."""

    points: tuple[tuple[float, float], ...]
    is_dashed: bool = False


class Group(NamedTuple):
    """Shapes of a box, whose places are relative to its corner."""

    x: float
    y: float
    shapes: tuple[Text | Rectangle, ...]


class Drawing(NamedTuple):
    """A block diagram: lines, boxes above them, and the texts around them.

    Attributes:
        described: the boxes in words, for those who cannot see the drawing.
    """

    title: str
    described: str
    width: float
    height: float
    paths: tuple[Path, ...]
    boxes: tuple[Group, ...]
    texts: tuple[Text, ...]


class _Place(NamedTuple):
    x: float
    y: float
    height: float

    @property
    def center(self) -> float:
        return self.x + WIDTH / 2

    @property
    def right(self) -> float:
        return self.x + WIDTH

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

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
    outputs = [place for number, place in enumerate(places) if number not in read]
    return Drawing(
        title=f"Block diagram of {laid_out.spec.name}",
        described=f"Input {boxes[0].input}. " + " ".join(map(_described, boxes)),
        width=width + (lanes + 1) * DETOUR if lanes else width,
        height=footer[-1].y + MARGIN,
        paths=(
            *_edges(boxes, places, ranks),
            *chain.from_iterable(map(_residual, boxes, places)),
            *(Path(((place.center, place.bottom), (place.center, place.bottom + LINE))) for place in outputs),
        ),
        boxes=tuple(_group(box, place, total) for box, place in zip(boxes, places, strict=True)),
        texts=(*header, *_beside(boxes, places), *footer),
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
    y: float = MARGIN + LINE
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


def _group(box: Box, place: _Place, total_madds: int) -> Group:
    fill: Fill = "block" if box.kind == "block" else "stem" if not box.at.startswith("head") else "part"
    share = box.count * box.madds / total_madds if total_madds else 0.0
    bar = place.height - BAR
    return Group(
        place.x,
        place.y,
        (
            Rectangle(0, 0, WIDTH, place.height, fill),
            Rectangle(0, bar, WIDTH, BAR, "track"),
            Rectangle(0, bar, round(WIDTH * share), BAR, "share"),
            *_box_texts(box),
            Text(WIDTH / 2 + 6, place.height + LINE - 2, box.output, "muted"),
        ),
    )


def _box_texts(box: Box) -> Iterator[Text]:
    y = PAD + LINE - 4
    yield Text(PAD, y, f"{box.count} x {box.title}" if box.count > 1 else box.title, "name")
    for line in _wrapped(box.detail, "text", WIDTH - 2 * PAD):
        y += LINE
        yield Text(PAD, y, line, "text")
    if box.madds:
        yield Text(PAD, y + LINE, f"{box.params:,} params, {_millions(box.madds)} M multiply-adds", "muted")


def _millions(count: int) -> str:
    """A count in millions with at least three significant digits.

    >>> _millions(4_220), _millions(22_100_000)
    ('0.00422', '22.1')
    """
    return millions(count) if count >= 1e6 else f"{count / 1e6:.3g}"


def _beside(boxes: Sequence[Box], places: Sequence[_Place]) -> Iterator[Text]:
    """The input, the names of rows, and the names of tensors inside of boxes that heads read."""
    first = places[0]
    yield Text(first.center + 6, first.y - GAP + LINE + 2, f"input {boxes[0].input}", "muted")
    for box, place in zip(boxes, places, strict=True):
        if box.repeats or box.kind in ("stem", "last"):
            yield Text(MARGIN, place.y + LINE, box.at if box.repeats else box.kind, "muted")
        if box.repeats:
            yield Text(MARGIN, place.y + 2 * LINE, f"n {box.repeats}", "muted")
    for source in dict.fromkeys(source for box in boxes for source in box.sources if source.inside):
        place = places[source.box]
        yield Text(place.right + BETWEEN / 2 + 4, place.middle, source.inside, "muted")


def _residual(box: Box, place: _Place) -> Iterator[Path]:
    if box.shortcut != "none":
        above, below, x = place.y - BUS, place.bottom + BUS, place.x - DETOUR
        points = ((place.center, above), (x, above), (x, below), (place.center, below))
        yield Path(points, is_dashed=box.shortcut == "pad")


def _edges(boxes: Sequence[Box], places: Sequence[_Place], ranks: Sequence[int]) -> Iterator[Path]:
    """The input, and a line for every tensor that a box reads."""
    first = places[0]
    yield Path(((first.center, first.y - GAP + 8), (first.center, first.y)))
    lane = max(place.right for place in places)
    for number, box in enumerate(boxes):
        for source in box.sources:
            start, end = places[source.box], places[number]
            if ranks[number] - ranks[source.box] > 1:
                lane += DETOUR
                yield _from_side(start, end, lane)
            elif source.inside:
                yield _from_side(start, end, start.right + BETWEEN / 2)
            else:
                yield _from_bottom(start, end)


def _from_bottom(start: _Place, end: _Place) -> Path:
    """A line to the next row of boxes."""
    if start.center == end.center:
        return Path(((start.center, start.bottom), (end.center, end.y)))
    bus = end.y - BUS
    return Path(((start.center, start.bottom), (start.center, bus), (end.center, bus), (end.center, end.y)))


def _from_side(start: _Place, end: _Place, lane: float) -> Path:
    """A line that goes down at `lane`: past other boxes, or from a tensor inside a box."""
    bus = end.y - BUS
    corners = ((lane, start.middle), (lane, bus), (end.center, bus))
    return Path(((start.right, start.middle), *corners, (end.center, end.y)))
