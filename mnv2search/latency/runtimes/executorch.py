"""ExecuTorch on a CPU with its XNNPACK delegate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mnv2search.latency.runtimes.xnnpack import XnnpackRuntime
from mnv2search.lowering.executorch.program import executorch_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.lowering.quantize import Ranges


class ExecuTorch(XnnpackRuntime):
    """PyTorch's runtime for phones, which uses the same number of threads throughout a process."""

    name = "executorch"
    engine = "mnv2search.latency.runner.engines.executorch"
    files = ("model.pte",)
    extra = "executorch"
    converters = ("torch.export and executorch {executorch}", "")
    converter_package = ("ExecuTorch's exporter", "executorch")
    no_half = "ExecuTorch's exporter writes fp16 only for modules in fp16"

    def _emit(self, network: Plan, weights: NetworkArrays | None, ranges: Ranges | None) -> bytes:
        return executorch_bytes(network, weights, batch=self.batch, ranges=ranges, half=self.precision == "fp16")

    def _converted(self, network: Plan, module: nn.Module) -> bytes:
        """The module converted by torch.export and XNNPACK's partitioner, and by its quantizer for integers."""
        import torch

        from mnv2search.lowering.ranges import random_batches

        batches = torch.from_numpy(random_batches(network.spec.size, self.batch))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ExecuTorch 1.5 calls deprecated functions of torch 2.13, also at import
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
            from executorch.exir import to_edge_transform_and_lower
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            exported = torch.export.export(module, (batches[0],))
            if self.precision == "int8":
                by_channel = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
                quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(by_channel)
                prepared = prepare_pt2e(exported.module(), quantizer)
                for images in batches:
                    prepared(images)
                exported = torch.export.export(convert_pt2e(prepared), (batches[0],))
            lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
            return bytes(lowered.to_executorch().buffer)
