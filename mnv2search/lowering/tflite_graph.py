"""A TFLite model in the making: tensors, operators between them, and the flatbuffer that holds both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flatbuffers.builder import Builder
from numpy.typing import NDArray

__all__ = ["RELU", "RELU6", "SAME", "VALID", "Graph", "Quantization"]

# Numbers of the schema. Source: tensorflow/lite/schema/schema.fbs, version 3.
SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3
KINDS = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 1,
    np.dtype(np.int32): 2,
    np.dtype(np.int8): 9,
}
# An int8 code came first; larger codes are in a field that was added.
LARGEST_OLD_CODE = 127
# Weights are read in place.
ALIGNMENT = 16
BYTES_A_TENSOR = 512

Slots: TypeAlias = Sequence[tuple[str, str]]
"""Name and type of each field of an operator's options, in the order of the schema; Builder knows the types."""

_STRIDES: Slots = (("padding", "Int8"), ("stride_w", "Int32"), ("stride_h", "Int32"))
_DILATIONS: Slots = (("dilation_w", "Int32"), ("dilation_h", "Int32"))
_ACTIVATION: Slots = (("activation", "Int8"),)


class _Kind(NamedTuple):
    """A kind of operator.

    Attributes:
        code: in `BuiltinOperator`.
        options: in the union `BuiltinOptions`; 0 has none.
        slots: of those options.
        version: that first computes in integers as we ask for it; 1 does in single precision.
    """

    code: int
    options: int
    slots: Slots
    version: int


# Source of the versions: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
OPERATORS: Mapping[str, _Kind] = {
    "ADD": _Kind(0, 11, _ACTIVATION, 2),
    "AVERAGE_POOL_2D": _Kind(1, 5, (*_STRIDES, ("width", "Int32"), ("height", "Int32"), *_ACTIVATION), 2),
    "CONCATENATION": _Kind(2, 10, (("axis", "Int32"), *_ACTIVATION), 2),
    "CONV_2D": _Kind(3, 1, (*_STRIDES, *_ACTIVATION, *_DILATIONS), 3),
    "DEPTHWISE_CONV_2D": _Kind(4, 2, (*_STRIDES, ("multiplier", "Int32"), *_ACTIVATION, *_DILATIONS), 3),
    "DEQUANTIZE": _Kind(6, 0, (), 2),
    "FULLY_CONNECTED": _Kind(9, 8, _ACTIVATION, 4),
    "LOGISTIC": _Kind(14, 0, (), 2),
    "MUL": _Kind(18, 21, _ACTIVATION, 2),
    "RESHAPE": _Kind(22, 0, (), 1),
    "PAD": _Kind(34, 22, (), 2),
    "MEAN": _Kind(40, 27, (("keep_dims", "Bool"),), 2),
    "SLICE": _Kind(65, 48, (), 2),
    "RSQRT": _Kind(76, 0, (), 1),
    "SQUARED_DIFFERENCE": _Kind(99, 76, (), 1),
    "QUANTIZE": _Kind(114, 89, (), 1),
    "HARD_SWISH": _Kind(117, 91, (), 1),
    "SUB": _Kind(41, 28, _ACTIVATION, 1),
}


class Quantization(NamedTuple):
    """How integers stand for real numbers: real = scale * (integer - zero).

    Attributes:
        scales: one, or one for each index of an axis.
        zero: of all of them.
        axis: that the scales belong to.
    """

    scales: tuple[float, ...] | NDArray[np.float32]
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """Attributes: shape; kind, of its numbers; quantization; buffer, 0 for what is computed; name, if it has one."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    quantization: Quantization | None = None
    buffer: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """Attributes: kind; version; inputs, numbers of tensors; output, alike; options, by slot."""

    kind: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]


class Graph:
    """Tensors by number and operators in the order of computation."""

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []
        self._operators: list[_Operator] = []
        self._arrays: list[NDArray[Any]] = [np.zeros(0, np.int8)]
        self._small: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def input(self, shape: tuple[int, ...], name: str) -> int:
        """The number of a new tensor that the caller fills, in single precision."""
        return self._add(_Tensor(shape=shape, kind=np.dtype(np.float32), name=name))

    def array(self, values: NDArray[Any], quantization: Quantization | None = None) -> int:
        """The number of a new constant."""
        self._arrays.append(np.ascontiguousarray(values))
        shape, buffer = values.shape, len(self._arrays) - 1
        return self._add(_Tensor(shape=shape, kind=values.dtype, quantization=quantization, buffer=buffer))

    def integers(self, *values: int | Sequence[int]) -> int:
        """The number of a constant of 32-bit integers, such as axes and pads; equal ones are the same."""
        array = np.array(values, np.int32)
        key = ("int32", array.shape, array.tobytes())
        if key not in self._small:
            self._small[key] = self.array(array)
        return self._small[key]

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
        made = np.dtype(np.float32 if quantization is None else np.int8)
        integers = made == np.int8 or self._tensors[inputs[0]].kind == np.int8
        output = self._add(_Tensor(shape=shape, kind=made, quantization=quantization))
        version = OPERATORS[kind].version if integers else 1
        self._operators.append(
            _Operator(kind=kind, version=version, inputs=tuple(inputs), output=output, options=options)
        )
        return output

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return self._tensors[tensor].shape

    def quantization(self, tensor: int) -> Quantization | None:
        """Of a tensor; None where it is in floating point."""
        return self._tensors[tensor].quantization

    def serialised(self, *, entry: int, output: int, name: str, description: str, note: Mapping[str, str]) -> bytes:
        """The model.

        Args:
            entry: the tensor that the caller fills.
            output: the tensor that the caller reads.
            name: of what it gives.
            description: of the model.
            note: metadata.
        """
        self._tensors[output] = _named(self._tensors[output], name)
        return _Writer(self._tensors, self._operators, self._arrays).model(entry, output, description, note)

    def _add(self, tensor: _Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _named(tensor: _Tensor, name: str) -> _Tensor:
    return _Tensor(
        shape=tensor.shape, kind=tensor.kind, quantization=tensor.quantization, buffer=tensor.buffer, name=name
    )


class _Writer:
    """Writes the tables, innermost first as a flatbuffer wants them."""

    def __init__(
        self, tensors: Sequence[_Tensor], operators: Sequence[_Operator], arrays: Sequence[NDArray[Any]]
    ) -> None:
        self._tensors = tensors
        self._operators = operators
        self._arrays = arrays
        room = sum(array.nbytes + ALIGNMENT for array in arrays) + BYTES_A_TENSOR * (len(tensors) + 8)
        self._builder = Builder(room)

    def model(self, entry: int, output: int, description: str, note: Mapping[str, str]) -> bytes:
        notes = [np.frombuffer(text.encode(), np.uint8) for text in note.values()]
        buffers = self._vector([self._buffer(array) for array in [*self._arrays, *notes]])
        codes = list(dict.fromkeys((operator.kind, operator.version) for operator in self._operators))
        tensors = self._vector([self._tensor(i, tensor) for i, tensor in enumerate(self._tensors)])
        operators = self._vector([self._operator(operator, codes) for operator in self._operators])
        subgraph = self._table(5, {0: tensors, 1: self._numbers([entry]), 2: self._numbers([output]), 3: operators})
        metadata = [
            self._table(2, {0: self._text(key)}, {1: ("Uint32", len(self._arrays) + i)}) for i, key in enumerate(note)
        ]
        offsets = {
            1: self._vector([self._code(*code) for code in codes]),
            2: self._vector([subgraph]),
            3: self._text(description),
            4: buffers,
            6: self._vector(metadata),
            7: self._vector([self._signature(entry, output)]),
        }
        self._builder.Finish(self._table(8, offsets, {0: ("Uint32", SCHEMA_VERSION)}), IDENTIFIER)
        return bytes(self._builder.Output())

    def _buffer(self, array: NDArray[Any]) -> int:
        data = {0: self._bytes(array)} if array.size else {}
        return self._table(1, data)

    def _tensor(self, number: int, tensor: _Tensor) -> int:
        offsets = {0: self._numbers(tensor.shape), 3: self._text(tensor.name or f"tensor_{number}")}
        if (found := tensor.quantization) is not None:
            scales = self._builder.CreateNumpyVector(np.asarray(found.scales, np.float32))
            zeros = self._builder.CreateNumpyVector(np.full(len(found.scales), found.zero, np.int64))
            offsets[4] = self._table(7, {2: scales, 3: zeros}, {6: ("Int32", found.axis)})
        return self._table(8, offsets, {1: ("Int8", KINDS[tensor.kind]), 2: ("Uint32", tensor.buffer)})

    def _operator(self, operator: _Operator, codes: Sequence[tuple[str, int]]) -> int:
        kind = OPERATORS[operator.kind]
        fields: dict[int, tuple[str, int]] = {0: ("Uint32", codes.index((operator.kind, operator.version)))}
        offsets = {1: self._numbers(operator.inputs), 2: self._numbers([operator.output])}
        if kind.options:
            slots = {
                i: (type_, operator.options[name])
                for i, (name, type_) in enumerate(kind.slots)
                if name in operator.options
            }
            offsets[4] = self._table(len(kind.slots), {}, slots)
            fields[3] = "Uint8", kind.options
        return self._table(5, offsets, fields)

    def _code(self, kind: str, version: int) -> int:
        code = OPERATORS[kind].code
        return self._table(
            4, {}, {0: ("Int8", min(code, LARGEST_OLD_CODE)), 2: ("Int32", version), 3: ("Int32", code)}
        )

    def _signature(self, entry: int, output: int) -> int:
        """What the newer interfaces find inputs and outputs by."""
        ends = [
            self._vector([self._table(2, {0: self._text(self._tensors[end].name)}, {1: ("Uint32", end)})])
            for end in (entry, output)
        ]
        return self._table(5, {0: ends[0], 1: ends[1], 2: self._text("serving_default")})

    def _table(
        self, slots: int, offsets: Mapping[int, int], fields: Mapping[int, tuple[str, int]] | None = None
    ) -> int:
        """A table of so many slots: offsets of what was written before, and numbers that are always there."""
        builder = self._builder
        builder.StartObject(slots)
        for slot, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, (kind, value) in (fields or {}).items():
            prepend: Callable[[int], None] = getattr(builder, f"Prepend{kind}")
            prepend(value)
            builder.Slot(slot)
        return int(builder.EndObject())

    def _text(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def _numbers(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(values, np.int32)))

    def _vector(self, offsets: Sequence[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def _bytes(self, array: NDArray[Any]) -> int:
        """The array's bytes, copied once, where the runtime can read them in place."""
        builder = self._builder
        builder.StartVector(1, array.nbytes, ALIGNMENT)
        builder.head -= array.nbytes
        memory = np.frombuffer(builder.Bytes, np.uint8, array.nbytes, builder.head)
        memory[:] = array.reshape(-1).view(np.uint8)
        return int(builder.EndVector())
