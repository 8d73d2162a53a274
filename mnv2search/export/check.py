"""Checked writing: a temporary file is compared with the network before it is renamed to its target."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mnv2search.errors import ExportError
from mnv2search.export.precision import FP32, Precision
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.load import load_weights
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec

Run = Callable[[Tensor], Tensor]

BATCHES = (1, 2)
# Maximum number of calibration images for the comparison.
MOST_COMPARED = 32
# Below this, outputs of a deep untrained network are denormal numbers, which runtimes round to zero.
SMALLEST_OUTPUT = 1e-30


class Difference(NamedTuple):
    """The difference between a network and its written file; infinite if shapes differ or a value is not finite.

    The fields are those of `ExportReport`.
    """

    max_relative_difference: float
    rms_relative_difference: float
    same_class: float | None
    images: int
    classes: int | None


def network(spec: ModelSpec, *, weights: Path | None, seed: int) -> MobileNet:
    """The network in evaluation mode, with weights from a file or random weights."""
    model = build(spec, seed=seed)
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def write_checked(
    model: MobileNet,
    to: Path,
    *,
    seed: int,
    content: bytes,
    load: Callable[[Path], Run],
    precision: Precision = FP32,
    reference: Run | None = None,
) -> ExportReport:
    """Write a file, load it with `load`, compare it with the network and rename it to `to`.

    `reference` is the expected function of the file; None takes the network. A file whose content differs from
    `content` is not loaded.

    Raises:
        ExportError: the file cannot be written, or differs by more than the precision explains.
    """
    beside = to.with_name(f".{os.getpid()}-{to.name}")
    try:
        beside.write_bytes(content)
        if beside.read_bytes() != content:
            raise ExportError(f"{beside} differs from what was just written to it", hint="check the disk")
        found = difference(model, load(beside), seed=seed, precision=precision, reference=reference)
        size_bytes = beside.stat().st_size
        accept(found, precision, to)
        beside.replace(to)
    except OSError as error:
        raise ExportError(f"{to} cannot be written: {error.strerror or error}", hint="check the folder") from error
    finally:
        with contextlib.suppress(OSError):  # a read-only folder raises an error even if the file does not exist
            beside.unlink(missing_ok=True)
    calibrated = 0 if precision.images is None else len(precision.images)
    return ExportReport(
        path=to,
        size_bytes=size_bytes,
        tolerance=precision.accepted,
        precision=precision.kind,
        calibration_images=calibrated if precision.kind == "int8" else None,
        **found._asdict(),
    )


def accept(found: Difference, precision: Precision, to: Path) -> None:
    """Raise an ExportError if a difference is larger than the precision explains."""
    if precision.kind == "fp32" and not found.max_relative_difference <= precision.accepted:
        raise ExportError(
            f"the file written to {to} differs from the network by {found.max_relative_difference:.2g} of its "
            "largest output",
            hint=f"at most {precision.accepted:g} is accepted; the file was removed: report this with the spec",
        )
    if precision.kind != "fp32" and not found.rms_relative_difference <= precision.accepted:
        raise ExportError(
            f"in {precision.kind} the file written to {to} differs from the network by "
            f"{found.rms_relative_difference:.2g} of its outputs (root mean square)",
            hint=f"at most {precision.accepted:g} is accepted; the file was removed: calibrate on images like those "
            "of training (--calibration), or use fp32",
        )


def difference(
    model: MobileNet, run: Run, *, seed: int, precision: Precision = FP32, reference: Run | None = None
) -> Difference:
    """The difference between `run` and `model` on calibration images if there are any, else on random images."""
    expect: Run = model if reference is None else reference
    if precision.images is not None:
        batches = [torch.from_numpy(precision.images[:1]), torch.from_numpy(precision.images[1:MOST_COMPARED])]
    else:
        generator = torch.Generator().manual_seed(seed)
        batches = [torch.randn(count, 3, *model.spec.size, generator=generator) for count in BATCHES]
    largest = same = squares = all_squares = 0.0
    images, is_map, classes = 0, False, set[int]()
    for batch in batches:
        if not len(batch):
            continue
        with torch.no_grad():
            expected, found = expect(batch), run(batch)
        images += len(batch)
        if expected.shape != found.shape or not (expected.isfinite().all() and found.isfinite().all()):
            return Difference(float("inf"), float("inf"), None, images, None)
        missed = (expected - found).double()
        largest = max(largest, float(missed.abs().max()) / max(float(expected.abs().max()), SMALLEST_OUTPUT))
        squares += float((missed**2).sum())
        all_squares += float((expected.double() ** 2).sum())
        is_map = expected.ndim > 2
        if not is_map:
            same += float((expected.argmax(1) == found.argmax(1)).sum())
            classes |= set(expected.argmax(1).tolist())
    rms = (squares / max(all_squares, SMALLEST_OUTPUT**2)) ** 0.5
    if is_map:
        return Difference(largest, rms, None, images, None)
    return Difference(largest, rms, same / images, images, len(classes))
