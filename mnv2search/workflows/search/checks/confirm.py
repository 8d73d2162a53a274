"""Compare measured networks with files of the runtime's own converter, in output and speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import DeviceError
from mnv2search.latency.device_text import SEPARATOR
from mnv2search.latency.measuring.estimate import LEVEL_QUANTILE, quantile
from mnv2search.latency.registry import open_device
from mnv2search.latency.remote.native import NativeDevice
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo, LatencyDevice
from mnv2search.lowering.types import Artifact
from mnv2search.results.checks import CONFIRMATION, EQUAL_SPEED, Confirmation, write_confirmations
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

if TYPE_CHECKING:
    from mnv2search.model.build import MobileNet


# Largest accepted RMS difference from the output of the PyTorch network, relative to the RMS of that output.
# Rounding in single precision stays below 1e-5; 8-bit weights and activations cause errors of some percent in a
# network with arbitrary weights.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 5e-2, "int8": 0.35}
ROUNDS = 12
BURST_MS = 25.0
WARM_MS = 5.0
MIN_RUNS = 3


@runtime_checkable
class ArtifactDevice(Protocol):
    """A device that runs given artifacts."""

    @property
    def info(self) -> DeviceInfo:
        """Description of the device."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Runtime for which the artifacts are made."""
        ...

    def output(self, artifact: Artifact, spec: ModelSpec) -> NDArray[np.float32]:
        """Output of an artifact for the fixed image."""
        ...

    def time_artifacts(self, bursts: Sequence[tuple[Artifact, BurstRequest]]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of each run, by burst, in the given order."""
        ...


def can_confirm(device: LatencyDevice) -> bool:
    """Whether the device runs artifacts, and its runtime has a converter to compare with."""
    return isinstance(device, ArtifactDevice) and type(device.runtime).convert is not Runtime.convert


def confirm(
    device: LatencyDevice, specs: Sequence[ModelSpec], *, on_progress: Callable[[int], None] = lambda _: None
) -> tuple[Confirmation, ...]:
    """Compare our artifact of each network with that of the runtime's converter, in output and speed on the device.

    `on_progress` is called after every network with the number of finished networks.
    """
    if not isinstance(device, ArtifactDevice):
        raise DeviceError(f"device {device.info.name} runs no artifacts: there is no converter to compare with")
    found: list[Confirmation] = []
    for spec in specs:
        found.append(_confirmed(device, spec))
        on_progress(len(found))
    return tuple(found)


def confirm_front(
    folder: Path,
    specs: Sequence[ModelSpec],
    *,
    device: str,
    on_begin: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[Confirmation, ...] | None:
    """Confirm the front of a run and write `confirmation.json` into its folder; None if there is no converter.

    `on_begin` is called with the converter before the first network, since a comparison takes long.

    Raises:
        DeviceError: the converter is missing, or the converter or the device refuses a network.
        RecordError: the file cannot be written.
    """
    # the devices of a pool are alike, so the first is enough
    with open_device(device.split(SEPARATOR, maxsplit=1)[0]) as opened:
        if isinstance(opened, NativeDevice):
            raise DeviceError(
                "a benchmark program does not return the outputs of a network",
                hint="use python=PATH instead of binary=PATH",
            )
        if not isinstance(opened, ArtifactDevice) or not can_confirm(opened):
            return None
        on_begin(opened.runtime.converter)
        found = confirm(opened, specs, on_progress=on_progress)
    write_confirmations(folder / CONFIRMATION, found)
    return found


def confirmation_line(confirmations: Sequence[Confirmation]) -> str:
    """Summary of the comparison of all networks, in one line.

    Raises:
        ValueError: there are no confirmations.
    """
    agree = sum(c.answers_agree and c.speeds_agree for c in confirmations)
    worst = max(max(c.difference, c.converter_difference) for c in confirmations)
    ratios = [c.ratio for c in confirmations]
    return (
        f"{agree} of {len(confirmations)} agree with the files of {confirmations[0].converter}: outputs (largest "
        f"difference from PyTorch {worst:.2g}, relative) and latency (ratio {min(ratios):.3f} to {max(ratios):.3f})"
    )


def disagreements(confirmations: Sequence[Confirmation]) -> Iterator[str]:
    """A line for each disagreement, with the difference and the accepted difference."""
    for one in confirmations:
        if not one.answers_agree:
            yield (
                f"{one.name} differs in its outputs: relative difference from PyTorch {one.difference:.2g} in our "
                f"file, {one.converter_difference:.2g} in that of the converter; {one.tolerance:g} is accepted"
            )
        if not one.speeds_agree:
            yield (
                f"{one.name} differs in latency: our file takes {one.ratio:.3f} ± {one.ratio_half_width:.3f} times "
                f"as long as that of the converter; 1 ± {max(EQUAL_SPEED, one.ratio_half_width):.3f} is accepted"
            )


def _confirmed(device: ArtifactDevice, spec: ModelSpec) -> Confirmation:
    from mnv2search.export.arrays import layer_arrays, set_arbitrary
    from mnv2search.model.build import build

    network, runtime = plan(spec), device.runtime
    model = build(spec, seed=0).eval()
    set_arbitrary(model)
    ours = runtime.lower(network, layer_arrays(model))
    theirs = runtime.convert(network, model)
    expected = _answer(model, runtime.batch)
    ratio, half_width = _ratio(device, spec, ours, theirs)
    return Confirmation(
        name=spec.name,
        converter=runtime.converter,
        difference=_difference(expected, device.output(ours, spec)),
        converter_difference=_difference(expected, device.output(theirs, spec)),
        tolerance=TOLERANCE[runtime.precision],
        ratio=ratio,
        ratio_half_width=half_width,
    )


def _answer(model: MobileNet, batch: int) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        answer = model(torch.from_numpy(image(batch, model.spec.resolution)))
    return np.asarray(answer.numpy(), np.float32)


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if expected.size != found.size or not np.isfinite(found).all():
        return math.inf
    gap = found.reshape(expected.shape).astype(np.float64) - expected
    return float(np.sqrt(np.mean(gap**2)) / max(float(np.sqrt(np.mean(expected.astype(np.float64) ** 2))), 1e-30))


def _ratio(device: ArtifactDevice, spec: ModelSpec, ours: Artifact, theirs: Artifact) -> tuple[float, float]:
    """Latency ratio of two artifacts from alternating bursts, and the half-width of its 95 % interval."""
    by_cpu = device.info.threads == 1
    both = [(artifact, BurstRequest(spec, BURST_MS, WARM_MS, MIN_RUNS)) for artifact in (ours, theirs)]
    bursts = device.time_artifacts(both * ROUNDS)
    levels = [quantile([(cpu if by_cpu else wall) for wall, cpu in runs], LEVEL_QUANTILE) for runs in bursts]
    logs = sorted(math.log(a / b) for a, b in zip(levels[::2], levels[1::2], strict=True))
    cut = len(logs) // 5
    kept = logs[cut : len(logs) - cut]
    mean = sum(kept) / len(kept)
    spread = math.sqrt(sum((x - mean) ** 2 for x in kept) / (len(kept) - 1))
    # the trimmed part has about three fifths of the scatter, so the interval is widened to make up for it
    return math.exp(mean), 2.0 * 1.6 * spread / math.sqrt(len(kept))
