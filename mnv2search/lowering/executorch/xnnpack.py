"""XNNPACK graphs for ExecuTorch's delegate, converted from TFLite operators."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mnv2search.lowering.flatbuffer import Field, Flatbuffer
from mnv2search.lowering.tflite.operators import RELU, RELU6, Graph, Operator, Quantization, Tensor

# Source of all numbers: pytorch/executorch, backends/xnnpack/serialization/schema.fbs.
IDENTIFIER, VERSION = "XN01", "0"
FP32, FP16, QINT8, QCINT8, QCINT32 = 1, 2, 3, 6, 7
INTERNAL = 2**32 - 1
IS_INPUT, IS_OUTPUT = 1, 2
# Members of the union of values and of the union of quantizations.
IS_PLAIN, IS_QUANTIZED = 1, 2
PER_CHANNEL, PER_TENSOR = 1, 2
KEEP_DIMS, ALIGN_CORNERS = 64, 8
# Members of the union of nodes.
NODES = {
    "ADD": 1,
    "FULLY_CONNECTED": 2,
    "LOGISTIC": 4,
    "TRANSPOSE": 5,
    "CONV_2D": 7,
    "PAD": 10,
    "AVERAGE_POOL_2D": 11,
    "DEPTHWISE_CONV_2D": 13,
    "MUL": 15,
    "SUB": 16,
    "CONVERT": 18,
    "QUANTIZE": 18,
    "DEQUANTIZE": 18,
    "MEAN": 19,
    "RESHAPE": 20,
    "HARD_SWISH": 24,
    "RESIZE_BILINEAR": 9,
    "MINIMUM": 12,
    "EXP": 44,
    "SLICE": 35,
    "RSQRT": 40,
}
CONCATENATIONS = {2: 32, 3: 33, 4: 34, 5: 38}
# Operators that XNNPACK does not compute in integers.
FLOATING = ("HARD_SWISH", "AVERAGE_POOL_2D")
CLAMPS: Mapping[int, tuple[float, float]] = {RELU: (0.0, float("inf")), RELU6: (0.0, 6.0)}
LAST_TO_FIRST, FIRST_TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
ALIGNMENT = 16
BYTES_A_VALUE = 640
# Source: pytorch/executorch, backends/xnnpack/serialization/xnnpack_graph_serialize.py, `XNNHeader`.
HEADER_MAGIC, HEADER_LENGTH = b"XH00", 30


def xnnpack_bytes(graph: Graph, output: int, *, half: bool = False) -> bytes:
    """The payload of a delegate that maps an image (N, 3, S, S) to the output, channels first, in single precision.

    The convolutions of `graph` have explicit padding, its first tensor is the image, and `output` is in floating
    point.
    """
    return _Writer(graph, output, half=half).payload()


class _Writer:
    def __init__(self, graph: Graph, output: int, *, half: bool) -> None:
        self._graph = graph
        self._output = output
        self._half, self._float = half, FP16 if half else FP32
        scales = sum(len(tensor.quantization.scales) for tensor in graph.tensors if tensor.quantization is not None)
        self._file = Flatbuffer(BYTES_A_VALUE * (2 * len(graph.tensors) + 16) + 4 * scales)
        self._values: list[int] = []
        self._nodes: list[int] = []
        # the first buffer is that of computed values
        self._constants = [self._file.table(3, {}, {0: ("Uint64", 0), 1: ("Uint64", 0)})]
        self._data: list[bytes | memoryview] = []
        self._end = 0
        # tensor of the graph -> value
        self._known: dict[int, int] = {}

    def payload(self) -> bytes:
        entry = self._entry()
        for operator in self._graph.operators:
            self._translated(operator)
        result = self._result()
        file = self._file
        offsets = {
            0: file.text(VERSION),
            1: file.vector(self._nodes),
            2: file.vector(self._values),
            4: file.numbers([entry], np.uint32),
            5: file.numbers([result], np.uint32),
            8: file.vector(self._constants),
        }
        return _with_header(file.finished(file.table(9, offsets, {3: ("Uint32", 2)}), IDENTIFIER), self._data)

    def _entry(self) -> int:
        """The image, and its transposition to channels last."""
        shape = self._graph.shape(0)
        images, height, width, channels = shape
        entry = self._value((images, channels, height, width), FP32, external=0, flags=IS_INPUT)
        last = self._value(shape, FP32)
        self._transposed(entry, last, FIRST_TO_LAST)
        self._known[0] = self._converted(last, shape, FP16) if self._half else last
        return entry

    def _result(self) -> int:
        """The output, channels first; a row needs no transposition."""
        shape, found = self._graph.shape(self._output), self._known[self._output]
        if self._is_direct:
            return found
        if len(shape) == 4:
            shape = tuple(shape[i] for i in LAST_TO_FIRST)
            last, found = found, self._value(shape, FP16) if self._half else self._outer(shape)
            self._transposed(last, found, LAST_TO_FIRST)
        if self._half:
            half, found = found, self._outer(shape)
            self._node("CONVERT", [half, found, 0])
        return found

    @property
    def _is_direct(self) -> bool:
        return len(self._graph.shape(self._output)) != 4 and not self._half

    def _outer(self, shape: Sequence[int]) -> int:
        return self._value(shape, FP32, external=1, flags=IS_OUTPUT)

    def _translated(self, operator: Operator) -> None:
        inputs = [self._of(tensor) for tensor in operator.inputs if not self._is_size(tensor)]
        through = operator.kind in FLOATING and self._graph.quantization(operator.output) is not None
        if through:
            read, made = self._graph.shape(operator.inputs[0]), self._graph.shape(operator.output)
            output = self._value(made, FP32)
            self._added(operator, [self._converted(inputs[0], read, FP32)], output)
            self._node("CONVERT", [output, self._of(operator.output), 0])
        else:
            self._added(operator, inputs, self._of(operator.output))

    def _added(self, operator: Operator, inputs: list[int], output: int) -> None:
        kind, options = operator.kind, operator.options
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._node(kind, [*self._window(operator), *inputs, output, 0], operator)
        elif kind == "MEAN":
            self._node(kind, [*inputs, output, KEEP_DIMS if options["keep_dims"] else 0])
        elif kind == "AVERAGE_POOL_2D":
            stride = options["stride"]
            short = -self._graph.shape(operator.inputs[0])[1] % stride
            self._node(kind, [0, short, short, 0, *[stride] * 4, 1, 1, *inputs, output, 0])
        elif kind == "RESHAPE":
            shape = self._graph.shape(operator.output)
            self._node(kind, [len(shape), shape, *inputs, output, 0])
        elif kind == "PAD":
            before, after = self._graph.constant(operator.inputs[1]).T.tolist()
            self._node(kind, [before, after, 0.0, *inputs, output, 0])
        elif kind == "SLICE":
            begin, size = (self._graph.constant(tensor).tolist() for tensor in operator.inputs[1:])
            self._node(kind, [len(size), begin, size, *inputs, output, 0])
        elif kind == "RESIZE_BILINEAR":
            self._node(kind, [*self._graph.shape(operator.output)[1:3], *inputs, output, ALIGN_CORNERS])
        elif kind == "CONCATENATION":
            self._concatenated(operator, inputs, output)
        else:
            self._node(kind, [*inputs, output, 0], operator)

    def _window(self, operator: Operator) -> list[int]:
        options = operator.options
        channels, weight = self._graph.shape(operator.inputs[0])[3], self._graph.shape(operator.inputs[1])
        if operator.kind == "DEPTHWISE_CONV_2D":
            sizes = [1, options["multiplier"], channels]
        else:
            groups = channels // weight[3]
            sizes = [weight[3], weight[0] // groups, groups]
        strides, dilations = [options["stride"]] * 2, [options["dilation"]] * 2
        pads = [options[side] for side in ("top", "right", "bottom", "left")]
        return [*pads, *weight[1:3], *strides, *dilations, *sizes, 0, 0]

    def _concatenated(self, operator: Operator, inputs: Sequence[int], output: int) -> None:
        """Concatenate in several steps, because a node takes five inputs at most."""
        most, graph, axis = max(CONCATENATIONS), self._graph, operator.options["axis"]
        lengths = [graph.shape(tensor)[axis] for tensor in operator.inputs]
        parts, joined = list(inputs), lengths[0]
        while len(parts) > most:
            joined += sum(lengths[1:most])
            shape = list(graph.shape(operator.output))
            shape[axis] = joined
            whole = self._value_like(graph.tensors[operator.output], shape)
            self._joined(axis, parts[:most], whole)
            parts, lengths = [whole, *parts[most:]], [joined, *lengths[most:]]
        self._joined(axis, parts, output)

    def _joined(self, axis: int, parts: Sequence[int], output: int) -> None:
        padded = [*parts, *[0] * (max(CONCATENATIONS) - len(parts))]
        self._node(CONCATENATIONS[len(parts)], [axis, *padded[:4], output, 0, padded[4]])

    def _transposed(self, tensor: int, output: int, order: tuple[int, ...]) -> None:
        self._node("TRANSPOSE", [len(order), order, tensor, output, 0])

    def _converted(self, value: int, shape: Sequence[int], kind: int) -> int:
        """The value in another floating-point type."""
        output = self._value(shape, kind)
        self._node("CONVERT", [value, output, 0])
        return output

    def _node(
        self, kind: str | int, values: Sequence[float | Sequence[int]], operator: Operator | None = None
    ) -> None:
        """Add a node with a value for each of its slots; whole numbers are unsigned."""
        file = self._file
        offsets = {i: file.numbers(v, np.uint32) for i, v in enumerate(values) if isinstance(v, Sequence)}
        fields: dict[int, Field] = {
            i: ("Uint32" if isinstance(v, int) else "Float32", v)
            for i, v in enumerate(values)
            if not isinstance(v, Sequence)
        }
        inner = {1: file.table(len(values), offsets, fields)}
        clamp = CLAMPS.get(operator.options.get("activation", 0)) if operator is not None else None
        if clamp is not None:
            inner[3] = file.table(2, {}, {i: ("Float32", end) for i, end in enumerate(clamp)})
        number = NODES[kind] if isinstance(kind, str) else kind
        self._nodes.append(file.table(4, inner, {0: ("Uint8", number), 2: ("Uint32", len(self._nodes))}))

    def _is_size(self, tensor: int) -> bool:
        """Whether a tensor contains shapes or axes, which nodes store directly."""
        found = self._graph.tensors[tensor]
        return found.kind == np.int32 and found.quantization is None

    def _of(self, tensor: int) -> int:
        if tensor not in self._known:
            found = self._graph.tensors[tensor]
            if found.array is not None:
                self._known[tensor] = self._constant(found, self._graph.constant(tensor))
            elif tensor == self._output and self._is_direct:
                self._known[tensor] = self._outer(found.shape)
            else:
                self._known[tensor] = self._value_like(found, found.shape)
        return self._known[tensor]

    def _value_like(self, tensor: Tensor, shape: Sequence[int]) -> int:
        kind = self._float if tensor.quantization is None else QINT8
        return self._value(shape, kind, quantization=tensor.quantization)

    def _constant(self, tensor: Tensor, array: NDArray[np.generic]) -> int:
        if tensor.quantization is None:
            array = array.astype(np.float16) if self._half else array
            return self._value(array.shape, self._float, place=self._stored(array))
        kind = QCINT32 if array.dtype == np.int32 else QCINT8 if array.ndim > 1 else QINT8
        return self._value(array.shape, kind, place=self._stored(array), quantization=tensor.quantization)

    def _stored(self, array: NDArray[np.generic]) -> int:
        self._constants.append(self._file.table(3, {}, {0: ("Uint64", self._end), 1: ("Uint64", array.nbytes)}))
        padding = -array.nbytes % ALIGNMENT
        self._data += [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, bytes(padding)]
        self._end += array.nbytes + padding
        return len(self._constants) - 1

    def _value(
        self,
        shape: Sequence[int],
        kind: int,
        *,
        place: int = 0,
        external: int = INTERNAL,
        flags: int = 0,
        quantization: Quantization | None = None,
    ) -> int:
        file, number = self._file, len(self._values)
        fields: dict[int, Field] = {
            0: ("Int16", kind),
            1: ("Uint32", len(shape)),
            3: ("Uint32", place),
            4: ("Uint32", external),
            5: ("Uint32", flags),
            6: ("Uint32", number),
        }
        value = file.table(7, {2: file.numbers(tuple(shape), np.uint32)}, fields)
        member = IS_PLAIN
        if quantization is not None:
            per_tensor = kind == QINT8
            parameters = self._per_tensor(quantization) if per_tensor else self._per_channel(quantization)
            value = file.table(
                3, {0: value, 2: parameters}, {1: ("Uint8", PER_TENSOR if per_tensor else PER_CHANNEL)}
            )
            member = IS_QUANTIZED
        self._values.append(file.table(2, {1: value}, {0: ("Uint8", member)}))
        return number

    def _per_tensor(self, quantization: Quantization) -> int:
        scale = float(quantization.scales[0])
        return self._file.table(2, {}, {0: ("Float32", scale), 1: ("Int32", quantization.zero)})

    def _per_channel(self, quantization: Quantization) -> int:
        scales = np.asarray(quantization.scales, np.float32)
        fields: dict[int, Field] = {
            1: ("Int32", quantization.axis),
            2: ("Uint32", self._stored(scales)),
            3: ("Uint32", len(scales)),
        }
        return self._file.table(4, {}, fields)


def _with_header(graph: bytes, data: Sequence[bytes | memoryview]) -> bytes:
    """The delegate's header, the graph, and the constants."""
    start = HEADER_LENGTH + -HEADER_LENGTH % ALIGNMENT
    constants = start + len(graph) + -len(graph) % ALIGNMENT
    size = sum(len(chunk) for chunk in data)
    header = struct.pack("<4x4sHIIIQ", HEADER_MAGIC, HEADER_LENGTH, start, len(graph), constants, size)
    return b"".join([header.ljust(start, b"\0"), graph.ljust(constants - start, b"\0"), *data])
