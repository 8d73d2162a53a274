"""An ONNX graph, written straight from the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import ExportReport, Run, accept, difference, network, write_checked
from mnv2search.export.precision import FP32, Precision
from mnv2search.lowering.onnx import INPUT, onnx_bytes
from mnv2search.lowering.onnx_int8 import onnx_int8_bytes
from mnv2search.lowering.quantize import Ranges
from mnv2search.lowering.types import NetworkArrays
from mnv2search.model.build import MobileNet, build
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.model_spec import ModelSpec, SsdLite

__all__ = ["OnnxExporter"]


class OnnxExporter:
    """`.onnx`: batch norm folded into the convolutions, for any number of images."""

    suffix = ".onnx"
    precisions = ("fp32", "int8")

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Writes the graph, runs it in ONNX Runtime and compares the two."""
        model = network(spec, weights=weights, seed=seed)
        arrays = layer_arrays(model)
        ranges = precision.ranges(model.plan, arrays)
        if ranges is None:
            graph = onnx_bytes(model.plan, arrays, batch=None)
        else:
            graph = onnx_int8_bytes(model.plan, arrays, ranges=ranges, batch=None)

        def write(path: Path) -> None:
            path.write_bytes(graph)

        reference = _selection(model, to, seed=seed, precision=precision, arrays=arrays, ranges=ranges)
        return write_checked(
            model, to, seed=seed, write=write, load=self.load, precision=precision, reference=reference
        )

    def load(self, path: Path) -> Run:
        """What the graph of a file computes."""
        return _load(path)


def _selection(
    model: MobileNet, to: Path, *, seed: int, precision: Precision, arrays: NetworkArrays, ranges: Ranges | None
) -> Run | None:
    """What a graph with non-maximum suppression is to compute: the selection among the boxes of the same graph.

    Which of two boxes with nearly the same score is kept hangs on the last bit, so the boxes are compared with the
    network's and the selection with that from these boxes.

    Raises:
        ExportError: the boxes differ.
    """
    head = model.spec.head
    if not (isinstance(head, SsdLite) and isinstance(model.head, SsdLiteHead)) or head.output != "detections":
        return None
    twin = build(replace(model.spec, head=replace(head, output="boxes")), seed=0)
    twin.load_state_dict(model.state_dict())
    graph = (
        onnx_bytes(twin.plan, arrays, batch=None)
        if ranges is None
        else onnx_int8_bytes(twin.plan, arrays, ranges=ranges, batch=None)
    )
    boxes, selected = _load(graph), model.head.detections
    accept(difference(twin.eval(), boxes, seed=seed, precision=precision), precision, to)
    return lambda images: selected(boxes(images))


def _load(path: Path | bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (output,) = session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(output)

    return run
