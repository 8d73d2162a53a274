"""The anchor boxes of a detector."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mnv2search.spec.heads.ssdlite import SsdLite
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

# (x of the centre, y of the centre, width, height), each as a fraction of the image's width or height.
AnchorBox = tuple[float, float, float, float]

# Scale factors of centre offsets and of logarithms of sides. Source: ssdlite_mobilenet_v2_coco.config.
CODER_SCALES = (10.0, 10.0, 5.0, 5.0)
# Largest ratio of a box's width to its anchor's: without a limit, an extreme prediction is infinite.
MOST_GROWTH = 1000.0 / 16.0
# Scale of the square box of a first map that has only three boxes. Source: multiple_grid_anchor_generator.py.
REDUCED_SCALE = 0.1


def anchors(laid_out: Plan) -> tuple[AnchorBox, ...]:
    """Every anchor in the order of the predictions: by map, then by row, then by position.

    >>> from mnv2search.spec.catalog import entry
    >>> from mnv2search.spec.plan import plan
    >>> len(anchors(plan(entry("ssdlite_mobilenet_v2").spec)))
    2034

    Source: tensorflow/models, object_detection/anchor_generators/multiple_grid_anchor_generator.py.
    """
    head = laid_out.spec.head
    if not isinstance(head, SsdLite):
        return ()
    sizes, image = _map_sizes(laid_out), laid_out.spec.size
    shorter = min(image)
    across, along = shorter / image.width, shorter / image.height
    found: list[AnchorBox] = []
    for number, size in enumerate(sizes):
        shapes = [(across * width, along * height) for width, height in _shapes(head, number, len(sizes))]
        for place in range(size.area):
            x, y = (place % size.width + 0.5) / size.width, (place // size.width + 0.5) / size.height
            found += [(x, y, width, height) for width, height in shapes]
    return tuple(found)


def anchors_per_map(laid_out: Plan) -> tuple[int, ...]:
    """The number of anchors of each map."""
    head = laid_out.spec.head
    assert isinstance(head, SsdLite)
    return tuple(size.area * head.boxes_per_place(number) for number, size in enumerate(_map_sizes(laid_out)))


def _map_sizes(laid_out: Plan) -> list[Size]:
    return [unit.size_in for unit in laid_out.units if unit.kind == "boxes"]


def _shapes(head: SsdLite, number: int, maps: int) -> Iterator[tuple[float, float]]:
    """(width, height) of the anchors of one position, as fractions of the image's shorter side."""
    step = (head.largest_scale - head.smallest_scale) / (maps - 1)
    scale = head.smallest_scale + step * number
    following = 1.0 if number == maps - 1 else scale + step
    if head.reduced_first and number == 0:
        yield from (_shape(REDUCED_SCALE, 1.0), _shape(scale, 2.0), _shape(scale, 0.5))
        return
    yield from (_shape(scale, ratio) for ratio in head.ratios)
    if head.interpolated:
        yield _shape(math.sqrt(scale * following), 1.0)


def _shape(scale: float, ratio: float) -> tuple[float, float]:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
