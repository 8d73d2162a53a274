"""LiteRT on a CPU, by XNNPACK."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.quiet import quiet
from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.artifact import Artifact
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.heads.outputs import answer_shape
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LiteRt"]


class LiteRt(Runtime):
    """LiteRT's interpreter with XNNPACK, the runtime of most phones.

    Args:
        threads: within one operator.
        batch: images per inference.
        precision: `fp32`; `fp16` on processors with arithmetic for it; or `int8`: weights by channel, activations
            signed, ranges from random images, input and output in single precision.
    """

    name = "litert"
    engine = "mnv2search.latency.runner.engines.litert"
    delegate = "XNNPACK"
    precisions = ("fp32", "fp16", "int8")
    native = "mnv2search.latency.remote.natives.benchmark_model:BenchmarkModel"
    extra = "litert"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The TFLite model with batch norm folded, channels last."""
        ranges, half = self._ranges(network, weights), self.precision == "fp16"
        return _artifact(tflite_bytes(network, weights, batch=self.batch, ranges=ranges, half=half))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The network as litert-torch makes it of an exported program, for integers quantised by AI Edge Quantizer.

        Raises:
            DeviceError: litert-torch is not installed or refuses the network, or the precision is fp16.
        """
        if self.precision == "fp16":
            raise DeviceError("litert-torch has no way to fp16", hint="compare at precision=fp32")
        try:
            with quiet():
                from mnv2search.lowering.tflite.converters import converted

                model = converted(
                    module,
                    size=network.spec.size,
                    batch=self.batch,
                    is_map=len(answer_shape(network)) == 3,
                    int8=self.precision == "int8",
                )
        except ImportError as error:
            raise self._not_installed("litert-torch", "litert-convert", error) from error
        return _artifact(model)

    @property
    def converter(self) -> str:
        """Litert-torch, and for integers AI Edge Quantizer, with their versions where they are installed."""
        try:
            own = f"litert-torch {metadata.version('litert-torch')}"
            return (
                f"{own} and ai-edge-quantizer {metadata.version('ai-edge-quantizer')}"
                if self.precision == "int8"
                else own
            )
        except metadata.PackageNotFoundError:
            return "litert-torch"


def _artifact(model: bytes) -> Artifact:
    return Artifact(files=(("model.tflite", model),))
