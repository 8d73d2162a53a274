"""Weights of one trained network, taken over by all networks of a space."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from mnv2search.errors import WeightsError
from mnv2search.model.blocks import Block
from mnv2search.model.build import MobileNet, build
from mnv2search.model.elastic import ElasticNet, smallest_and_largest
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, random_pick
from mnv2search.spec.yaml.codec import loads
from mnv2search.supernet.inheritance import inherit_shared

SPACE = """
mnv2search: 1
name: tiny
resolution: 32
width: [0.5, 1.0]
blocks:
  - {c: 16, n: 1, s: 1, t: 1}
  - {c: 24, n: [1, 2, 3], s: 2, each: {t: [2, 3, 6], k: [3, 5]}}
  - {c: 40, n: [1, 2], s: 2, t: [3, 6]}
last: 64
head: {classes: 5, dropout: 0.0}
"""
LARGEST = (
    SPACE.replace("[0.5, 1.0]", "1.0")
    .replace("n: [1, 2, 3], s: 2, each: {t: [2, 3, 6], k: [3, 5]}", "n: 3, s: 2, t: 6, k: 5")
    .replace("n: [1, 2], s: 2, t: [3, 6]", "n: 2, s: 2, t: 6")
)


def donor(text: str = LARGEST) -> MobileNet:
    spec = loads(text)
    assert isinstance(spec, ModelSpec)
    model = build(spec, seed=4)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    assert tensor is not None
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model.eval()


def shared(text: str = SPACE) -> ElasticNet:
    space = loads(text)
    assert isinstance(space, SearchSpace)
    return ElasticNet(space, seed=9)


def test_the_largest_network_answers_as_the_trained_one() -> None:
    net, old = shared(), donor()
    found = inherit_shared(net, old)
    assert found.share == 1.0
    _, largest = smallest_and_largest(net.space)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(images, net.place(largest)), old.train()(images), rtol=1e-3, atol=1e-3)


def test_smaller_networks_take_the_channels_that_matter_most() -> None:
    net, old = shared(), donor()
    inherit_shared(net, old)
    _, largest = smallest_and_largest(net.space)
    alone = net.member(net.place(largest))
    blocks = [module for module in alone.features if isinstance(module, Block)]
    found = [{b.layer.role: b for b in block.bound()} for block in blocks]
    expanded = [bound for bound in found if "expansion" in bound]
    assert len(expanded) == 5
    for bound in expanded:
        projection, norm = bound["projection"].conv, bound["depthwise"].norm
        assert isinstance(projection, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        weight = projection.weight.flatten(2).abs().sum((0, 2)) * norm.weight.abs()
        assert torch.all(weight[:-1] >= weight[1:] - 1e-6)


def test_what_the_network_lacks_keeps_its_first_weights() -> None:
    narrow = donor(LARGEST.replace("width: 1.0", "width: 0.5"))
    net = shared()
    found = inherit_shared(net, narrow)
    assert 0.1 < found.share < 0.9
    assert all(torch.isfinite(p).all() for p in net.parameters())
    pick = random_pick(net.space, random.Random(1))
    with torch.no_grad():
        assert torch.isfinite(net(torch.randn(2, 3, 32, 32), net.place(pick))).all()


def test_another_number_of_rows_is_refused() -> None:
    fewer = donor("\n".join(line for line in LARGEST.splitlines() if "c: 40" not in line))
    with pytest.raises(WeightsError, match="rows"):
        inherit_shared(shared(), fewer)
