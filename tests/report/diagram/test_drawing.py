"""Drawings of block diagrams: nothing overlaps, texts fit, and files are well formed."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from PIL import Image

from mnv2search.report.diagram.layout import Drawing, Group, Rectangle, Text, drawing_of
from mnv2search.report.diagram.png import drawing_png
from mnv2search.report.diagram.svg import svg_of
from mnv2search.spec.catalog import catalog
from mnv2search.spec.model_spec import BlockSpec, DeepLab, ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS

DECODER = ModelSpec(
    name="decoder",
    blocks=(BlockSpec(channels=24, stride=2), BlockSpec(channels=32, stride=2), BlockSpec(channels=64, stride=2)),
    resolution=65,
    last_channels=None,
    head=DeepLab(decoder_stride=4, aspp_rates=(6, 12)),
)
PADDED = ModelSpec(name="padded", blocks=(BlockSpec(channels=48, stride=2, residual="pad"),), resolution=32)
SPECS = [*(entry.spec for entry in catalog()), DECODER, PADDED]
DRAWINGS = [pytest.param(drawing_of(plan(spec)), id=spec.name) for spec in SPECS]
SVG = "{http://www.w3.org/2000/svg}"


def boxes_in(drawing: Drawing) -> list[Rectangle]:
    """The outlines of the boxes, at their places."""
    outlines = [(group, group.shapes[0]) for group in drawing.boxes]
    return [one._replace(x=group.x, y=group.y) for group, one in outlines if isinstance(one, Rectangle)]


def texts_in(drawing: Drawing) -> list[Text]:
    own = [text._replace(x=box.x + text.x, y=box.y + text.y) for box in drawing.boxes for text in only_texts(box)]
    return [*own, *drawing.texts]


def only_texts(box: Group) -> list[Text]:
    return [shape for shape in box.shapes if isinstance(shape, Text)]


def overlap(one: Rectangle, other: Rectangle) -> bool:
    beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    below = one.y + one.height <= other.y or other.y + other.height <= one.y
    return not (beside or below)


def crosses(box: Rectangle, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Whether a horizontal or vertical line passes through the inside of a box."""
    (x0, x1), (y0, y1) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return x0 < box.x + box.width and x1 > box.x and y0 < box.y + box.height and y1 > box.y


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_boxes_do_not_overlap_and_lines_pass_beside_them(drawing: Drawing) -> None:
    boxes = boxes_in(drawing)
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    lines = [line for path in drawing.paths for line in pairwise(path.points)]
    assert not [line for line in lines for box in boxes if crosses(box, *line)]


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_everything_is_inside_the_picture(drawing: Drawing) -> None:
    points = [point for path in drawing.paths for point in path.points]
    corners = [(box.x + box.width, box.y + box.height) for box in boxes_in(drawing)]
    texts = [(text.x, text.y) for text in texts_in(drawing)]
    assert max(x for x, _ in (*points, *corners, *texts)) < drawing.width
    assert max(y for _, y in (*points, *corners, *texts)) < drawing.height


def test_an_svg_has_a_title_a_description_and_two_schemes() -> None:
    root = ET.fromstring(svg_of(drawing_of(plan(ModelSpec(name="a < b & c", blocks=MOBILENET_V2_BLOCKS)))))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Block diagram of a < b & c"
    assert "blocks[1]: bottleneck, t 6, c 24, s 2, k 3, to 56 px x 24." in str(root.findtext(f"{SVG}desc"))
    assert "prefers-color-scheme:dark" in str(root.findtext(f"{SVG}style"))


def test_a_residual_over_padding_is_dashed_and_explained() -> None:
    drawing = drawing_of(plan(PADDED))
    assert [path.is_dashed for path in drawing.paths].count(True) == 1
    assert any("dashed" in text.text for text in drawing.texts)


def test_a_png_has_two_pixels_per_px_and_shows_a_name_with_dollar_signs() -> None:
    drawing = drawing_of(plan(ModelSpec(name="a $x^$ b", blocks=MOBILENET_V2_BLOCKS)))
    with Image.open(io.BytesIO(drawing_png(drawing))) as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx((2 * drawing.width, 2 * drawing.height), abs=1)
