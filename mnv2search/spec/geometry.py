"""Arithmetic of channels and sizes: rounding, splitting, padding, and replacing strides by dilation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from mnv2search.errors import SpecError
from mnv2search.spec.size import Pad, Size


def make_divisible(value: float, divisor: int, minimum: int | None = None) -> int:
    """`value` rounded to a multiple of `divisor`, at least `minimum` and reduced by at most 10 %.

    >>> [make_divisible(v, 8) for v in (11.2, 5.6, 8.4, 12, 18)]
    [16, 8, 8, 16, 24]

    Source: tensorflow/models, mobilenet.py, `make_divisible`.
    """
    rounded = max(divisor if minimum is None else minimum, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def split_channels(total: int, ways: int, divisor: int) -> tuple[int, ...]:
    """`total` channels split into `ways` multiples of `divisor`, unequal only if necessary.

    >>> split_channels(24, 2, 8), split_channels(40, 3, 8), split_channels(160, 3, 8)
    ((16, 8), (16, 16, 8), (56, 56, 48))

    Source: tensorflow/models, conv_blocks.py, `_split_divisible`.
    """
    base = total // ways // divisor * divisor
    parts: list[int] = []
    for way in range(1, ways + 1):
        missing = total * way / ways - sum(parts) - base
        parts.append(base + divisor * max(0, math.ceil(missing / divisor)))
    return tuple(parts)


def placements(strides: Iterable[int], output_stride: int | None) -> Iterator[tuple[int, int]]:
    """The stride and dilation of every layer as built; past `output_stride`, strides become dilation.

    >>> list(placements([2, 2, 2, 1], 4))
    [(2, 1), (2, 1), (1, 1), (1, 2)]

    Source: tensorflow/models, mobilenet.py, `mobilenet_base`: the dilation is taken before the rate grows.
    """
    reached = rate = 1
    for stride in strides:
        if reached == output_stride:
            yield 1, rate
            rate *= stride
        else:
            reached *= stride
            yield stride, 1


def padded(padding: str, size: Size, kernel: int, stride: int, dilation: int) -> tuple[Pad, Size]:
    """The zero padding around a map, and the output size.

    Raises:
        SpecError: with padding valid, no pixel remains.

    Source: TensorFlow's SAME and VALID; PyTorch's `Conv2d`.
    """
    (top, bottom), height = _padded(padding, size.height, kernel, stride, dilation)
    if size.is_square:
        return Pad(top, bottom, top, bottom), Size(height, height)
    (left, right), width = _padded(padding, size.width, kernel, stride, dilation)
    return Pad(top, bottom, left, right), Size(height, width)


def _padded(padding: str, side: int, kernel: int, stride: int, dilation: int) -> tuple[tuple[int, int], int]:
    """(zeros before, zeros after) and the output side, of rows or of columns."""
    reach = dilation * (kernel - 1)
    if padding == "symmetric":
        return (reach // 2, reach // 2), (side - 1) // stride + 1
    if padding == "same":
        out = -(-side // stride)
        total = max((out - 1) * stride + reach + 1 - side, 0)
        return (total // 2, total - total // 2), out
    if side <= reach:
        raise SpecError.of(
            at="padding",
            what=f"padding valid leaves nothing of a {side} px map under a kernel of {reach + 1} px",
            fix="use a larger resolution, or padding symmetric",
        )
    return (0, 0), (side - reach - 1) // stride + 1
