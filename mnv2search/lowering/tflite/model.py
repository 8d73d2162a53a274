"""TFLite models for LiteRT, written directly from the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from flatbuffers import flexbuffers

from mnv2search.errors import OptionError
from mnv2search.lowering.flatbuffer import Flatbuffer
from mnv2search.lowering.quantize import Ranges
from mnv2search.lowering.tflite.emitter import SUPPRESSION, lower
from mnv2search.lowering.tflite.operators import Graph, Operator, Tensor
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import Plan

# Numbers of the schema. Source: tensorflow/lite/schema/schema.fbs, version 3.
SCHEMA_VERSION = 3
IDENTIFIER = "TFL3"
KINDS = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 1,
    np.dtype(np.int32): 2,
    np.dtype(np.int64): 4,
    np.dtype(np.int8): 9,
}
# The code of custom operators, which are identified by name.
CUSTOM = 32
# The original field for codes is an int8; larger codes are in a field that was added later.
LARGEST_OLD_CODE = 127
# Weights are read in place.
ALIGNMENT = 16
BYTES_A_TENSOR = 512
# Allows the runtime to compute in half precision if the processor supports it, accumulating in single precision.
# Source: tensorflow/lite/tools/optimize/reduced_precision_metadata.h.
HALF = {"reduced_precision_support": "fp16accfp32"}

Slots: TypeAlias = Sequence[tuple[str, str]]
"""Name and type of each field of an operator's options, in the order of the schema."""

_STRIDES: Slots = (("padding", "Int8"), ("stride", "Int32"), ("stride", "Int32"))
_DILATIONS: Slots = (("dilation", "Int32"), ("dilation", "Int32"))
_ACTIVATION: Slots = (("activation", "Int8"),)


class _Kind(NamedTuple):
    """A kind of operator: its code in `BuiltinOperator`, and its options in the union `BuiltinOptions`, 0 for none.

    The version is the first that supports our integer quantization; version 1 is for single precision.
    """

    code: int
    options: int
    slots: Slots
    version: int


# Source of the versions: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
OPERATORS: Mapping[str, _Kind] = {
    "ADD": _Kind(0, 11, _ACTIVATION, 2),
    "AVERAGE_POOL_2D": _Kind(1, 5, (*_STRIDES, ("stride", "Int32"), ("stride", "Int32"), *_ACTIVATION), 2),
    "CONCATENATION": _Kind(2, 10, (("axis", "Int32"), *_ACTIVATION), 2),
    "CONV_2D": _Kind(3, 1, (*_STRIDES, *_ACTIVATION, *_DILATIONS), 3),
    "DEPTHWISE_CONV_2D": _Kind(4, 2, (*_STRIDES, ("multiplier", "Int32"), *_ACTIVATION, *_DILATIONS), 3),
    "DEQUANTIZE": _Kind(6, 0, (), 2),
    "FULLY_CONNECTED": _Kind(9, 8, _ACTIVATION, 4),
    "LOGISTIC": _Kind(14, 0, (), 2),
    "MUL": _Kind(18, 21, _ACTIVATION, 2),
    "RESHAPE": _Kind(22, 0, (), 1),
    "RESIZE_BILINEAR": _Kind(23, 15, (("", "Int32"), ("", "Int32"), ("corners", "Bool")), 3),
    "PAD": _Kind(34, 22, (), 2),
    "MEAN": _Kind(40, 27, (("keep_dims", "Bool"),), 2),
    "SUB": _Kind(41, 28, _ACTIVATION, 1),
    "EXP": _Kind(47, 33, (), 1),
    "MAXIMUM": _Kind(55, 39, (), 1),
    "ARG_MAX": _Kind(56, 40, (("numbers", "Int8"),), 2),
    "MINIMUM": _Kind(57, 39, (), 1),
    "SLICE": _Kind(65, 48, (), 2),
    "LOG": _Kind(73, 0, (), 1),
    "RSQRT": _Kind(76, 0, (), 1),
    "QUANTIZE": _Kind(114, 89, (), 1),
    "HARD_SWISH": _Kind(117, 91, (), 1),
    SUPPRESSION: _Kind(CUSTOM, 0, (), 1),
}


def tflite_bytes(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    batch: int = 1,
    ranges: Ranges | None = None,
    half: bool = False,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The network as a serialised TFLite model that maps `image` (N, S, S, 3), channels last, to `output`.

    With the `ranges` of its tensors, the network is in eight-bit integers, with input and output in single precision;
    with `half`, weights are stored in half precision, and the runtime may compute in half precision. Each text of
    `metadata` is stored in a buffer that the model's table of metadata names.

    Raises:
        OptionError: `weights` lack a layer of the plan, both `ranges` and `half` are given, or the batch has several
            images with non-maximum suppression, which LiteRT's operator does not support.
    """
    if batch > 1 and isinstance(plan.spec.head, SsdLite) and plan.spec.head.output == "detections":
        raise OptionError(
            f"LiteRT suppresses the boxes of one image at a time, and batch is {batch}",
            hint="use batch 1, or give the head output: boxes",
        )
    if half and ranges is not None:
        raise OptionError("half precision and integers exclude each other", hint="leave out one of half and ranges")
    graph = Graph()
    output = lower(plan, weights, graph=graph, batch=batch, ranges=ranges, half=half)
    description = f"{plan.spec.name}, written by mnv2search"
    return _Writer(graph).model(output, description, {**(HALF if half else {}), **metadata})


class _Writer:
    def __init__(self, graph: Graph) -> None:
        room = sum(array.nbytes + ALIGNMENT for array in graph.arrays) + BYTES_A_TENSOR * (len(graph.tensors) + 8)
        self._graph = graph
        self._file = Flatbuffer(room)

    def model(self, output: int, description: str, note: Mapping[str, str]) -> bytes:
        file, graph = self._file, self._graph
        notes = [np.frombuffer(text.encode(), np.uint8) for text in note.values()]
        stored = [file.table(1, {0: file.raw([array], ALIGNMENT)}) for array in [*graph.arrays, *notes]]
        # the first buffer is that of computed tensors
        buffers = file.vector([file.table(1, {}), *stored])
        steps = [(operator, (operator.kind, self._version(operator))) for operator in graph.operators]
        codes = list(dict.fromkeys(code for _, code in steps))
        tensors = file.vector([self._tensor(i, tensor) for i, tensor in enumerate(graph.tensors)])
        operators = file.vector([self._operator(operator, codes.index(code)) for operator, code in steps])
        subgraph = file.table(5, {0: tensors, 1: file.numbers([0]), 2: file.numbers([output]), 3: operators})
        metadata = [
            file.table(2, {0: file.text(key)}, {1: ("Uint32", 1 + len(graph.arrays) + i)})
            for i, key in enumerate(note)
        ]
        offsets = {
            1: file.vector([self._code(*code) for code in codes]),
            2: file.vector([subgraph]),
            3: file.text(description),
            4: buffers,
            6: file.vector(metadata),
            7: file.vector([self._signature(output)]),
        }
        return file.finished(file.table(8, offsets, {0: ("Uint32", SCHEMA_VERSION)}), IDENTIFIER)

    def _version(self, operator: Operator) -> int:
        ends = (operator.output, operator.inputs[0])
        in_integers = any(self._graph.quantization(end) is not None for end in ends)
        return OPERATORS[operator.kind].version if in_integers else 1

    def _tensor(self, number: int, tensor: Tensor) -> int:
        file = self._file
        offsets = {0: file.numbers(tensor.shape), 3: file.text(tensor.name or f"tensor_{number}")}
        if (found := tensor.quantization) is not None:
            scales = file.numbers(found.scales, np.float32)
            zeros = file.numbers(np.full(len(found.scales), found.zero), np.int64)
            offsets[4] = file.table(7, {2: scales, 3: zeros}, {6: ("Int32", found.axis)})
        buffer = 0 if tensor.array is None else 1 + tensor.array
        return file.table(8, offsets, {1: ("Int8", KINDS[tensor.kind]), 2: ("Uint32", buffer)})

    def _operator(self, operator: Operator, code: int) -> int:
        file, kind = self._file, OPERATORS[operator.kind]
        fields = {0: ("Uint32", code)}
        offsets = {1: file.numbers(operator.inputs), 2: file.numbers([operator.output, *operator.others])}
        if kind.code == CUSTOM:
            told = np.frombuffer(flexbuffers.Dumps(dict(operator.told)), np.uint8)
            offsets[5] = file.raw([told], ALIGNMENT)
        if kind.options:
            given = operator.options
            slots = {i: (type_, given[name]) for i, (name, type_) in enumerate(kind.slots) if name in given}
            offsets[4] = file.table(len(kind.slots), {}, slots)
            fields[3] = "Uint8", kind.options
        return file.table(6, offsets, fields)

    def _code(self, kind: str, version: int) -> int:
        code = OPERATORS[kind].code
        old = min(code, LARGEST_OLD_CODE)
        named = {1: self._file.text(kind)} if code == CUSTOM else {}
        return self._file.table(4, named, {0: ("Int8", old), 2: ("Int32", version), 3: ("Int32", code)})

    def _signature(self, output: int) -> int:
        file = self._file
        ends = [
            file.vector([file.table(2, {0: file.text(self._graph.tensors[end].name)}, {1: ("Uint32", end)})])
            for end in (0, output)
        ]
        return file.table(5, {0: ends[0], 1: ends[1], 2: file.text("serving_default")})
