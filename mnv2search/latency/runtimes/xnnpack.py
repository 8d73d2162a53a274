"""Runtimes with the XNNPACK delegate."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.engine import quiet
from mnv2search.latency.runtime import Runtime, not_installed
from mnv2search.lowering.types import Artifact, NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.lowering.quantize import Ranges


class XnnpackRuntime(Runtime):
    """A runtime on a CPU with the whole network in its XNNPACK delegate.

    The precision is `fp32`; `fp16` on processors with half-precision arithmetic; or `int8` with weights per channel,
    signed activations, ranges from random images, and input and output in single precision.
    """

    delegate = "XNNPACK"
    precisions = ("fp32", "fp16", "int8")
    converter_package: ClassVar[tuple[str, str]]
    """The name of the runtime's own converter, and the optional dependency of mnv2search that installs it."""
    no_half: ClassVar[str]
    """The reason why the converter does not write fp16."""

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The model with batch norm folded."""
        return self._artifact(self._emit(network, weights, self._ranges(network, weights)))

    @abstractmethod
    def _emit(self, network: Plan, weights: NetworkArrays | None, ranges: Ranges | None) -> bytes:
        """The bytes of the model."""

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The model written by the runtime's own converter and quantizer, but not in fp16."""
        if self.precision == "fp16":
            raise DeviceError(self.no_half, hint="compare at precision=fp32")
        try:
            with quiet():
                return self._artifact(self._converted(network, module))
        except ImportError as error:
            raise not_installed(*self.converter_package, error) from error

    @abstractmethod
    def _converted(self, network: Plan, module: nn.Module) -> bytes:
        """The bytes of the converted model."""
