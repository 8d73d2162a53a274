"""A network in the making, channels last: tensors, and operators of TFLite's vocabulary between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Numbers of TFLite's schema. Source: tensorflow/lite/schema/schema.fbs, version 3.
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3
# What operators give that give no real numbers.
OUTPUTS = {"ARG_MAX": np.int64}


class Quantization(NamedTuple):
    """How integers stand for real numbers: real = scale * (integer - zero); the axis is that of several scales."""

    scales: tuple[float, ...] | NDArray[np.float32]
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What operators read and write, channels last; `array` is a constant's index among the graph's arrays."""

    shape: tuple[int, ...]
    kind: np.dtype[np.generic]
    quantization: Quantization | None = None
    array: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One step, of a kind such as ``CONV_2D`` as TFLite calls it, with options by the names that the writers know.

    `told` are the options of an operator that is known by a name.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]
    others: tuple[int, ...] = ()
    told: Mapping[str, float] = field(default_factory=dict)


class Graph:
    """Tensors by number, of which the first is the input, and operators in the order of computation.

    Where it is `explicit`, a convolution says how it pads; TFLite wants an operator for what is not its SAME.
    """

    def __init__(self, *, explicit: bool = False) -> None:
        self.explicit = explicit
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.arrays: list[NDArray[np.generic]] = []
        self._known: dict[tuple[tuple[int, ...], bytes], int] = {}

    def input(self, shape: tuple[int, ...], name: str) -> int:
        """The number of a new tensor that the caller fills, in single precision."""
        return self._add(Tensor(shape=shape, kind=np.dtype(np.float32), name=name))

    def array(self, values: NDArray[np.generic], quantization: Quantization | None = None) -> int:
        """The number of a new constant."""
        self.arrays.append(np.ascontiguousarray(values))
        array = len(self.arrays) - 1
        return self._add(Tensor(shape=values.shape, kind=values.dtype, quantization=quantization, array=array))

    def integers(self, *values: int | Sequence[int]) -> int:
        """The number of a constant of 32-bit integers, such as axes and pads; equal ones are the same."""
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
        """The number of the output of a new operator; it is in int8 where it has a quantization."""
        made = np.dtype(OUTPUTS.get(kind, np.float32) if quantization is None else np.int8)
        output = self._add(Tensor(shape=shape, kind=made, quantization=quantization))
        self.operators.append(Operator(kind=kind, inputs=tuple(inputs), output=output, options=options))
        return output

    def named(
        self, name: str, inputs: Sequence[int], shapes: Sequence[tuple[int, ...]], told: Mapping[str, float]
    ) -> list[int]:
        """The numbers of the outputs, in single precision, of a new operator that is known by a name."""
        first, *others = [self._add(Tensor(shape=shape, kind=np.dtype(np.float32))) for shape in shapes]
        self.operators.append(
            Operator(kind=name, inputs=tuple(inputs), output=first, options={}, others=tuple(others), told=told)
        )
        return [first, *others]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return self.tensors[tensor].shape

    def quantization(self, tensor: int) -> Quantization | None:
        """Of a tensor; None where it is in floating point."""
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
