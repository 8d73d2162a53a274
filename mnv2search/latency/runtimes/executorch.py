"""ExecuTorch on a CPU, by its XNNPACK delegate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2search.latency.runtimes.xnnpack import XnnpackRuntime
from mnv2search.lowering.executorch.program import executorch_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.lowering.quantize import Ranges


class ExecuTorch(XnnpackRuntime):
    """PyTorch's runtime for phones; it takes one number of threads for a process."""

    name = "executorch"
    engine = "mnv2search.latency.runner.engines.executorch"
    files = ("model.pte",)
    extra = "executorch"
    converters = ("torch.export and executorch {executorch}", "")
    converter_package = ("ExecuTorch's exporter", "executorch")
    no_half = "ExecuTorch's exporter makes fp16 of modules in fp16 only"

    def _emit(self, network: Plan, weights: NetworkArrays | None, ranges: Ranges | None) -> bytes:
        return executorch_bytes(network, weights, batch=self.batch, ranges=ranges, half=self.precision == "fp16")

    def _converted(self, network: Plan, module: nn.Module) -> bytes:
        from mnv2search.lowering.executorch.converters import converted

        size, int8 = network.spec.size, self.precision == "int8"
        return converted(module, size=size, batch=self.batch, int8=int8)
