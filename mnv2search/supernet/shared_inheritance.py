"""First weights of a supernet from one trained network."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from mnv2search.errors import WeightsError
from mnv2search.model.blocks import Block
from mnv2search.model.build import MobileNet, build
from mnv2search.model.elastic import ElasticNet, smallest_and_largest
from mnv2search.spec.model_spec import BlockSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import origins
from mnv2search.supernet.inheritance import Inheritance, inherit


def inherit_shared(net: ElasticNet, old: MobileNet) -> Inheritance:
    """Fill shared weights from a trained network; weights without counterpart keep their values.

    The largest network of the space inherits (`supernet.inheritance`). Then the channels between expansion
    and projection are sorted by importance, which does not change its output: smaller networks take the first ones.

    Raises:
        WeightsError: the space has another number of rows than the network.

    Source: channels in order of importance: Cai et al., arXiv 1908.09791, section 3.3.
    """
    _, pick = smallest_and_largest(net.space)
    largest = net.place(pick)
    rows: list[BlockSpec] = []
    for _, group in groupby(
        zip(origins(net.space, pick), largest.plan.spec.blocks, strict=True), key=lambda pair: pair[0]
    ):
        blocks = [block for _, block in group]
        rows.append(blocks[0] if len(blocks) == 1 else replace(blocks[0], repeats=len(blocks)))
    laid_out = plan(replace(largest.plan.spec, blocks=tuple(rows)))
    if [unit.layers for unit in laid_out.units] != [unit.layers for unit in largest.plan.units]:
        raise WeightsError(
            f"the repeats of a row of {net.space.name} differ in their largest options",
            hint="give each repeat of a row the same options",
        )
    alone = build(laid_out, seed=0)
    alone.load_state_dict(net.member(largest).state_dict())
    found = inherit(alone, old)
    for module in alone.features:
        if isinstance(module, Block):
            _put_in_order(module)
    net.adopt(largest, alone)
    return found


@torch.no_grad()
def _put_in_order(block: Block) -> None:
    """Order the hidden channels of an expanded block, the most important first."""
    bound = {b.layer.role: b for b in block.bound()}
    if not {"expansion", "depthwise", "projection"} <= bound.keys() or "squeeze" in bound:
        return
    projection = cast(nn.Conv2d, bound["projection"].conv)
    importance = projection.weight.flatten(2).abs().sum((0, 2))
    norm = bound["depthwise"].norm
    if isinstance(norm, nn.BatchNorm2d):
        importance = importance * norm.weight.abs()
    order = importance.argsort(descending=True, stable=True)
    projection.weight.copy_(projection.weight[:, order])
    for role in ("expansion", "depthwise"):
        tensors: list[Tensor | None] = [
            cast(nn.Conv2d, bound[role].conv).weight,
            cast(nn.Conv2d, bound[role].conv).bias,
        ]
        if isinstance(own := bound[role].norm, nn.BatchNorm2d):
            tensors += [own.weight, own.bias, own.running_mean, own.running_var]
        for tensor in tensors:
            if tensor is not None:
                tensor.copy_(tensor[order])
