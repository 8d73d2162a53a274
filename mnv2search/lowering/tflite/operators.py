"""A builder of channels-last graphs of tensors and TFLite operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Numbers of TFLite's schema. Source: tensorflow/lite/schema/schema.fbs, version 3.
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3
# Output types of operators without real outputs.
OUTPUTS = {"ARG_MAX": np.int64}


class Quantization(NamedTuple):
    """The mapping of integers to real numbers, real = scale * (integer - zero); `axis` is that of several scales."""

    scales: tuple[float, ...] | NDArray[np.float32]
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of operators, channels last; `array` is a constant's index among the graph's arrays."""

    shape: tuple[int, ...]
    kind: np.dtype[np.generic]
    quantization: Quantization | None = None
    array: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator, of a kind such as ``CONV_2D`` (TFLite's name), with options by the names used in the writers.

    `told` are the options of a custom operator.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]
    others: tuple[int, ...] = ()
    told: Mapping[str, float] = field(default_factory=dict)


class Graph:
    """Tensors by number, the first of which is the input, and operators in the order of computation.

    If `explicit`, convolutions have explicit padding; TFLite needs a separate operator for padding other than SAME.
    """

    def __init__(self, *, explicit: bool = False) -> None:
        self.explicit = explicit
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.arrays: list[NDArray[np.generic]] = []
        self._known: dict[tuple[tuple[int, ...], bytes], int] = {}

    def input(self, shape: tuple[int, ...], name: str) -> int:
        """Add an input tensor in single precision; returns its number."""
        return self._add(Tensor(shape=shape, kind=np.dtype(np.float32), name=name))

    def array(self, values: NDArray[np.generic], quantization: Quantization | None = None) -> int:
        """Add a constant; returns its number."""
        self.arrays.append(np.ascontiguousarray(values))
        array = len(self.arrays) - 1
        return self._add(Tensor(shape=values.shape, kind=values.dtype, quantization=quantization, array=array))

    def integers(self, *values: int | Sequence[int]) -> int:
        """The number of a constant of 32-bit integers, such as axes and pads; equal constants are shared."""
        array = np.array(values, np.int32)
        key = array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = self.array(array)
        return self._known[key]

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        *,
        quantization: Quantization | None = None,
        **options: int,
    ) -> int:
        """Add an operator; returns the number of its output, which is in int8 if it has a quantization."""
        made = np.dtype(OUTPUTS.get(kind, np.float32) if quantization is None else np.int8)
        output = self._add(Tensor(shape=shape, kind=made, quantization=quantization))
        self.operators.append(Operator(kind=kind, inputs=tuple(inputs), output=output, options=options))
        return output

    def named(
        self, name: str, inputs: Sequence[int], shapes: Sequence[tuple[int, ...]], told: Mapping[str, float]
    ) -> list[int]:
        """Add a custom operator; returns the numbers of its outputs, which are in single precision."""
        first, *others = [self._add(Tensor(shape=shape, kind=np.dtype(np.float32))) for shape in shapes]
        self.operators.append(
            Operator(kind=name, inputs=tuple(inputs), output=first, options={}, others=tuple(others), told=told)
        )
        return [first, *others]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.tensors[tensor].shape

    def quantization(self, tensor: int) -> Quantization | None:
        """The quantization of a tensor; None if it is in floating point."""
        return self.tensors[tensor].quantization

    def constant(self, tensor: int) -> NDArray[np.generic]:
        """The values of a constant."""
        array = self.tensors[tensor].array
        assert array is not None
        return self.arrays[array]

    def name(self, tensor: int, name: str) -> None:
        """Name a tensor."""
        self.tensors[tensor] = replace(self.tensors[tensor], name=name)

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1
