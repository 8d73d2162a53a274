"""A TFLite model, written straight from the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnv2search.errors import MissingExtraError
from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import Run, network, write_checked
from mnv2search.export.choosing import choice_of
from mnv2search.export.precision import FP32, Precision
from mnv2search.latency.runner.quiet import quiet
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan

__all__ = ["TfliteExporter"]


class TfliteExporter:
    """`.tflite`: batch norm folded into the convolutions, channels last, one image at a time."""

    suffix = ".tflite"
    precisions = ("fp32", "fp16", "int8")

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Writes the model, runs it in LiteRT and compares the two.

        Raises:
            MissingExtraError: LiteRT is not installed.
        """
        _interpreter()  # before the work, what is missing
        model = network(spec, weights=weights, seed=seed)
        arrays = layer_arrays(model)
        ranges = precision.ranges(model.plan, arrays)

        def lowered(plan: Plan) -> bytes:
            return tflite_bytes(plan, arrays, ranges=ranges, half=precision.kind == "fp16")

        def run(plan: Plan) -> Run:
            return _answering(_interpreter()(model_content=lowered(plan), num_threads=1))

        content = lowered(model.plan)

        def write(path: Path) -> None:
            path.write_bytes(content)

        reference = choice_of(model, to, seed=seed, precision=precision, run=run)
        return write_checked(
            model, to, seed=seed, write=write, load=self.load, precision=precision, reference=reference
        )

    def check(self, spec: ModelSpec) -> None:
        """Refuses nothing but a missing runtime.

        Raises:
            MissingExtraError: LiteRT is not installed.
        """
        del spec
        _interpreter()

    def load(self, path: Path) -> Run:
        """What the model of a file computes.

        Raises:
            MissingExtraError: LiteRT is not installed.
        """
        return _answering(_interpreter()(str(path), num_threads=1))


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # late: it is an extra
    except ImportError as error:
        raise MissingExtraError(
            feature="checking a .tflite file", package="ai-edge-litert", extra="litert"
        ) from error
    return Interpreter


def _answering(interpreter: Any) -> Run:
    with quiet():  # it says that it uses XNNPACK
        interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: Tensor) -> Tensor:
        found = []
        for image in images.permute(0, 2, 3, 1).contiguous().split(1):  # type: ignore[no-untyped-call]
            interpreter.set_tensor(entry["index"], image.numpy())
            interpreter.invoke()
            found.append(torch.from_numpy(interpreter.get_tensor(end["index"])))
        all_of_them = torch.cat(found)
        return all_of_them.permute(0, 3, 1, 2) if all_of_them.ndim == 4 else all_of_them

    return run
