"""What a compilation returns: counts, written files, and figures on test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mnv2search.cost import Cost
from mnv2search.spec.plan import Plan
from mnv2search.tasks.metrics import Metrics

Judged: TypeAlias = tuple[tuple[str, Metrics], ...]
"""Metrics on the test images: of the network first, then of each file that can be run here."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Compiled:
    """The outcome of a compilation.

    Attributes:
        fvcore_madds: fvcore's count of convolutions and linear layers on the built network, or None.
        exports: one report per written file.
        weights: file of the weights; None for random ones.
        unreadable: images of the calibration that could not be read.
        judged: what was evaluated on test images and how well it did.
    """

    plan: Plan
    cost: Cost
    fvcore_madds: int | None
    exports: tuple[ExportReport, ...]
    weights: Path | None = None
    unreadable: tuple[Path, ...] = ()
    judged: Judged = ()

    def __repr__(self) -> str:
        counts = f"{self.cost.params:,} parameters, {self.cost.madds:,} multiply-adds"
        written = [f"written to {export.path}" for export in self.exports]
        return f"<{', '.join([f'{self.plan.spec.name}: {counts}', *written])}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written and how well it agrees with the network on `images` images.

    Attributes:
        max_relative_difference: largest difference of an output, over the largest output.
        tolerance: limit of that difference; in fp16 and int8, of `rms_relative_difference`.
        rms_relative_difference: root mean square of the difference, over that of the answers.
        same_class: share of the images whose highest output is the same; None for a map.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration_images: that the ranges of the activations come from; 0 for random numbers, None for none needed.
    """

    path: Path
    size_bytes: int
    max_relative_difference: float
    tolerance: float
    rms_relative_difference: float
    same_class: float | None
    images: int
    precision: str = "fp32"
    calibration_images: int | None = None
