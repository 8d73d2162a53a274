"""The network of a space that given weights belong to."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from mnv2search.cost import cost_of
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import Pick, SearchSpace, pick_of, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space, load_spec, loads
from mnv2search.supernet.nearest_subnet import fitting_subnets, likeness, most_alike, nearest_subnet
from mnv2search.supernet.train import ALONE, Shrinking

SPACE = """
mnv2search: 1
name: tiny
resolution: [24, 32, 48]
width: [0.5, 1.0, 1.5]
stem: {c: 16, k: 3, s: 1}
blocks:
  - {c: 16, n: [1, 2], s: 2, each: {t: [1, 2], k: [3, 5]}}
  - {c: [24, 32, 48], n: 1, s: 2, t: [2, 4]}
last: 64
head: {classes: 7, dropout: 0.0}
"""


def tiny() -> SearchSpace:
    found = loads(SPACE)
    assert isinstance(found, SearchSpace)
    return found


def some(space: SearchSpace, count: int = 30) -> list[Pick]:
    rng = random.Random(0)
    return [random_pick(space, rng) for _ in range(count)]


def as_rows(spec: ModelSpec) -> ModelSpec:
    """The same network with one row in place of two that are alike."""
    first, *others = spec.blocks
    if len(spec.blocks) == 3 and replace(spec.blocks[1], stride=first.stride) == first:
        return replace(spec, blocks=(replace(first, repeats=2), *others[1:]))
    return spec


@pytest.mark.parametrize("seed", range(12))
def test_a_network_of_the_space_is_found_again(seed: int) -> None:
    space = tiny()
    spec = resolve(space, random_pick(space, random.Random(seed)))
    found = resolve(space, nearest_subnet(space, as_rows(spec), band=some(space)))
    found, units = replace(found, resolution=spec.resolution), plan(spec).units
    assert [unit.layers for unit in plan(found).units] == [unit.layers for unit in units]


def test_every_pick_finds_the_published_network_that_a_space_is_made_around() -> None:
    space = load_space("mnasnet")
    found = resolve(space, nearest_subnet(space, load_spec("efficientnet_lite0"), band=some(space)))
    assert found.width == 1.0
    assert [(b.expansion, b.repeats, b.kernel) for b in found.blocks] == [
        (b.expansion, b.repeats, b.kernel) for b in load_spec("efficientnet_lite0").blocks
    ]
    assert [b.channels for b in found.blocks] == [16, 24, 40, 80, 120, 192, 320]  # 112 is not offered


def test_its_resolution_is_the_greatest_that_costs_little_more_than_the_others() -> None:
    space = tiny()
    spec = resolve(space, pick_of_largest(space))
    costs = {}
    for side in (24, 32, 48):
        sized = pick_of(space, replace(spec, resolution=side))
        assert sized is not None
        costs[side] = cost_of(resolve(space, sized)).madds
        assert resolve(space, nearest_subnet(space, spec, band=[sized])).resolution == side
    cheap = (0,) * len(space.axes)
    assert cost_of(resolve(space, cheap)).madds < costs[24]
    assert resolve(space, nearest_subnet(space, spec, band=[cheap])).resolution == 24


def pick_of_largest(space: SearchSpace) -> Pick:
    return tuple(len(axis.options) - 1 for axis in space.axes)


def test_likeness_counts_what_both_have() -> None:
    whole = load_spec("mobilenet_v2_1.0_224")
    of_whole = plan(whole)
    wide, narrow = plan(replace(whole, width=1.4)), plan(replace(whole, width=0.5))
    assert likeness(of_whole, of_whole) == 1.0
    assert 0.3 < likeness(narrow, of_whole) < 0.9
    assert likeness(narrow, of_whole) == pytest.approx(likeness(of_whole, narrow))
    assert likeness(wide, narrow) < likeness(wide, of_whole)
    assert likeness(plan(replace(whole, blocks=whole.blocks[:-2])), of_whole) == 0.0


def test_the_network_that_weights_belong_to_learns_alone_first() -> None:
    space = tiny()
    picks = some(space)
    draws = Shrinking(picks[0], picks[1:])
    early = [draws(random.Random(i), ALONE * i / 20) for i in range(20)]
    late = [draws(random.Random(i), ALONE + (1 - ALONE) * i / 20) for i in range(20)]
    assert early == [[picks[0]]] * 20
    assert {drawn[0] for drawn in late} == {picks[0]}
    assert len({drawn[1] for drawn in late}) > 5


def within(space: SearchSpace, most: float) -> Callable[[Pick], bool]:
    """Whether a pick takes at most so many multiply-adds."""
    return lambda pick: cost_of(resolve(space, pick)).madds <= most


@pytest.mark.parametrize("most", [60e6, 120e6, 300e6])
def test_blocks_are_removed_until_the_most_similar_network_fits(most: float) -> None:
    space, given = load_space("mnasnet"), load_spec("efficientnet_lite0")
    best, _ = most_alike(space, given)
    found = [resolve(space, pick) for pick in fitting_subnets(space, given, fits=within(space, most))]
    whole = [replace(resolve(space, best), resolution=spec.resolution) for spec in found]
    assert found
    assert all(cost_of(spec).madds <= most for spec in found)
    assert [replace(block, repeats=1) for spec in found for block in spec.blocks] == [
        replace(block, repeats=1) for spec in whole for block in spec.blocks
    ]
    assert all(
        spec.blocks == full.blocks for spec, full in zip(found, whole, strict=True) if cost_of(full).madds <= most
    )
    assert any(spec.blocks != full.blocks for spec, full in zip(found, whole, strict=True))


def test_a_network_that_fits_keeps_its_blocks_at_every_resolution() -> None:
    space, given = load_space("mnasnet"), load_spec("efficientnet_lite0")
    assert not fitting_subnets(space, given, fits=lambda _: False)
    assert len(fitting_subnets(space, given, fits=lambda _: True)) == 5


def test_no_network_is_similar_to_one_of_other_rows() -> None:
    assert not fitting_subnets(tiny(), load_spec("efficientnet_lite0"), fits=lambda _: True)
