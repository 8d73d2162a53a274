"""ImageNet top-1 estimated by arithmetic: the level from published results, the order at equal cost from a table.

With x = log(multiply-adds / 300 M) and r = log(resolution / 224 px), in logits of top-1:

    level     L(x, r) = c0 + c1 x + c2 x^2 + c3 r                  typical published network of that cost and side
    structure S       = b . (log body params, log activations, log blocks, large-kernel share, SE share,
                        unexpanded share)                          coefficients from 5,138 trained networks
    departure D       = S - (t0 + t1 x + t2 r)                     how far S is from the typical one
    estimate          = L + D

The coefficients, the intervals and the ranges they cover are in ``coefficients.json``, written and checked by
``benchmarks/imagenet_estimate.py``; ``docs/accuracy.md`` explains them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mnv2search.accuracy.types import Accuracy

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]

__all__ = [
    "Coefficients",
    "Features",
    "Gain",
    "coefficients",
    "estimate",
    "estimate_many",
    "gain",
    "ranking_bound",
    "ranking_bound_many",
]

MADDS_UNIT = 3e8
RESOLUTION_UNIT_PX = 224
DATASET = "imagenet-1k"
METRIC = "top1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the estimate knows of a network; `features_of` takes it from a plan.

    Attributes:
        madds: multiply-adds of one image, with a classifier of 1,000 classes whatever the network has.
        body_params: trainable parameters without the classifier.
        activations: elements of the outputs of all convolutions but those on pooled 1x1 maps.
        blocks: inverted residual or fused blocks.
        resolution: side of the input in px.
        large_kernel_share: share of the blocks whose kernel is 5 or more, 0 to 1.
        se_share: share of the blocks with squeeze-excite, 0 to 1.
        unexpanded_share: mean, over the stages after the first, of the share of blocks without expansion; a
            stage is a run of blocks of one output width.
        largest_kernel: in px.
        other_activation: an activation besides ReLU and ReLU6 is used.
        unusual: what else the tables have no example of, in words; empty mostly.
    """

    madds: float
    body_params: float
    activations: float
    blocks: int
    resolution: int
    large_kernel_share: float = 0.0
    se_share: float = 0.0
    unexpanded_share: float = 0.0
    largest_kernel: int = 3
    other_activation: bool = False
    unusual: str = ""


class Coefficients(NamedTuple):
    """The contents of ``coefficients.json``; logits unless said otherwise.

    Attributes:
        level: c0, c1, c2, c3.
        structure: b, in the order of the module's formula.
        typical: t0, t1, t2.
        level_x: range of x in which the level's curve is used; it goes on as a straight line outside.
        half_width: of the estimate's 90 % interval.
        gain_shrink: what share of an estimated difference in structure is found in truth.
        gain_half_width: of the 90 % interval of a difference between two networks of one resolution.
        gain_per_log_side: what a difference in resolution adds to it, in quadrature, per log of the ratio of sides.
        outside_per_log: by how much half-widths grow per log of the distance to a covered range.
        ranges: lowest and highest value of each feature, and of the departure, that the tables cover.
    """

    level: tuple[float, float, float, float]
    structure: tuple[float, float, float, float, float, float]
    typical: tuple[float, float, float]
    level_x: tuple[float, float]
    half_width: float
    gain_shrink: float
    gain_half_width: float
    gain_per_log_side: float
    outside_per_log: float
    ranges: Mapping[str, tuple[float, float]]


class Gain(NamedTuple):
    """An estimated difference of two networks' accuracies, 0 to 1, with its 90 % interval."""

    value: float
    low: float
    high: float


@cache
def coefficients() -> Coefficients:
    """The coefficients that ship with the package."""
    raw: dict[str, Any] = json.loads(
        files("mnv2search.accuracy").joinpath("coefficients.json").read_text(encoding="utf-8")
    )
    ranges = {name: (float(low), float(high)) for name, (low, high) in raw.pop("ranges").items()}
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else float(v) for name, v in raw.items()}
    return Coefficients(ranges=ranges, **values)


def estimate(features: Features) -> Accuracy:
    """The estimated ImageNet top-1 after a standard training, with its 90 % interval.

    >>> mobilenet_v2 = Features(
    ...     madds=300_774_272, body_params=2_223_872, activations=6_678_112, blocks=17, resolution=224
    ... )
    >>> round(estimate(mobilenet_v2).value, 3)
    0.726
    """
    c = coefficients()
    level, departure = _parts(features, c)
    logit, half = level + departure, c.half_width + _outside(features, departure, c)
    low = level + _trusted(departure, c) - half
    notes = (*(f"extrapolates: {text}" for text in extrapolations(features)), *_remarks(features))
    return Accuracy(
        value=_share(logit),
        low=_share(low),
        high=_share(logit + half),
        metric=METRIC,
        kind="estimated",
        dataset=DATASET,
        note="; ".join(notes),
    )


def gain(candidate: Features, baseline: Features) -> Gain:
    """How much more accurate `candidate` is than `baseline` after the same training, with its 90 % interval.

    The two estimates share the unknown recipe, so this interval is narrower than the difference of two
    independent ones. The part of the difference that comes from structure is shrunk by what such differences
    turned out to be worth.
    """
    if candidate == baseline:
        return Gain(0.0, 0.0, 0.0)
    c = coefficients()
    level, departure = _parts(candidate, c)
    base_level, base_departure = _parts(baseline, c)
    start = base_level + base_departure
    delta = level - base_level + c.gain_shrink * (departure - base_departure)
    half = math.hypot(c.gain_half_width, c.gain_per_log_side * math.log(candidate.resolution / baseline.resolution))
    half += _outside(candidate, departure, c) + _outside(baseline, base_departure, c)
    return Gain(*(_share(start + d) - _share(start) for d in (delta, delta - half, delta + half)))


def ranking_bound(features: Features) -> float:
    """The lower end of the interval of `estimate`: what a search maximises.

    There a favourable structure counts as in `gain`, by what such differences turned out to be worth, and no further
    than the tables go; an unfavourable one counts in full.
    """
    c = coefficients()
    level, departure = _parts(features, c)
    return _share(level + _trusted(departure, c) - c.half_width - _outside(features, departure, c))


def estimate_many(features: Sequence[Features] | Mapping[str, Array]) -> Array:
    """The values of `estimate` for many networks.

    Args:
        features: networks, or one array of shape `(N,)` per numeric field of `Features`.
    """
    import numpy as np

    level, departure, _ = _parts_many(features, coefficients())
    return np.asarray(1.0 / (1.0 + np.exp(-(level + departure))))


def ranking_bound_many(features: Sequence[Features] | Mapping[str, Array]) -> Array:
    """The values of `ranking_bound` for many networks; arguments as of `estimate_many`.

    Given arrays, what makes a network `unusual` cannot be seen: leave such networks out.
    """
    import numpy as np

    c = coefficients()
    level, departure, columns = _parts_many(features, c)
    low, high = c.ranges["departure"]
    outside = np.maximum(0.0, np.maximum(low - departure, departure - high))
    for name in _RANGED:
        logs = np.log(columns[name])
        low, high = (math.log(end) for end in c.ranges[name])
        outside += c.outside_per_log * np.maximum(0.0, np.maximum(low - logs, logs - high))
    if not isinstance(features, Mapping):
        outside += c.half_width * np.array([bool(f.unusual) for f in features], dtype=float)
    kept = np.minimum(departure, c.gain_shrink * np.clip(departure, *c.ranges["departure"]))
    return np.asarray(1.0 / (1.0 + np.exp(-(level + kept - c.half_width - outside))))


def extrapolations(features: Features) -> tuple[str, ...]:
    """In words, every covered range that a network leaves."""
    c = coefficients()
    found = []
    for name in (*_RANGED, "departure"):
        value = _parts(features, c)[1] if name == "departure" else float(getattr(features, name))
        low, high = c.ranges[name]
        if not low <= value <= high:
            noun, number, unit = _WORDS[name]
            said = noun.format(number.format(value / unit))
            found.append(
                f"{said} is {'below' if value < low else 'above'} {number.format(min(max(value, low), high) / unit)}"
            )
    largest = c.ranges["largest_kernel"][1]
    if features.largest_kernel > largest:
        found.append(f"kernel {features.largest_kernel} is above {largest:.0f} and counts as {largest:.0f}")
    if features.unusual:
        found.append(features.unusual)
    return tuple(found)


_RANGED = ("madds", "body_params", "activations", "blocks", "resolution")
# How a feature is named and how its values are written.
_WORDS = {
    "madds": ("{} multiply-adds", "{:.0f} M", 1e6),
    "body_params": ("{} body parameters", "{:.2f} M", 1e6),
    "activations": ("{} activations", "{:.2f} M", 1e6),
    "blocks": ("{} blocks", "{:.0f}", 1),
    "resolution": ("resolution {}", "{:.0f} px", 1),
    "departure": ("a departure of {} from the typical structure at this cost", "{:+.3f}", 1),
}
_NUMERIC = tuple(f.name for f in fields(Features) if f.name not in ("largest_kernel", "other_activation", "unusual"))


def _remarks(features: Features) -> tuple[str, ...]:
    """What the interval does not say, though no range is left."""
    remarks = []
    if features.se_share > 0:
        remarks.append("squeeze-excite: its effect comes from a shortened training alone")
    if features.other_activation:
        remarks.append("activations other than ReLU6 are taken for ReLU6")
    return tuple(remarks)


def _parts(features: Features, c: Coefficients) -> tuple[float, float]:
    """Level and departure in logits."""
    x = math.log(features.madds / MADDS_UNIT)
    r = math.log(features.resolution / RESOLUTION_UNIT_PX)
    inside = min(max(x, c.level_x[0]), c.level_x[1])
    slope = max(0.0, c.level[1] + 2 * c.level[2] * inside)
    level = c.level[0] + c.level[1] * inside + c.level[2] * inside**2 + slope * (x - inside) + c.level[3] * r
    structure = (
        c.structure[0] * math.log(features.body_params)
        + c.structure[1] * math.log(features.activations)
        + c.structure[2] * math.log(features.blocks)
        + c.structure[3] * features.large_kernel_share
        + c.structure[4] * features.se_share
        + c.structure[5] * features.unexpanded_share
    )
    return level, structure - (c.typical[0] + c.typical[1] * x + c.typical[2] * r)


def _parts_many(
    features: Sequence[Features] | Mapping[str, Array], c: Coefficients
) -> tuple[Array, Array, Mapping[str, Array]]:
    import numpy as np

    if isinstance(features, Mapping):
        columns = features
    else:
        table = np.array([[getattr(f, name) for name in _NUMERIC] for f in features], dtype=float)
        columns = {name: table.reshape(-1, len(_NUMERIC))[:, i] for i, name in enumerate(_NUMERIC)}
    x = np.log(columns["madds"] / MADDS_UNIT)
    r = np.log(columns["resolution"] / RESOLUTION_UNIT_PX)
    inside = np.clip(x, *c.level_x)
    slope = np.maximum(0.0, c.level[1] + 2 * c.level[2] * inside)
    level = c.level[0] + c.level[1] * inside + c.level[2] * inside**2 + slope * (x - inside) + c.level[3] * r
    structure = sum(
        weight * np.log(columns[name])
        for weight, name in zip(c.structure, ("body_params", "activations", "blocks"), strict=False)
    ) + sum(
        weight * columns[name]
        for weight, name in zip(c.structure[3:], ("large_kernel_share", "se_share", "unexpanded_share"), strict=True)
    )
    return level, structure - (c.typical[0] + c.typical[1] * x + c.typical[2] * r), columns


def _outside(features: Features, departure: float, c: Coefficients) -> float:
    """What leaving the covered ranges adds to a half-width.

    Kernels above 5 add nothing: they count as 5, and the published networks that have them are estimated no worse.
    What makes a network unusual doubles the half-width; that factor is a caution and not measured.
    """
    low, high = c.ranges["departure"]
    added = max(0.0, low - departure, departure - high)
    for name in _RANGED:
        value, (low, high) = float(getattr(features, name)), c.ranges[name]
        if not low <= value <= high:
            added += c.outside_per_log * max(math.log(low / value), math.log(value / high))
    return added + c.half_width * bool(features.unusual)


def _trusted(departure: float, c: Coefficients) -> float:
    """The part of a departure that a pessimist believes."""
    low, high = c.ranges["departure"]
    return min(departure, c.gain_shrink * min(max(departure, low), high))


def _share(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
