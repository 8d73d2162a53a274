"""An ONNX graph in half precision throughout, for runtimes that take precisions from the graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def half_precision(graph: bytes) -> bytes:
    """The model with every array, its input and its output in fp16 instead of fp32.

    The only real numbers of `graph`, a serialised ONNX model, are fp32.
    """
    model = onnx.load_from_string(graph)
    for array in model.graph.initializer:
        if array.data_type == TensorProto.FLOAT:
            halved = numpy_helper.to_array(array).astype(np.float16)
            array.CopyFrom(numpy_helper.from_array(halved, array.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return bytes(model.SerializeToString())
