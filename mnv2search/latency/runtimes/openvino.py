"""OpenVINO on a CPU."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.latency.runtime import Runtime, not_installed
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.lowering.ranges import random_batches, ranges_of
from mnv2search.lowering.types import Artifact, NetworkArrays
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    import openvino as ov
    from torch import nn


class OpenVino(Runtime):
    """OpenVINO's CPU plugin with one stream and without pinned threads.

    The precision is `fp32`; `bf16` or `fp16` if the processor supports it, converted from single precision when the
    network is loaded; or `int8`, with weights per channel and ranges from random images.
    """

    name = "openvino"
    engine = "mnv2search.latency.runner.engines.openvino"
    files = ("model.onnx",)
    delegate = "CPU"
    converters = ("openvino.convert_model {openvino}", "nncf.quantize {nncf}")
    precisions = ("fp32", "bf16", "fp16", "int8")
    extra = "openvino"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The ONNX graph with batch norm folded, which OpenVINO reads in 20 ms."""
        if self.precision == "int8":
            ranges = ranges_of(network, weights)
            floats = [key for key in ranges if _stays_float(network, *key)]
            graph = onnx_int8_bytes(network, weights, ranges=ranges, batch=self.batch, floats=floats)
        else:
            graph = onnx_bytes(network, weights, batch=self.batch, gemm=True)
        return self._artifact(graph)

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The module converted by OpenVINO, and quantized by NNCF for integers, on the images of `lower`."""
        import torch

        try:
            from mnv2search.latency.runner.engines.openvino import unreported
        except ImportError as error:
            raise not_installed("OpenVINO", "openvino", error) from error
        import openvino as ov  # after the engine, which disables its telemetry

        shape = (self.batch, 3, *network.spec.size)
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, warnings.catch_warnings():
            # OpenVINO 2026.4 calls deprecated functions: DeprecationWarning in torch 2.13, FutureWarning in 2.14.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            model = ov.convert_model(module, example_input=torch.zeros(shape), input=list(shape))
            if self.precision == "int8":
                try:
                    with unreported():
                        model = _quantized(model, network.spec.size, self.batch)
                except ImportError as error:
                    raise not_installed("NNCF", "openvino-convert", error) from error
            ov.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
            names = ("model.xml", "model.bin")
            return Artifact(files=tuple((name, (Path(folder) / name).read_bytes()) for name in names))


def _stays_float(network: Plan, index: int, what: int | str) -> bool:
    """Whether NNCF 3.4 keeps a tensor in single precision: gates, and inputs of norms and of smooth activations."""
    if isinstance(what, str):
        return "." in what or (what == "squeezed" and network.units[index].kind != "classifier")
    roles = [layer.role for layer in network.units[index].layers[what : what + 2]]
    return "squeeze" in roles or "excite" in roles[:1]


def _quantized(model: ov.Model, size: Size, batch: int) -> ov.Model:
    # NNCF's logger and progress bars write to stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        import nncf

        batches = random_batches(size, batch)
        return nncf.quantize(model, nncf.Dataset(list(batches)), subset_size=len(batches))
