"""Results of a compilation: counts, exported files, and metrics on test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mnv2search.cost import Cost
from mnv2search.display import Displayed
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan
from mnv2search.tasks.metrics import Metrics

if TYPE_CHECKING:
    from mnv2search.data.preprocessing import Preprocessing

Judged: TypeAlias = tuple[tuple[str, Metrics], ...]
"""Metrics on the test images, first of the network, then of each file that can be run on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NetworkCost(Displayed):
    """A network with its cost; memory is counted for `precision`."""

    spec: ModelSpec
    precision: Literal["fp32", "fp16", "int8"]
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Compiled(Displayed):
    """The result of a compilation.

    Attributes:
        fvcore_madds: fvcore's count of convolutions and linear layers on the built network, or None.
        weights: file of the weights; None for random ones.
        preprocessing: input, output and preprocessing, as the files say them.
        unreadable: images of the calibration that could not be read.
    """

    plan: Plan
    cost: Cost
    fvcore_madds: int | None
    exports: tuple[ExportReport, ...]
    preprocessing: Preprocessing
    weights: Path | None = None
    unreadable: tuple[Path, ...] = ()
    judged: Judged = ()

    def __repr__(self) -> str:
        counts = f"{self.cost.params:,} parameters, {self.cost.madds:,} multiply-adds"
        written = [f"written to {export.path}" for export in self.exports]
        return f"<{', '.join([f'{self.plan.spec.name}: {counts}', *written])}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """An exported file, and its agreement with the network on `images` images.

    Attributes:
        max_relative_difference: largest difference of an output, relative to the largest output.
        tolerance: limit of `max_relative_difference` or, in fp16 and int8, of `rms_relative_difference`.
        rms_relative_difference: RMS difference of the outputs, relative to their RMS.
        same_class: share of the images with the same predicted class; None for a map.
        classes: number of classes that the network predicts for these images; None for a map, or if unknown.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration_images: number of images that the ranges of activations were computed from; 0 for random numbers,
            None without calibration.
        is_run: whether the file was run; otherwise the program that it is converted from was compared.
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
    classes: int | None = None
    is_run: bool = True
