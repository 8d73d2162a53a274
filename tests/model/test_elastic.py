"""Shared weights: each network of a space computes with its part of them what it computes on its own."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from mnv2search.errors import OptionError
from mnv2search.model.elastic import ElasticNet, located, smallest_and_largest
from mnv2search.spec.model_spec import Classifier, ModelSpec
from mnv2search.spec.space import SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space, loads
from mnv2search.supernet.proxy_scale import Fidelity, reduced

SPACES = {
    "every axis of numbers": """
mnv2search: 1
name: numbers
resolution: [24, 32]
width: [0.5, 1.0, 1.5]
stem: {c: 16, k: 3, s: 1}
blocks:
  - {t: 1, c: [8, 16], n: 1, s: 1}
  - {c: 24, n: [1, 2, 3], s: 2, each: {t: [1, 3, 6], k: [1, 3, 5, 7]}}
  - {t: [2, 4], c: [32, 48], n: [1, 2], s: [1, 2], k: [3, 5]}
last: [64, 128]
head: {classes: 5, dropout: 0.0}
""",
    "axes of words": """
mnv2search: 1
name: words
resolution: 32
activation: hard_swish
blocks:
  - {t: 3, c: 16, n: 2, s: 2, operator: [inverted_residual, fused]}
  - {c: 24, n: [1, 2], s: 2, each: {t: [3, 6], transform: [none, squeeze_excite], activation: [relu, silu]}}
  - {t: 6, c: 24, n: 1, s: 1, residual: [auto, "off"]}
last: 64
head: {classes: 3, dropout: 0.0}
""",
    "padding like TensorFlow's, group norm": """
mnv2search: 1
name: same
resolution: [33, 48]
padding: same
normalizer: group
blocks:
  - {c: [16, 32], n: [1, 2], s: 2, t: [3, 6], k: [3, 5], residual: pad}
  - {c: 32, n: 1, s: 1, t: 6, dilation: [1, 2]}
last: none
head: {classes: 4, dropout: 0.0}
""",
}


def space_of(text: str) -> SearchSpace:
    space = loads(text)
    assert isinstance(space, SearchSpace)
    return space


def answers(net: ElasticNet, pick: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    placed = net.place(pick)
    images = torch.randn(6, 3, *placed.plan.spec.size, generator=torch.Generator().manual_seed(1))
    alone = net.member(placed).train()
    with torch.no_grad():
        return net(images, placed), alone(images)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(8))
def test_a_network_computes_what_its_member_computes(name: str, seed: int) -> None:
    net = ElasticNet(space_of(SPACES[name]), seed=3).train()
    scrambled(net)
    together, alone = answers(net, random_pick(net.space, random.Random(seed)))
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mnv2", "mnv2-multipliers", "mnasnet", "proxyless", "tiny32"])
def test_every_shipped_space_shares_weights(name: str) -> None:
    space = load_space(name)
    net = ElasticNet(space, change=small_without_dropout, seed=0)
    scrambled(net)
    for pick in (*smallest_and_largest(space), random_pick(space, random.Random(5))):
        together, alone = answers(net, pick)
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def test_the_largest_network_uses_every_weight() -> None:
    net = ElasticNet(space_of(SPACES["every axis of numbers"]))
    _, largest = smallest_and_largest(net.space)
    alone = net.member(net.place(largest))
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in alone.parameters())


def test_adopting_a_member_changes_nothing() -> None:
    net = ElasticNet(space_of(SPACES["every axis of numbers"]), seed=1)
    scrambled(net)
    before = {name: p.clone() for name, p in net.state_dict().items()}
    placed = net.place(random_pick(net.space, random.Random(2)))
    net.adopt(placed, net.member(placed))
    assert all(torch.equal(before[name], p) for name, p in net.state_dict().items())


def test_what_is_adopted_is_what_the_member_gives_back() -> None:
    net = ElasticNet(space_of(SPACES["every axis of numbers"]), seed=1)
    placed = net.place(random_pick(net.space, random.Random(2)))
    other = ElasticNet(net.space, seed=9)
    scrambled(other)
    net.adopt(placed, other.member(placed))
    for mine, theirs in zip(net.member(placed).parameters(), other.member(placed).parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_smaller_kernel_is_the_middle_of_the_larger() -> None:
    space = space_of(SPACES["every axis of numbers"])
    net = ElasticNet(space)
    _, largest = smallest_and_largest(space)
    at = next(i for i, axis in enumerate(space.axes) if axis.at.endswith("each[0].kernel"))
    smaller = (*largest[:at], space.axes[at].options.index(3), *largest[at + 1 :])
    wide, narrow = (
        [m.weight for m in net.member(net.place(pick)).modules() if isinstance(m, nn.Conv2d) and m.groups > 1][1]
        for pick in (largest, smaller)
    )
    assert torch.equal(wide[..., 2:5, 2:5], narrow)


def test_later_blocks_of_a_row_have_places_of_their_own() -> None:
    space = space_of(SPACES["every axis of numbers"])
    smallest, largest = smallest_and_largest(space)
    few, many = located(space, smallest), located(space, largest)
    assert [s for s in few.slots if s.startswith("row1")] == ["row1_0"]
    assert [s for s in many.slots if s.startswith("row1")] == ["row1_0", "row1_1", "row1_2"]


def test_split_convolutions_are_refused() -> None:
    text = SPACES["every axis of numbers"].replace("t: [2, 4], c: [32, 48]", "t: 4, split_expansion: 2, c: 32")
    with pytest.raises(OptionError, match="split"):
        ElasticNet(space_of(text))


def test_the_smallest_pick_has_the_least_of_everything() -> None:
    space = space_of(SPACES["every axis of numbers"])
    smallest, largest = (resolve(space, pick) for pick in smallest_and_largest(space))
    assert (smallest.width, smallest.resolution, len(smallest.blocks)) == (0.5, 24, 3)
    assert (largest.width, largest.resolution, largest.last_channels) == (1.5, 32, 128)
    assert (smallest.blocks[-1].stride, largest.blocks[-1].stride) == (2, 1)


def small_without_dropout(spec: ModelSpec) -> ModelSpec:
    assert isinstance(spec.head, Classifier)
    return reduced(replace(spec, head=replace(spec.head, dropout=0.0)), Fidelity(0.35, 0.35))


def scrambled(net: ElasticNet) -> None:
    """Gives every weight a value of its own, also those that begin at nothing."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
