"""The precision of an exported network, with the images for the ranges of its activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnv2search.errors import OptionError
from mnv2search.lowering.types import Floats

if TYPE_CHECKING:
    from mnv2search.lowering.quantize import Ranges
    from mnv2search.lowering.types import NetworkArrays
    from mnv2search.spec.plan import Plan


PRECISIONS = ("fp32", "fp16", "int8")
# Largest accepted difference from the network, by precision. In fp32 it is the maximum difference over the largest
# output; another order of summation in single precision stays below 1e-5. In fp16 and int8 it is the root mean square
# of the difference over that of the output: eight bits cost some percent, and far more in a network whose activations
# have a wide range.
ACCEPTED = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.35}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Precision:
    """The precision of an exported network.

    Args:
        kind: ``fp32``, ``fp16``, or ``int8`` with weights per channel, activations per tensor, and input and output
            in single precision.
        images: calibration images, (N, 3, S, S), normalised as in training; None takes random images, which suffice
            for measuring latency but not for deployment.

    Raises:
        OptionError: unknown kind, or images for a kind that needs none.
    """

    kind: str = "fp32"
    images: Floats | None = None

    def __post_init__(self) -> None:
        if self.kind not in PRECISIONS:
            raise OptionError(f"precision is {self.kind!r}", hint=f"use {', '.join(PRECISIONS)}")
        if self.images is not None and self.kind != "int8":
            raise OptionError(f"images to calibrate with are given, but {self.kind} needs none", hint="use int8")

    @property
    def accepted(self) -> float:
        """The largest accepted difference from the network; see `ExportReport`."""
        return ACCEPTED[self.kind]

    def ranges(self, network: Plan, weights: NetworkArrays) -> Ranges | None:
        """The ranges of the network's tensors, or None if they are not needed."""
        if self.kind != "int8":
            return None
        from mnv2search.lowering.ranges import ranges_of  # late: it loads ONNX Runtime

        return ranges_of(network, weights, images=self.images)


FP32 = Precision()
