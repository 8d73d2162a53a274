"""Batch norm folded into the convolution before it, as a deployed network has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mnv2search.lowering.types import LayerArrays


def folded(arrays: LayerArrays, *, eps: float) -> LayerArrays:
    """The layer with its batch norm folded into weight and bias; others come back as they are.

    >>> one = np.ones(1, np.float32)
    >>> layer = LayerArrays(weight=(3 * one.reshape(1, 1, 1, 1),), gamma=one, beta=one, mean=one, var=one / 4)
    >>> after = folded(layer, eps=0.0)
    >>> float(after.weight[0].item()), float(after.bias[0])
    (6.0, -1.0)
    """
    if arrays.gamma is None or arrays.beta is None or arrays.mean is None or arrays.var is None:
        return arrays
    scale = arrays.gamma.astype(np.float64) / np.sqrt(arrays.var.astype(np.float64) + eps)
    bias = arrays.beta - arrays.mean * scale
    if arrays.bias is not None:
        bias = bias + arrays.bias * scale
    ends = np.cumsum([part.shape[0] for part in arrays.weight])
    scales = np.split(scale.astype(np.float32), ends[:-1])
    weight = tuple(
        part * of_part.reshape(-1, *[1] * (part.ndim - 1))
        for part, of_part in zip(arrays.weight, scales, strict=True)
    )
    return replace(arrays, weight=weight, bias=bias.astype(np.float32), gamma=None, beta=None, mean=None, var=None)
