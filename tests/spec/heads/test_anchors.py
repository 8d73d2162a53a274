"""Anchors on images that are no squares."""

from dataclasses import replace

import pytest

from mnv2search.spec.catalog import entry
from mnv2search.spec.heads.anchors import anchors
from mnv2search.spec.plan import plan

SSDLITE = entry("ssdlite_mobilenet_v2").spec


# Source: tensorflow/models, multiple_grid_anchor_generator.py: base sizes are those of the shorter side.
@pytest.mark.parametrize("size", [(320, 640), (640, 320)], ids=["wide", "tall"])
def test_an_anchor_is_as_large_in_pixels_as_on_a_square_of_the_shorter_side(size: tuple[int, int]) -> None:
    height, width = size
    square, rectangle = (anchors(plan(replace(SSDLITE, resolution=side))) for side in (320, size))
    in_px = {(round(320 * w, 6), round(320 * h, 6)) for _, _, w, h in square}
    assert {(round(width * w, 6), round(height * h, 6)) for _, _, w, h in rectangle} == in_px


def test_centres_lie_on_the_grid_of_the_map() -> None:
    found = anchors(plan(replace(SSDLITE, resolution=(320, 640))))
    first = 20 * 40 * 3
    assert len({x for x, *_ in found[:first]}) == 40
    assert len({y for _, y, *_ in found[:first]}) == 20
    assert [found[0][:2], found[3][:2]] == [(0.5 / 40, 0.5 / 20), (1.5 / 40, 0.5 / 20)]
