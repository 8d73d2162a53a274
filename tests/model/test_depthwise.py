"""Depthwise convolutions give what torch's own give, and so do their gradients."""

from __future__ import annotations

import pytest
import torch
from model_specs import EXOTIC, small
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.model import blocks
from mnv2search.model import depthwise as module
from mnv2search.model.blocks import DepthwiseConv2d
from mnv2search.model.build import MobileNet, build
from mnv2search.model.depthwise import depthwise
from mnv2search.spec.model_spec import BlockSpec


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8, 13])
def test_answers_and_gradients_are_torchs(
    side: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2 * 6 * side * side)  # more than one part
    generator = torch.Generator().manual_seed(side)
    x = torch.randn(5, 6, side, side, generator=generator, dtype=torch.float32)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator)
    found = []
    for convolve in (
        lambda a, b: depthwise(a, b, stride=stride, pad=kernel // 2),
        lambda a, b: functional.conv2d(a, b, None, stride, kernel // 2, 1, 6),
    ):
        a = x.clone(memory_format=torch.channels_last).requires_grad_()
        b = weight.clone().requires_grad_()
        y = convolve(a, b)  # type: ignore[no-untyped-call]
        y.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append((y.detach(), a.grad, b.grad))
    for own, torchs in zip(*found, strict=True):
        torch.testing.assert_close(own, torchs, rtol=1e-4, atol=1e-4)


def test_only_the_gradients_that_are_needed_are_computed() -> None:
    x = torch.randn(2, 3, 8, 8)
    weight = torch.randn(3, 1, 5, 5, requires_grad=True)
    depthwise(x, weight, stride=1, pad=2).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert x.grad is None


def gradients_of(network: MobileNet, images: Tensor) -> list[Tensor | None]:
    """The gradient of every parameter, always with the same dropout."""
    network.zero_grad()
    torch.manual_seed(0)
    network(images).square().sum().backward()
    return [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("name", ["large kernels", "kernel-5-same", "dilated", "depthwise-multiplier"])
def test_a_built_network_has_torchs_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = small(BlockSpec(channels=24, stride=2, kernel=5), BlockSpec(channels=24, kernel=7))
    network = build(EXOTIC.get(name, wide)).train()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = gradients_of(network, images)
    monkeypatch.setattr(DepthwiseConv2d, "forward", nn.Conv2d.forward)
    torch.testing.assert_close(own, gradients_of(network, images), rtol=1e-3, atol=1e-4)


def test_a_built_network_computes_large_kernels_fast_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sides = build(small(BlockSpec(channels=24, kernel=5))), list[int]()

    def noting(x: Tensor, weight: Tensor, *, stride: int, pad: int) -> Tensor:
        sides.append(x.shape[-1])
        return depthwise(x, weight, stride=stride, pad=pad)

    monkeypatch.setattr(blocks, "depthwise", noting)
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert not sides
    network.train()(torch.zeros(2, 3, 32, 32))
    assert sides == [16]
