"""LiteRT on a CPU with XNNPACK."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.latency.runtimes.xnnpack import XnnpackRuntime
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.heads.outputs import answer_shape
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnv2search.lowering.quantize import Ranges

# The names of litert-torch's only entry point.
SIGNATURE, ENTRY = "serving_default", "args_0"


class LiteRt(XnnpackRuntime):
    """LiteRT's interpreter with XNNPACK, the runtime of most phones."""

    name = "litert"
    engine = "mnv2search.latency.runner.engines.litert"
    files = ("model.tflite",)
    native = "mnv2search.latency.remote.native:BenchmarkModel"
    extra = "litert"
    converters = ("litert-torch {litert-torch}", "ai-edge-quantizer {ai-edge-quantizer}")
    converter_package = ("litert-torch", "litert-convert")
    no_half = "litert-torch cannot convert to fp16"

    def _emit(self, network: Plan, weights: NetworkArrays | None, ranges: Ranges | None) -> bytes:
        return tflite_bytes(network, weights, batch=self.batch, ranges=ranges, half=self.precision == "fp16")

    def _converted(self, network: Plan, module: nn.Module) -> bytes:
        """The module converted by litert-torch, with channels-last input and output."""
        os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
        import litert_torch
        import torch

        from mnv2search.lowering.ranges import random_batches

        images = torch.from_numpy(random_batches(network.spec.size, self.batch))
        batches = images.permute(0, 1, 3, 4, 2).contiguous()
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # litert-torch 0.10 calls functions that torch 2.13 deprecates
            outputs = [0] if len(answer_shape(network)) == 3 else None
            last = litert_torch.to_channel_last_io(module, args=[0], outputs=outputs).eval()
            litert_torch.convert(last, (batches[0],)).export(str(Path(folder, "model.tflite")))
            model = Path(folder, "model.tflite").read_bytes()
            return _quantized(model, batches) if self.precision == "int8" else model


def _quantized(model: bytes, batches: Tensor) -> bytes:
    """The model in integers, with weights per channel, by AI Edge Quantizer with its default recipe."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    images = [{ENTRY: images.numpy()} for images in batches]
    ranges = made.calibrate({SIGNATURE: images}, num_threads=1)
    done = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)
