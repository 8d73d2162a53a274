"""An ONNX graph, written straight from the plan."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import Run, network, write_checked
from mnv2search.export.choosing import choice_of
from mnv2search.export.precision import FP32, Precision
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan

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

        def lowered(plan: Plan) -> bytes:
            if ranges is None:
                return onnx_bytes(plan, arrays, batch=None)
            return onnx_int8_bytes(plan, arrays, ranges=ranges, batch=None)

        graph = lowered(model.plan)

        def write(path: Path) -> None:
            path.write_bytes(graph)

        reference = choice_of(model, to, seed=seed, precision=precision, run=lambda plan: _load(lowered(plan)))
        return write_checked(
            model, to, seed=seed, write=write, load=self.load, precision=precision, reference=reference
        )

    def load(self, path: Path) -> Run:
        """What the graph of a file computes."""
        return _load(path)


def _load(path: Path | bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (output,) = session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(output)

    return run
