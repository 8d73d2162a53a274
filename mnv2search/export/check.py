"""Writing a file beside its target, comparing what it computes, and only then renaming it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mnv2search.errors import ExportError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights import load_weights
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["TOLERANCE", "ExportReport", "Run", "network", "relative_difference", "write_checked"]

Run = Callable[[Tensor], Tensor]

# Of the largest output; single precision in another order of summation stays below 1e-5.
TOLERANCE = 1e-4
BATCHES = (1, 2)
# Below this the answers of a deep untrained network are lost in denormal numbers, which runtimes round to zero.
SMALLEST_OUTPUT = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written and how well it agrees.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        max_relative_difference: largest difference of an output, over the largest output, on random images.
        tolerance: what it had to stay within.
    """

    path: Path
    size_bytes: int
    max_relative_difference: float
    tolerance: float


def network(spec: ModelSpec, *, weights: Path | None, seed: int) -> MobileNet:
    """The network in evaluation mode, with the weights of a file or untrained ones."""
    model = build(spec, seed=seed)
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def write_checked(
    model: MobileNet, to: Path, *, seed: int, write: Callable[[Path], None], load: Callable[[Path], Run]
) -> ExportReport:
    """Writes a file with `write`, loads it with `load`, compares the two and renames the file to `to`.

    Raises:
        ExportError: the file cannot be written, or the largest relative difference exceeds `TOLERANCE`.
    """
    beside = to.with_name(f".{os.getpid()}-{to.name}")
    try:
        _write(write, beside, to)
        difference = relative_difference(model, load(beside), seed=seed)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"what was written to {to} differs from the network by {difference:.2g} of its largest output",
                hint=f"at most {TOLERANCE:g} is accepted; nothing was kept: report this with the spec",
            )
        size_bytes = beside.stat().st_size
        beside.replace(to)
    except OSError as error:
        raise ExportError(f"{to} cannot be written: {error.strerror or error}", hint="check the folder") from error
    finally:
        beside.unlink(missing_ok=True)
    return ExportReport(path=to, size_bytes=size_bytes, max_relative_difference=difference, tolerance=TOLERANCE)


def _write(write: Callable[[Path], None], beside: Path, to: Path) -> None:
    try:
        write(beside)
    except RuntimeError as error:
        if isinstance(error, ExportError):
            raise
        # torch's own writers say so of a missing folder and of a full disk.
        raise ExportError(f"{to} cannot be written: {str(error).splitlines()[0]}", hint="check the folder") from error


def relative_difference(model: MobileNet, run: Run, *, seed: int) -> float:
    """The largest difference between `model` and `run` over the model's largest output, on random images.

    Infinite where the shapes differ or a number is missing or infinite on either side.
    """
    side_px = model.spec.resolution
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for count in BATCHES:
        images = torch.randn(count, 3, side_px, side_px, generator=generator)
        with torch.no_grad():
            expected, found = model(images), run(images)
        if expected.shape != found.shape or not (expected.isfinite().all() and found.isfinite().all()):
            return float("inf")
        largest = max(float(expected.abs().max()), SMALLEST_OUTPUT)
        worst = max(worst, float((expected - found).abs().max()) / largest)
    return worst
