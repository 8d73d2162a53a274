"""ONNX Runtime on a CPU."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.onnx.graph import OPSET
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import INPUT, OUTPUT, onnx_bytes
from mnv2search.lowering.ranges import random_batches
from mnv2search.lowering.types import Artifact, Floats, NetworkArrays
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    from torch import nn


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU execution provider with all graph optimisations.

    The precision is `fp32`, or `int8` with weights per channel, unsigned activations, and ranges from random images.
    Half precision is not available: ONNX Runtime supports it only on ARM, and elsewhere would convert to single
    precision and back.
    """

    name = "onnxruntime"
    engine = "mnv2search.latency.runner.engines.onnxruntime"
    files = ("model.onnx",)
    delegate = "CPUExecutionProvider"
    converters = ("torch.onnx.export {torch}", "quantize_static")
    precisions = ("fp32", "int8")

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The ONNX graph with batch norm folded."""
        write = onnx_int8_bytes if self.precision == "int8" else onnx_bytes
        return self._artifact(write(network, weights, batch=self.batch))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """PyTorch's ONNX export, quantized by ONNX Runtime's static quantization on the same random images."""
        size = network.spec.size
        graph = exported(module, size=size, batch=self.batch)
        return self._artifact(quantized(graph, size=size, batch=self.batch) if self.precision == "int8" else graph)


def exported(module: nn.Module, *, size: Size, batch: int = 1) -> bytes:
    """The module, in evaluation mode with input (N, 3, H, W), as traced by `torch.onnx.export`.

    The newer exporter behind `dynamo=True` needs another package and ten times as long for the same graph.
    """
    import torch

    target = io.BytesIO()
    with warnings.catch_warnings():
        # torch 2.9 and later deprecate this exporter.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The exporter uses tracing, for which torch 2.14 raises a FutureWarning.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        # Shapes are constants in our networks, and the runtime folds constants.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        torch.onnx.export(
            module,
            (torch.zeros(batch, 3, *size),),
            target,  # type: ignore[arg-type]  # a file in memory is accepted if dynamo is False
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
    return target.getvalue()


class _Reader:
    """An implementation of ONNX Runtime's `CalibrationDataReader` with random images, a batch at a time."""

    def __init__(self, size: Size, batch: int) -> None:
        self._batches = iter(random_batches(size, batch))

    def get_next(self) -> dict[str, Floats] | None:
        return next(({INPUT: batch} for batch in self._batches), None)


def quantized(graph: bytes, *, size: Size, batch: int = 1) -> bytes:
    """The graph in eight-bit integers by ONNX Runtime's static quantization, with a scale for each channel."""
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_static

    with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "target"))
        source.write_bytes(graph)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(size, batch),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()
