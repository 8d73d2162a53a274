"""ONNX Runtime on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.artifact import Artifact
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU execution provider with all graph optimisations.

    It computes in half precision only on ARM: elsewhere it would convert to single precision and back.

    Args:
        threads: within one operator.
        batch: images per inference.
        precision: `fp32`, or `int8`: weights by channel, activations unsigned, ranges from random images.
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
        from mnv2search.lowering.onnx import converters

        size = network.spec.size
        graph = converters.exported(module, size=size, batch=self.batch)
        if self.precision == "int8":
            graph = converters.quantised(graph, size=size, batch=self.batch)
        return self._artifact(graph)
