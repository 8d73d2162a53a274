"""A TFLite model, written directly from the plan."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mnv2search.data.preprocessing import KEY
from mnv2search.errors import extra_module
from mnv2search.export.check import Run
from mnv2search.export.formats.artifact_exporter import LoweredExporter, NetworkContent
from mnv2search.latency.runner.engine import quiet
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.spec.model_spec import ModelSpec


class TfliteExporter(LoweredExporter):
    """`.tflite`: batch norm folded, channels last, one image at a time; compared in LiteRT."""

    suffix = ".tflite"
    precisions = ("fp32", "fp16", "int8")
    layout = "NHWC"

    def check(self, spec: ModelSpec) -> None:  # noqa: ARG002
        """Raise an error only if the runtime is missing."""
        _litert()

    def lowered(self, content: NetworkContent) -> bytes:
        """The serialised model, with the preprocessing in its metadata."""
        preprocessing, half = content.preprocessing, content.precision.kind == "fp16"
        metadata = {} if preprocessing is None else {KEY: preprocessing.text(self.layout)}
        return tflite_bytes(content.plan, content.arrays, ranges=content.ranges, half=half, metadata=metadata)

    def run(self, source: Path | bytes) -> Run:
        """The function computed by a model."""
        model = {"model_path": str(source)} if isinstance(source, Path) else {"model_content": source}
        interpreter = _litert().Interpreter(**model, num_threads=1)
        with quiet():  # it prints that it uses XNNPACK
            interpreter.allocate_tensors()
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()

        def run(images: Tensor) -> Tensor:
            found = []
            for image in images.permute(0, 2, 3, 1).contiguous().split(1):  # type: ignore[no-untyped-call]
                interpreter.set_tensor(entry["index"], image.numpy())
                interpreter.invoke()
                found.append(torch.from_numpy(interpreter.get_tensor(end["index"])))
            answers = torch.cat(found)
            return answers.permute(0, 3, 1, 2) if answers.ndim == 4 else answers

        return run


def _litert() -> ModuleType:
    name = "ai_edge_litert.interpreter"
    return extra_module(name, feature="checking a .tflite file", package="ai-edge-litert", extra="litert")
