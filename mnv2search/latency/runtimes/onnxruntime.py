"""ONNX Runtime on a CPU."""

from __future__ import annotations

from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.artifact import Artifact
from mnv2search.lowering.onnx import onnx_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU execution provider with all graph optimisations.

    Args:
        threads: within one operator.
        batch: images per inference.
        precision: `fp32`.
    """

    name = "onnxruntime"
    engine = "mnv2search.latency.runner.engines.onnxruntime"
    delegate = "CPUExecutionProvider"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The ONNX graph with batch norm folded."""
        return Artifact(files=(("model.onnx", onnx_bytes(network, weights, batch=self.batch)),))
