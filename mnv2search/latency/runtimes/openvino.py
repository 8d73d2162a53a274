"""OpenVINO on a CPU."""

from __future__ import annotations

import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.errors import DeviceError
from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.artifact import Artifact
from mnv2search.lowering.onnx import onnx_bytes
from mnv2search.lowering.onnx_int8 import onnx_int8_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OpenVino"]


class OpenVino(Runtime):
    """OpenVINO's CPU plugin with one stream, its threads not bound to processors.

    Args:
        threads: within one operator.
        batch: images per inference.
        precision: `fp32`; `bf16` or `fp16` where the processor computes in it, converted from single precision when
            the network is loaded; `int8`: weights by channel, ranges from random images.
    """

    name = "openvino"
    engine = "mnv2search.latency.runner.engines.openvino"
    delegate = "CPU"
    precisions = ("fp32", "bf16", "fp16", "int8")
    extra = "openvino"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The ONNX graph with batch norm folded, which OpenVINO reads in 20 ms."""
        if self.precision == "int8":
            graph = onnx_int8_bytes(network, weights, batch=self.batch)
        else:
            graph = onnx_bytes(network, weights, batch=self.batch, gemm=True)
        return Artifact(files=(("model.onnx", graph),))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The module through OpenVINO's converter.

        OpenVINO itself does not quantise: for integers it converts what ONNX Runtime's quantiser wrote.

        Raises:
            DeviceError: OpenVINO is not installed.
        """
        import torch

        try:
            from mnv2search.latency.runner.engines.openvino import ov
        except ImportError as error:
            raise DeviceError(
                f"device openvino cannot convert: {error}", hint=f"pip install 'mnv2search[{self.extra}]'"
            ) from error
        side = network.spec.resolution
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as name, warnings.catch_warnings():
            # OpenVINO 2026.4 calls what torch 2.13 says is old.
            warnings.simplefilter("ignore", DeprecationWarning)
            folder = Path(name)
            if self.precision == "int8":
                (folder / "source.onnx").write_bytes(_quantised(module, side, self.batch))
                found = ov.convert_model(folder / "source.onnx")
            else:
                shape = (self.batch, 3, side, side)
                found = ov.convert_model(module, example_input=torch.zeros(shape), input=list(shape))
            ov.save_model(found, folder / "model.xml", compress_to_fp16=False)
            names = ("model.xml", "model.bin")
            return Artifact(files=tuple((name, (folder / name).read_bytes()) for name in names))

    @property
    def converter(self) -> str:
        """OpenVINO's own, and for integers ONNX Runtime's quantiser before it."""
        own = f"openvino.convert_model {metadata.version('openvino')}"
        return f"quantize_static and {own}" if self.precision == "int8" else own


def _quantised(module: nn.Module, side: int, batch: int) -> bytes:
    from mnv2search.lowering import onnx_converters as converters

    return converters.quantised(converters.exported(module, side=side, batch=batch), side=side, batch=batch)
