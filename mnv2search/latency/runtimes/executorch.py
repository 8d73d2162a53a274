"""ExecuTorch on a CPU, by its XNNPACK delegate."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.quiet import quiet
from mnv2search.latency.runtime import Runtime
from mnv2search.lowering.artifact import Artifact
from mnv2search.lowering.executorch.program import executorch_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ExecuTorch"]


class ExecuTorch(Runtime):
    """PyTorch's runtime for phones with the whole network in its XNNPACK delegate.

    Args:
        threads: within one operator; one number for a process.
        batch: images per inference.
        precision: `fp32`; `fp16` on processors with arithmetic for it; or `int8`: weights by channel, activations
            signed, ranges from random images, input and output in single precision.
    """

    name = "executorch"
    engine = "mnv2search.latency.runner.engines.executorch"
    delegate = "XNNPACK"
    precisions = ("fp32", "fp16", "int8")
    extra = "executorch"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """A program of one call to the delegate, with batch norm folded."""
        ranges, half = self._ranges(network, weights), self.precision == "fp16"
        return _artifact(executorch_bytes(network, weights, batch=self.batch, ranges=ranges, half=half))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The program as ExecuTorch's exporter makes it, for integers quantised by XNNPACK's quantiser.

        Raises:
            DeviceError: ExecuTorch is not installed or refuses the network, or the precision is fp16.
        """
        if self.precision == "fp16":
            raise DeviceError(
                "ExecuTorch's exporter makes fp16 of modules in fp16 only", hint="compare at precision=fp32"
            )
        try:
            with quiet():
                from mnv2search.lowering.executorch.converters import converted

                program = converted(module, size=network.spec.size, batch=self.batch, int8=self.precision == "int8")
        except ImportError as error:
            raise self._not_installed("ExecuTorch's exporter", "executorch", error) from error
        return _artifact(program)

    @property
    def converter(self) -> str:
        """ExecuTorch's exporter with its version, where it is installed."""
        try:
            return f"torch.export and executorch {metadata.version('executorch')}"
        except metadata.PackageNotFoundError:
            return "torch.export and executorch"


def _artifact(program: bytes) -> Artifact:
    return Artifact(files=(("model.pte", program),))
