"""The alignment of the blocks of two networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.testing.strategies import specs
from mnv2search.workflows.alignment import align, blocks_of

V2 = load_spec("mobilenet_v2_1.0_224")


def rows(one: ModelSpec, other: ModelSpec) -> list[tuple[int | None, int | None]]:
    return [(None if a is None else a.row, None if b is None else b.row) for a, b in align(one, other)]


@settings(max_examples=30, deadline=None)
@given(specs(), specs())
def test_every_block_is_aligned_once_and_in_order(one: ModelSpec, other: ModelSpec) -> None:
    pairs = align(one, other)
    assert tuple(a for a, _ in pairs if a) == blocks_of(one)
    assert tuple(b for _, b in pairs if b) == blocks_of(other)


@settings(max_examples=30, deadline=None)
@given(specs())
def test_a_network_is_aligned_with_itself(spec: ModelSpec) -> None:
    assert align(spec, spec) == tuple((block, block) for block in blocks_of(spec))


def test_another_kernel_in_every_row_keeps_the_rows_together() -> None:
    other = replace(V2, blocks=tuple(replace(block, kernel=5) for block in V2.blocks))
    assert rows(V2, other) == [(block.row, block.row) for block in blocks_of(V2)]


@pytest.mark.parametrize("removed", range(1, 7))
def test_a_row_without_a_counterpart_stands_alone(removed: int) -> None:
    fewer = replace(V2, blocks=tuple(block for row, block in enumerate(V2.blocks) if row != removed))
    alone = {one for one, other in rows(V2, fewer) if other is None}
    assert alone == {removed}


def test_missing_repeats_are_the_last_ones() -> None:
    two, four = (ModelSpec(name="m", blocks=(BlockSpec(channels=24, repeats=n, stride=2),)) for n in (2, 4))
    pairs = align(four, two)
    assert [other is None for _, other in pairs] == [False, False, True, True]


def test_a_stem_without_stride_shifts_no_rows() -> None:
    other = replace(V2, stem=Stem(stride=1))
    assert rows(V2, other) == [(block.row, block.row) for block in blocks_of(V2)]


def test_blocks_of_the_same_scale_are_paired() -> None:
    one, other = (
        ModelSpec(name="m", blocks=tuple(BlockSpec(channels=c, repeats=n, stride=2) for c, n in widths))
        for widths in (((24, 2), (32, 3)), ((24, 3), (32, 2)))
    )
    assert rows(one, other) == [(0, 0), (0, 0), (None, 0), (1, 1), (1, 1), (1, None)]


@pytest.mark.parametrize("name", ["mnasnet_b1_1.0", "proxyless_cpu", "efficientnet_lite0"])
def test_blocks_of_published_networks_are_paired_at_the_same_scale(name: str) -> None:
    pairs = align(V2, load_spec(name))
    assert {(a.stride, b.stride) for a, b in pairs if a and b} == {(1, 1), (2, 2)}
    assert len([a for a, b in pairs if a and b]) >= 15
