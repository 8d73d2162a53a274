"""ONNX graphs in eight-bit integers: each tensor is quantised and dequantised, and the runtime fuses the rest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mnv2search.lowering.onnx.graph import Array, Graph
from mnv2search.lowering.onnx.model import onnx_model
from mnv2search.lowering.quantize import Key, Ranges, per_channel, scale_and_zero
from mnv2search.lowering.ranges import ranges_of
from mnv2search.lowering.types import Floats, NetworkArrays
from mnv2search.spec.plan import Plan


def onnx_int8_bytes(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    ranges: Ranges | None = None,
    batch: int | None = 1,
    floats: Collection[Key] = (),
) -> bytes:
    """The network as a serialised ONNX model in integers between QuantizeLinear and DequantizeLinear.

    ReLUs are omitted: the following quantization clips the tensor to the same range. If `ranges` is None, they are
    computed on random images; `floats` are the keys, as in `ranges_of`, of tensors to leave in single precision.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    found = ranges_of(plan, weights) if ranges is None else ranges
    graph = _IntegerGraph({key: found[key] for key in found if key not in floats})
    return onnx_model(plan, weights, graph=graph, batch=batch).serialised()


class _IntegerGraph(Graph):
    def __init__(self, ranges: Ranges) -> None:
        # ONNX Runtime 1.32 runs a Gemm faster than a convolution of integers.
        super().__init__(gemm=True)
        self._ranges = ranges
        # name of a dequantised tensor -> its scale, and the names of its scale and zero point
        self._scales: dict[str, tuple[float, list[str]]] = {}

    def keep(self, key: Key, tensor: str) -> str:
        if key not in self._ranges:
            return tensor
        scale, zero = scale_and_zero(*self._ranges[key])
        # Unsigned: on x86 ONNX Runtime 1.32 neither adds signed integers nor fuses all convolutions of them.
        names = [self.array(np.array(scale, np.float32)), self.array(np.array(zero + 128, np.uint8))]
        return super().keep(key, self._quantised(tensor, scale, names))

    def cuts(self, key: Key) -> bool:
        return key in self._ranges

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        parts = super().split(tensor, sizes)
        return [self._quantised(part, *self._scales[tensor]) for part in parts] if tensor in self._scales else parts

    def constants(self, tensor: str, weight: Floats, bias: Floats | None) -> list[str]:
        if tensor not in self._scales:
            return super().constants(tensor, weight, bias)
        input_scale, _ = self._scales[tensor]
        found = per_channel(weight, bias, input_scale=input_scale)
        constants = [self._dequantised(found.values, found.scales)]
        if found.bias is not None:
            constants.append(self._dequantised(found.bias, found.scales * np.float32(input_scale)))
        return constants

    def _quantised(self, tensor: str, scale: float, names: list[str]) -> str:
        integers = self.node("QuantizeLinear", [tensor, *names])
        done = self.node("DequantizeLinear", [integers, *names])
        self._scales[done] = scale, names
        return done

    def _dequantised(self, values: Array, scales: Floats) -> str:
        # They are zero and could be omitted, but then ONNX Runtime 1.32 would not fuse the Gemm.
        zeros = np.zeros(scales.shape, values.dtype)
        names = [self.array(values), self.array(scales), self.array(zeros)]
        return self.node("DequantizeLinear", names, axis=0)
