"""An ONNX graph, written directly from the plan."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from onnx import ModelProto
from torch import Tensor

from mnv2search.data.preprocessing import KEY
from mnv2search.export.check import Run
from mnv2search.export.formats.artifact_exporter import LoweredExporter, NetworkContent
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes


class OnnxExporter(LoweredExporter):
    """`.onnx`: batch norm folded into the convolutions, for any number of images; compared in ONNX Runtime."""

    suffix = ".onnx"
    precisions = ("fp32", "int8")

    def lowered(self, content: NetworkContent) -> bytes:
        """The serialised graph, with the preprocessing in its metadata."""
        plan, arrays, preprocessing = content.plan, content.arrays, content.preprocessing
        if content.ranges is None:
            graph = onnx_bytes(plan, arrays, batch=None)
        else:
            graph = onnx_int8_bytes(plan, arrays, ranges=content.ranges, batch=None)
        if preprocessing is None:
            return graph
        told = ModelProto(doc_string="\n".join(preprocessing.lines()))
        told.metadata_props.add(key=KEY, value=preprocessing.text(self.layout))
        return b"".join([graph, told.SerializeToString()])  # fields of a second message are merged into the first

    def run(self, source: Path | bytes) -> Run:
        """The function computed by a graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> Tensor:
            (output,) = session.run(None, {INPUT: images.contiguous().numpy()})
            return torch.from_numpy(output)

        return run
