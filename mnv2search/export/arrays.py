"""Conversion of a torch network's weights to the arrays for lowering."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mnv2search.lowering.arrays import arbitrary_arrays
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.model.blocks import BoundLayer, convolutions
from mnv2search.model.build import MobileNet


def layer_arrays(model: MobileNet) -> NetworkArrays:
    """The arrays of every layer of the plan; both even and uneven splits are separate parts."""
    return {address: _arrays(bound) for address, bound in model.bound()}


def set_arbitrary(model: MobileNet) -> None:
    """Set the arbitrary weights used for measuring, which keep activations at unit scale at any depth.

    Networks initialised like PyTorch's or slim's have outputs near zero, which are unsuitable for comparison.
    """
    with torch.no_grad():
        for place, (_, bound) in enumerate(model.bound()):
            arrays = arbitrary_arrays(bound.layer, place=place, fold=False)
            convs = convolutions(bound.conv)
            weights = arrays.weight if len(convs) == len(arrays.weight) else (np.concatenate(arrays.weight),)
            for conv, weight in zip(convs, weights, strict=True):
                conv.weight.copy_(torch.from_numpy(weight))
            if isinstance(bound.norm, nn.BatchNorm2d | nn.GroupNorm) and arrays.beta is not None:
                bound.norm.bias.copy_(torch.from_numpy(arrays.beta))


def _arrays(bound: BoundLayer) -> LayerArrays:
    convs = convolutions(bound.conv)
    weights = [conv.weight for conv in convs]
    if len(bound.layer.parts) > 1 and len(weights) == 1:
        weights = list(torch.chunk(weights[0], len(bound.layer.parts)))
    biases = [conv.bias for conv in convs if conv.bias is not None]
    of_norm = {} if bound.norm is None else {name: _array(tensor) for name, tensor in bound.norm.state_dict().items()}
    return LayerArrays(
        weight=tuple(_array(weight) for weight in weights),
        bias=_array(torch.cat(biases)) if biases else None,
        gamma=of_norm.get("weight"),
        beta=of_norm.get("bias"),
        mean=of_norm.get("running_mean"),
        var=of_norm.get("running_var"),
    )


def _array(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
