"""Eight-bit integers for real numbers: real = scale * (integer - zero)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnv2search.lowering.types import Floats

Key: TypeAlias = tuple[int, int | str]
Ranges: TypeAlias = Mapping[Key, tuple[float, float]]
"""(smallest, largest) value of each quantised tensor; see `mnv2search.lowering.ranges`."""

LOWEST, HIGHEST = -128, 127
# Smallest scale: ONNX Runtime and XNNPACK refuse denormal numbers, and dividing by them overflows.
SMALLEST_SCALE = 1e-12
# A bias is a 32-bit integer at the scale of input times weight; half of its range is left for the products.
LARGEST_BIAS = 2.0**30


class PerChannel(NamedTuple):
    """A weight in integers from -127 to 127, with a scale for each output channel.

    Its bias, (outputs,), is in units of `scales` times the input's scale.
    """

    values: NDArray[np.int8]
    scales: Floats
    bias: NDArray[np.int32] | None


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of signed eight-bit integers that cover `low` to `high` and represent zero exactly.

    >>> scale_and_zero(0.0, 255.0), scale_and_zero(-64.0, 63.5)
    ((1.0, -128), (0.5, 0))

    Source: arXiv 1712.05877, section 3.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / (HIGHEST - LOWEST), SMALLEST_SCALE)
    return scale, max(LOWEST, min(HIGHEST, round(LOWEST - low / scale)))


def per_channel(weight: Floats, bias: Floats | None = None, *, input_scale: float = 1.0) -> PerChannel:
    """The weight of a convolution in symmetric integers, and its bias at the matching scales.

    For a channel with tiny weights, the scale is large enough to represent the bias.

    >>> found = per_channel(np.array([[[[1.27]]], [[[0.0]]]], np.float32), np.array([1, 2], np.float32))
    >>> found.values.ravel().tolist(), found.bias.tolist()
    ([127, 0], [100, 1073741824])

    `weight` is (outputs, ...), `bias` is (outputs,), and `input_scale` is the scale of the convolution's input.
    """
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    scales = np.maximum(largest / HIGHEST, SMALLEST_SCALE)
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / (LARGEST_BIAS * input_scale))
    values = np.rint(weight / scales.astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1)))
    whole = None if bias is None else np.rint(bias / (scales * input_scale)).astype(np.int32)
    return PerChannel(np.clip(values, -HIGHEST, HIGHEST).astype(np.int8), scales.astype(np.float32), whole)
