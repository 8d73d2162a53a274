"""Depthwise convolutions that train fast on CPUs, also with kernels larger than 3 x 3."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

TILE = 3
# oneDNN has no fast code for output maps of this side in px or less, either.
SLOW_OUT = 2
# Number of map values that are processed at once, so that they stay in the cache.
MOST_AT_ONCE = 1_000_000


def depthwise(x: Tensor, weight: Tensor, *, stride: int, pad: int) -> Tensor:
    """A depthwise convolution of maps (N, C, S, S) with kernels (C, 1, k, k).

    The result equals that of `torch.nn.functional.conv2d`. On a CPU, kernels that reach beyond the map lose the part
    that only reads padding, and the gradient of a kernel larger than 3 x 3 is assembled from gradients of 3 x 3
    kernels, because oneDNN 3.12 (with torch 2.13) is two to ten times slower for other kernels.
    """
    kernel = weight.shape[-1]
    if x.device.type == "cpu":
        unseen = kernel // 2 - max(x.shape[-1], x.shape[-2]) + 1
        if pad == kernel // 2 and unseen > 0:
            weight, kernel, pad = weight[..., unseen:-unseen, unseen:-unseen], kernel - 2 * unseen, pad - unseen
        slow = kernel > TILE or (kernel == TILE and x.shape[-1] <= SLOW_OUT * stride)
        square = x.shape[-1] == x.shape[-2]
        if slow and pad == kernel // 2 and stride <= TILE - 1 and square and x.dtype == torch.float32:
            return cast(Tensor, _Depthwise.apply(x, weight, stride))  # type: ignore[no-untyped-call]
    return functional.conv2d(x, weight, None, stride, pad, 1, x.shape[1])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _gradients(gradient, x, weight, ctx.stride, weight.shape[-1] // 2, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            images = max(1, MOST_AT_ONCE // (x.shape[1] * x.shape[2] * x.shape[3]))
            of_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            for start in range(0, len(x), images):
                some = slice(start, start + images)
                of_weight += _tiled(x[some], gradient[some], weight.shape[-1], ctx.stride)
        return of_x, of_weight, None


def _tiled(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """The gradient (C, 1, k, k) of the kernels.

    Maps and gradients are stored with enough zeros in between that a shifted map is the same memory at another
    offset; each shift yields a tile of 3 x 3.
    """
    count, channels, side, _ = x.shape
    out, reach = gradient.shape[-1], kernel // 2
    apart = out + max(-(-reach // stride), TILE - stride)
    wide = stride * apart
    edge = reach * (wide + 1)
    memory = x.new_zeros((count * wide * wide + 2 * edge) * channels)
    maps = memory[edge * channels : (edge + count * wide * wide) * channels].view(count, wide, wide, channels)
    maps[:, stride : side + stride, stride : side + stride] = x.permute(0, 2, 3, 1)
    told = gradient.new_zeros(count, apart, apart, channels)
    told[:, 1 : out + 1, 1 : out + 1] = gradient.permute(0, 2, 3, 1)
    told = told.permute(0, 3, 1, 2)
    tile = x.new_zeros(channels, 1, TILE, TILE)
    found = x.new_zeros(channels, 1, kernel, kernel)
    shape, strides = (count, channels, wide, wide), (wide * wide * channels, 1, wide * channels, channels)
    corners = sorted({*range(0, kernel - TILE + 1, TILE), kernel - TILE})
    for top in corners:
        for left in corners:
            place = edge + (top + 1 - reach) * wide + (left + 1 - reach)
            shifted = memory.as_strided(shape, strides, place * channels)
            part = _gradients(told, shifted, tile, stride, 1, (False, True, False))[1]
            found[:, :, top : top + TILE, left : left + TILE] = part
    return found


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, pad: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor]:
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], x.shape[1], wanted
    )
    return cast(tuple[Tensor, Tensor], found[:2])
