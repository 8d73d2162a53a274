"""Arrays of layers: arbitrary weights, for measuring speed, and weights with batch norm folded."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mnv2search.lowering.types import Floats, LayerArrays
from mnv2search.spec.plan import Layer

POOL = 1 << 18
BIAS_SCALE = 0.1


def arbitrary_arrays(layer: Layer, *, place: int, fold: bool) -> LayerArrays:
    """Random arrays for `layer` that keep activations near unit scale at any depth.

    Zeros, denormals and infinities run at other speeds than the values of a trained network, so weights follow
    He initialisation. They are slices of one pool of normal numbers, because drawing every weight separately would
    take longer than building the graph.

    `place` is the layer's position in the network, so that equal layers get different weights; `fold` omits batch
    norm, as if it had been folded. Source: arXiv 1502.01852, equation 10.
    """
    parts = layer.parts or ((layer.c_in, layer.c_out),)
    offset = place * 7919
    weight: list[Floats] = []
    for c_in, c_out in parts:
        fan_in = c_in // layer.groups * layer.kernel**2
        gain = 1.0 if layer.activation in ("none", "sigmoid", "hard_sigmoid") else 2.0
        shape = (
            (c_out, c_in) if layer.role == "classifier" else (c_out, c_in // layer.groups, layer.kernel, layer.kernel)
        )
        weight.append(_cut(offset, math.prod(shape), math.sqrt(gain / fan_in)).reshape(shape))
        offset += 31 * c_out
    shift = _cut(offset + 1, layer.c_out, BIAS_SCALE)
    if layer.normalizer == "none" or (fold and layer.normalizer == "batch"):
        return LayerArrays(weight=tuple(weight), bias=shift)
    one = np.ones(layer.c_out, np.float32)
    if layer.normalizer == "group":
        return LayerArrays(weight=tuple(weight), gamma=one, beta=shift)
    return LayerArrays(weight=tuple(weight), gamma=one, beta=shift, mean=np.zeros_like(one), var=one)


@lru_cache(maxsize=1)
def _pool() -> Floats:
    return np.random.default_rng(0).standard_normal(POOL, dtype=np.float32)


def _cut(offset: int, count: int, scale: float) -> Floats:
    """`count` numbers of the pool from `offset` on, cyclically, times `scale`."""
    pool = _pool()
    numbers = np.empty(count, np.float32)
    filled, start = 0, offset % POOL
    while filled < count:
        piece = min(count - filled, POOL - start)
        np.multiply(pool[start : start + piece], np.float32(scale), out=numbers[filled : filled + piece])
        filled, start = filled + piece, 0
    return numbers


def folded(arrays: LayerArrays, *, eps: float) -> LayerArrays:
    """The layer with its batch norm folded into weight and bias; a layer without batch norm is returned unchanged.

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
