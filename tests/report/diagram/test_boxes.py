"""The boxes of block diagrams: identical blocks are one box, and every input is the box that computes it."""

from __future__ import annotations

import pytest
from hypothesis import given

from mnv2search.cost import cost_of
from mnv2search.report.diagram.boxes import Box, Source, boxes_of
from mnv2search.spec.catalog import catalog
from mnv2search.spec.model_spec import BlockSpec, DeepLab, ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS
from mnv2search.testing.strategies import specs

NETWORKS = [pytest.param(entry.spec, id=entry.name) for entry in catalog()]


def named(spec: ModelSpec) -> dict[str, Box]:
    return {box.title: box for box in boxes_of(plan(spec))}


@given(specs())
def test_the_boxes_add_up_to_the_network(spec: ModelSpec) -> None:
    boxes, cost = boxes_of(plan(spec)), cost_of(spec)
    assert sum(box.count for box in boxes) == len(plan(spec).units)
    assert sum(box.count * box.params for box in boxes) == cost.params
    assert sum(box.count * box.madds for box in boxes) == cost.madds


@pytest.mark.parametrize("spec", NETWORKS)
def test_inputs_are_earlier_boxes_and_have_the_channels_that_are_read(spec: ModelSpec) -> None:
    boxes = boxes_of(plan(spec))
    assert all(source.box < number for number, box in enumerate(boxes) for source in box.sources)
    whole = [box for box in boxes[1:] if not any(source.inside for source in box.sources)]
    assert [box.c_in for box in whole] == [sum(boxes[source.box].c_out for source in box.sources) for box in whole]


def test_repeated_blocks_are_one_box_with_their_count() -> None:
    boxes = boxes_of(plan(ModelSpec(name="m", blocks=MOBILENET_V2_BLOCKS)))
    assert [box.count for box in boxes] == [1, 1, 1, 1, 1, 2, 1, 3, 1, 2, 1, 2, 1, 1, 1]
    assert [box.repeats for box in boxes if box.repeats] == [1, 2, 3, 4, 3, 3, 1]
    assert {box.shortcut for box in boxes if box.count > 1} == {"identity"}


def test_a_detector_reads_the_expansion_of_a_block() -> None:
    boxes = named(next(entry.spec for entry in catalog() if entry.name == "ssdlite_mobilenet_v2"))
    (source,) = boxes["boxes_1"].sources
    assert source.inside == "expansion"
    assert boxes["scores_1"].sources == boxes["boxes_1"].sources


def test_a_block_inside_a_row_that_a_decoder_reads_is_a_box_of_its_own() -> None:
    rows = (BlockSpec(channels=24, stride=2, repeats=4), BlockSpec(channels=32, stride=2))
    spec = ModelSpec(
        name="m",
        blocks=rows,
        resolution=65,
        last_channels=None,
        head=DeepLab(decoder_stride=4, decoder_tap="layer_3"),
    )
    boxes = boxes_of(plan(spec))
    assert [box.count for box in boxes[1:4]] == [1, 1, 2]
    assert named(spec)["tap"].sources == (Source(2),)


def test_channels_are_those_of_the_spec_and_maps_those_of_the_width() -> None:
    box = boxes_of(plan(ModelSpec(name="m", blocks=MOBILENET_V2_BLOCKS, width=0.5)))[2]
    assert (box.detail, box.output) == ("t 6, c 24, s 2, k 3", "56 px x 16")
