"""Reduced width and resolution for training if the time is short (proxy scale)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mnv2search.cost import cost_of
from mnv2search.errors import SpecError
from mnv2search.spec.model_spec import ModelSpec, square_side
from mnv2search.spec.plan import plan

# Resolutions are rounded to a multiple of this in px.
SIDE_STEP = 8
# Below this width, channels are rounded up to 8 in so many layers that different widths become equal.
LEAST_WIDTH = 0.25
# Smallest side of the last feature map in px; below, kernels see little but padding.
LEAST_LAST_PX = 2


class Fidelity(NamedTuple):
    """Factors of a network's width and resolution during training."""

    width: float = 1.0
    resolution: float = 1.0

    @property
    def is_full(self) -> bool:
        """Whether networks keep their width and resolution."""
        return self.width == 1 and self.resolution == 1

    def __str__(self) -> str:
        return "full size" if self.is_full else f"width x {self.width:g}, resolution x {self.resolution:g}"


# In descending order; a reduced resolution changes the ranking of networks less than a reduced width.
FIDELITIES: tuple[Fidelity, ...] = (
    Fidelity(),
    Fidelity(1.0, 0.75),
    Fidelity(0.75, 0.75),
    Fidelity(1.0, 0.5),
    Fidelity(0.75, 0.5),
    Fidelity(0.5, 0.5),
    Fidelity(0.35, 0.5),
    Fidelity(0.25, 0.5),
)


# For inherited weights: a quarter of a trained network's channels is worth no more than random ones.
WHOLE_WIDTHS: tuple[Fidelity, ...] = (Fidelity(), Fidelity(1.0, 0.75), Fidelity(1.0, 0.5))


class Choice(NamedTuple):
    """A fidelity, and the number of images that a training at this fidelity is expected to see."""

    fidelity: Fidelity
    images: float


def reduced(spec: ModelSpec, fidelity: Fidelity) -> ModelSpec:
    """The network at a fidelity; a reduced fidelity requires square inputs.

    >>> from mnv2search.spec.yaml.codec import load_spec
    >>> small = reduced(load_spec("mobilenet_v2_1.0_224"), Fidelity(0.5, 0.5))
    >>> small.width, small.resolution
    (0.5, 112)

    Raises:
        OptionError: the input is not a square.
    """
    if fidelity.is_full:
        return spec
    side = square_side(spec)
    if fidelity.resolution != 1:
        stride = max(1, side // plan(spec).features[-1].size_out.height)
        step = SIDE_STEP if side * fidelity.resolution >= 2 * SIDE_STEP else 1
        side = max(round(side * fidelity.resolution / step) * step, min(side, LEAST_LAST_PX * stride))
    return replace(spec, width=spec.width * fidelity.width, resolution=side)


def choose_fidelity(
    networks: Sequence[ModelSpec],
    *,
    time_s: float,
    madds_per_s: float,
    images: int,
    passes: float,
    fidelities: Sequence[Fidelity] = FIDELITIES,
) -> Choice:
    """Choose the highest fidelity at which a training of `time_s` sees enough images, or else the lowest.

    `fidelities` are in descending order, `madds_per_s` counts forward multiply-adds, and `passes` is the average
    number of networks that see an image. No network is reduced below a width of 0.25.
    """
    found = Choice(fidelities[0], 0.0)
    narrowest = min(spec.width for spec in networks)
    for fidelity in fidelities:
        if fidelity.width < 1 and narrowest * fidelity.width < LEAST_WIDTH:
            continue
        try:
            madds = sum(cost_of(reduced(spec, fidelity)).madds for spec in networks) / len(networks)
        except SpecError:
            continue  # too narrow, or the feature map is too small
        found = Choice(fidelity, time_s * madds_per_s / (madds * passes))
        if found.images >= images:
            break
    return found
