"""LiteRT on a CPU, by XNNPACK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2search.latency.runtimes.xnnpack import XnnpackRuntime
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.heads.outputs import answer_shape
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.lowering.quantize import Ranges


class LiteRt(XnnpackRuntime):
    """LiteRT's interpreter with XNNPACK, the runtime of most phones."""

    name = "litert"
    engine = "mnv2search.latency.runner.engines.litert"
    files = ("model.tflite",)
    native = "mnv2search.latency.remote.natives.benchmark_model:BenchmarkModel"
    extra = "litert"
    converters = ("litert-torch {litert-torch}", "ai-edge-quantizer {ai-edge-quantizer}")
    converter_package = ("litert-torch", "litert-convert")
    no_half = "litert-torch has no way to fp16"

    def _emit(self, network: Plan, weights: NetworkArrays | None, ranges: Ranges | None) -> bytes:
        return tflite_bytes(network, weights, batch=self.batch, ranges=ranges, half=self.precision == "fp16")

    def _converted(self, network: Plan, module: nn.Module) -> bytes:
        from mnv2search.lowering.tflite.converters import converted

        size, int8 = network.spec.size, self.precision == "int8"
        return converted(module, size=size, batch=self.batch, is_map=len(answer_shape(network)) == 3, int8=int8)
