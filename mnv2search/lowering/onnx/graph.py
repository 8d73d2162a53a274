"""A builder of ONNX graphs: nodes, arrays, and the tensors for quantisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from mnv2search.lowering.quantize import Key

Array = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int32] | NDArray[np.int8] | NDArray[np.uint8]

IR_VERSION = 8
OPSET = 17
KINDS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint8): TensorProto.UINT8,
}
# Tags of length-delimited fields: ModelProto.graph is 7, GraphProto.initializer 5, TensorProto.raw_data 9.
# Source: onnx/onnx.proto.
GRAPH, INITIALIZER, RAW_DATA = (bytes([field << 3 | 2]) for field in (7, 5, 9))


class Graph:
    """Nodes and initializers in single precision.

    Attributes:
        gemm: whether the classifier is a Gemm instead of a convolution of the pooled map.
        model: model with the nodes; `serialised` adds the initializers.
        prefix: prefix of new names.
        kept: name of each tensor that was passed to `keep`.
    """

    def __init__(self, *, gemm: bool = False) -> None:
        self.gemm = gemm
        self.model = ModelProto(ir_version=IR_VERSION, producer_name="mnv2search")
        self.model.opset_import.append(helper.make_opsetid("", OPSET))
        self.prefix = ""
        self.kept: dict[Key, str] = {}
        self._initializers: list[tuple[bytes, NDArray[np.generic]]] = []
        self._count = 0

    def node(self, kind: str, inputs: Sequence[str], **attributes: int | float | str | list[int]) -> str:
        """Add a node; returns the name of its output."""
        self._count += 1
        name = f"{self.prefix}/{kind}_{self._count}"
        node = self.model.graph.node.add(op_type=kind, name=name, input=inputs, output=[name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        return name

    def outputs(self, kind: str, inputs: Sequence[str], count: int, **attributes: int) -> list[str]:
        """Add a node with several outputs; returns their names."""
        name = self.node(kind, inputs, **attributes)
        names = [f"{name}.{i}" for i in range(count)]
        self.model.graph.node[-1].output[:] = names
        return names

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        """The names of the parts of a tensor split along its channels."""
        return self.outputs("Split", [tensor, self.integers(*sizes)], len(sizes), axis=1)

    def integers(self, *values: int) -> str:
        """Add an initializer of a row of integers; returns its name."""
        return self.array(np.array(values, np.int64))

    def array(self, values: Array) -> str:
        """Add an initializer; returns its name."""
        self._count += 1
        name = f"{self.prefix}/array_{self._count}"
        header = TensorProto(name=name, data_type=KINDS[values.dtype], dims=values.shape).SerializeToString()
        self._initializers.append((header, np.ascontiguousarray(values)))
        return name

    def keep(self, key: Key, tensor: str) -> str:
        """The tensor as later nodes read it."""
        self.kept[key] = tensor
        return tensor

    def cuts(self, key: Key) -> bool:  # noqa: ARG002
        """Whether `keep` clips this tensor to its range, so that no ReLU is needed before."""
        return False

    def constants(self, tensor: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> list[str]:  # noqa: ARG002
        """The names of weight and bias of a convolution of `tensor`."""
        return [self.array(weight)] + ([] if bias is None else [self.array(bias)])

    def finish(self, output: str) -> None:
        """Rename the output of the last node to `output`."""
        last = self.model.graph.node[-1]
        self.kept = {key: output if name == last.output[0] else name for key, name in self.kept.items()}
        last.output[0] = output

    def serialised(self) -> bytes:
        """The serialised model; arrays are copied once, instead of three times by protobuf's own objects.

        A second occurrence of an embedded message is merged into the first, so the arrays follow as a second graph.

        Source: protobuf.dev, Encoding, "Last One Wins" and "Length-Delimited Records".
        """
        chunks: list[bytes | memoryview] = []
        total = 0
        for header, values in self._initializers:
            raw = RAW_DATA + _varint(values.nbytes)
            front = INITIALIZER + _varint(len(header) + len(raw) + values.nbytes) + header + raw
            chunks += [front, values.reshape(-1).view(np.uint8).data]
            total += len(front) + values.nbytes
        return b"".join([self.model.SerializeToString(), GRAPH, _varint(total), *chunks])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
