"""ImageNet top-1 estimated by arithmetic, from a regression on published results and on random trainings.

The estimate is in logits of top-1. x is log(multiply-adds / 300 M), l is log(resolution / 224 px), and p and d are
the deviations of log body parameters and log blocks from those of a typical network of the same cost and resolution:

    estimate = w . (1, (1 - exp(-g x)) / g, l, l^2, l x, p, p^2, d, d^2,
                    large-kernel share, SE share, u + u^2)           u: unexpanded share

The coefficients w, their covariance, and the standard deviations of recipes and of single results are in
``coefficients.json``, which ``benchmarks/imagenet_estimate.py`` writes and checks. See
``docs/explanation/imagenet-estimate.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mnv2search.accuracy.types import Accuracy
from mnv2search.untrusted import json_as

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
    Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]


MADDS_UNIT = 3e8
RESOLUTION_UNIT_PX = 224
DATASET = "imagenet-1k"
METRIC = "top1"
# 90 % of a normal distribution lies within this many standard deviations of the mean.
Z_90 = 1.6448536
# About one point at 75 %: a precaution, not a measurement, where the tables have no example.
UNUSUAL_HALF_WIDTH = 0.053
TERMS = (
    "level",
    "cost",
    "log side",
    "log side squared",
    "log side x",
    "p",
    "p squared",
    "d",
    "d squared",
    "large kernels",
    "squeeze-excite",
    "unexpanded",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the estimate knows of a network; `features_of` takes it from a plan.

    Attributes:
        madds: multiply-adds of one image, with a classifier of 1,000 classes whatever the network has.
        body_params: trainable parameters without the classifier.
        blocks: inverted residual or fused blocks.
        resolution: side of the input in px.
        large_kernel_share: share of the blocks whose kernel is 5 or more, 0 to 1.
        se_share: share of the blocks with squeeze-excite, 0 to 1.
        unexpanded_share: mean, over the stages after the first, of the share of blocks without expansion; a
            stage is a run of blocks of one output width.
        other_activation: an activation besides ReLU and ReLU6 is used.
        unusual: other properties without an example in the tables, in words, or empty.
    """

    madds: float
    body_params: float
    blocks: float
    resolution: float
    large_kernel_share: float = 0.0
    se_share: float = 0.0
    unexpanded_share: float = 0.0
    largest_kernel: int = 3
    other_activation: bool = False
    unusual: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """The contents of ``coefficients.json``; logits unless said otherwise.

    Attributes:
        mean: w, in the order of `TERMS`.
        covariance: of w, for a new recipe and a new family of networks.
        curvature: g.
        recipe_sd: standard deviation of the intercept between recipes.
        noise_sd: standard deviation of a single result within its recipe.
        typical_params: log body parameters of a typical network: constant, per x, per l.
        typical_blocks: log blocks of a typical network, in the same form.
        covered_sd: 95th percentile, over the published networks, of the standard deviation of the difference between
            a network and the typical network of its cost.
        ranges: lowest and highest value of each feature in the tables.
    """

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    curvature: float
    recipe_sd: float
    noise_sd: float
    typical_params: tuple[float, float, float]
    typical_blocks: tuple[float, float, float]
    covered_sd: float
    ranges: Mapping[str, tuple[float, float]]


class Gain(NamedTuple):
    """An estimated difference of two networks' accuracies, 0 to 1, with its 90 % interval."""

    value: float
    low: float
    high: float


@cache
def coefficients() -> Coefficients:
    """The coefficients that ship with the package."""
    return json_as(Coefficients, files("mnv2search.accuracy").joinpath("coefficients.json").read_bytes())


def estimate(features: Features) -> Accuracy:
    """The estimated ImageNet top-1 after a standard training, with its 90 % interval.

    The half-width is that of a typical network of the same cost (from recipe and noise) plus that of the difference
    between the two networks. The two are added, not combined in quadrature, because a search tends to pick networks
    for which both errors are large.

    >>> mobilenet_v2 = Features(madds=300_774_272, body_params=2_223_872, blocks=17, resolution=224)
    >>> round(estimate(mobilenet_v2).value, 2)
    0.72
    """
    c = coefficients()
    own, typical = _terms(features, c), _typical_terms(features.madds, c)
    logit = _dot(c.mean, own)
    half = Z_90 * (_typical_sd(typical, c) + _sd(_minus(own, typical), c)) + _caution(features)
    notes = [f"the estimate extrapolates: {text}" for text in extrapolations(features)]
    if features.other_activation:
        notes.append("activations other than ReLU6 are treated as ReLU6")
    return Accuracy(
        value=_share(logit),
        low=_share(logit - half),
        high=_share(logit + half),
        metric=METRIC,
        kind="estimated",
        dataset=DATASET,
        note="; ".join(notes),
    )


def gain(candidate: Features, baseline: Features) -> Gain:
    """How much more accurate `candidate` is than `baseline` after the same training, with its 90 % interval.

    The unknown recipe cancels, so this interval is narrower than that of the difference of two independent estimates.
    It grows with the distance between the two networks, over all features together.
    """
    if candidate == baseline:
        return Gain(0.0, 0.0, 0.0)
    c = coefficients()
    own, other = _terms(candidate, c), _terms(baseline, c)
    difference = _minus(own, other)
    start, delta = _dot(c.mean, other), _dot(c.mean, difference)
    half = Z_90 * math.sqrt(_sd(difference, c) ** 2 + 2 * c.noise_sd**2) + _caution(candidate) + _caution(baseline)
    return Gain(*(_share(start + d) - _share(start) for d in (delta, delta - half, delta + half)))


def ranking_bound(features: Features) -> float:
    """The lower end of the interval of `estimate`: what a search maximises."""
    return estimate(features).low


def departures(features: Features) -> tuple[float, float]:
    """The ratios of body parameters and of blocks to those of a typical network of the same cost and resolution."""
    own = _terms(features, coefficients())
    return math.exp(own[5]), math.exp(own[7])


def estimate_many(features: Sequence[Features] | Mapping[str, Array]) -> Array:
    """The values of `estimate` for many networks.

    Args:
        features: networks, or one array of shape `(N,)` per numeric field of `Features`.
    """
    import numpy as np

    c = coefficients()
    logits = terms_many(_columns(features), c) @ np.array(c.mean)
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def ranking_bound_many(features: Sequence[Features] | Mapping[str, Array]) -> Array:
    """The values of `ranking_bound` for many networks; arguments as of `estimate_many`.

    Given arrays, what makes a network `unusual` cannot be seen: leave such networks out.
    """
    import numpy as np

    c = coefficients()
    columns = _columns(features)
    own = terms_many(columns, c)
    mean, covariance = np.array(c.mean), np.array(c.covariance)
    typical = _typical_many(columns["madds"], c)

    def variance(rows: Matrix) -> Array:
        return np.asarray(np.maximum(0.0, ((rows @ covariance) * rows).sum(axis=1)))

    at_cost = np.sqrt(c.recipe_sd**2 + c.noise_sd**2 + variance(typical))
    logits = own @ mean - Z_90 * (at_cost + np.sqrt(variance(own - typical)))
    if not isinstance(features, Mapping):
        logits = logits - np.array([_caution(f) for f in features])
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def terms_many(features: Mapping[str, Array], c: Coefficients) -> Matrix:
    """The terms of the formula, (N, terms)."""
    import numpy as np

    x = np.log(features["madds"] / MADDS_UNIT)
    side = np.log(features["resolution"] / RESOLUTION_UNIT_PX)
    p = np.log(features["body_params"]) - (c.typical_params[0] + c.typical_params[1] * x + c.typical_params[2] * side)
    d = np.log(features["blocks"]) - (c.typical_blocks[0] + c.typical_blocks[1] * x + c.typical_blocks[2] * side)
    unexpanded = features["unexpanded_share"]
    return np.stack(
        [
            np.ones_like(x),
            -np.expm1(-c.curvature * x) / c.curvature,
            side,
            side * side,
            side * x,
            p,
            p * p,
            d,
            d * d,
            np.asarray(features["large_kernel_share"]),
            np.asarray(features["se_share"]),
            unexpanded + unexpanded**2,
        ],
        axis=1,
    )


def extrapolations(features: Features) -> tuple[str, ...]:
    """Descriptions of the ways in which a network lies outside the published ones."""
    c = coefficients()
    found = []
    params_ratio, blocks_ratio = departures(features)
    values = {"madds": features.madds, "resolution": features.resolution}
    values |= {"params_ratio": params_ratio, "blocks_ratio": blocks_ratio}
    for name, value in values.items():
        low, high = c.ranges[name]
        if not low <= value <= high:
            noun, number, unit = _WORDS[name]
            said = noun.format(number.format(value / unit))
            nearest = number.format(min(max(value, low), high) / unit)
            found.append(f"{said} (the data {'begin' if value < low else 'end'} at {nearest})")
    far = _sd(_minus(_terms(features, c), _typical_terms(features.madds, c)), c) > c.covered_sd
    if far and not found:
        found.append("farther from typical networks, in all dimensions together, than 95 % of the published ones")
    largest = c.ranges["largest_kernel"][1]
    if features.largest_kernel > largest:
        found.append(f"kernel {features.largest_kernel}, above {largest:.0f}, counts as {largest:.0f}")
    if features.unusual:
        found.append(features.unusual)
    return tuple(found)


# How a feature is named and how its values are written.
_WORDS = {
    "madds": ("{} multiply-adds", "{:.4g} M", 1e6),
    "resolution": ("resolution {}", "{:.0f} px", 1),
    "params_ratio": ("{} the body parameters of a typical network of this cost", "{:.2f} x", 1),
    "blocks_ratio": ("{} the blocks of a typical network of this cost", "{:.2f} x", 1),
}
_NUMERIC = tuple(f.name for f in fields(Features) if f.name not in ("largest_kernel", "other_activation", "unusual"))


def _terms(features: Features, c: Coefficients) -> tuple[float, ...]:
    """The terms of the formula for one network."""
    x = math.log(features.madds / MADDS_UNIT)
    side = math.log(features.resolution / RESOLUTION_UNIT_PX)
    p = math.log(features.body_params) - _dot(c.typical_params, (1.0, x, side))
    d = math.log(features.blocks) - _dot(c.typical_blocks, (1.0, x, side))
    u = features.unexpanded_share
    cost = -math.expm1(-c.curvature * x) / c.curvature
    shares = (features.large_kernel_share, features.se_share, u + u * u)
    return (1.0, cost, side, side * side, side * x, p, p * p, d, d * d, *shares)


def _best_side(x: float, c: Coefficients) -> float:
    """The best resolution for a cost, within the published range, as log(resolution / 224 px)."""
    low, high = (math.log(end / RESOLUTION_UNIT_PX) for end in c.ranges["resolution"])
    return min(max(-(c.mean[2] + c.mean[4] * x) / (2 * c.mean[3]), low), high)


def _typical_terms(madds: float, c: Coefficients) -> tuple[float, ...]:
    """The terms of the typical network of a cost, at its best resolution."""
    x = math.log(madds / MADDS_UNIT)
    side = _best_side(x, c)
    cost = -math.expm1(-c.curvature * x) / c.curvature
    return (1.0, cost, side, side * side, side * x, *(0.0,) * (len(TERMS) - 5))


def _typical_many(madds: Array, c: Coefficients) -> Matrix:
    import numpy as np

    x = np.log(madds / MADDS_UNIT)
    low, high = (math.log(end / RESOLUTION_UNIT_PX) for end in c.ranges["resolution"])
    side = np.clip(-(c.mean[2] + c.mean[4] * x) / (2 * c.mean[3]), low, high)
    found = np.zeros((len(x), len(TERMS)))
    found[:, 0], found[:, 1] = 1.0, -np.expm1(-c.curvature * x) / c.curvature
    found[:, 2], found[:, 3], found[:, 4] = side, side * side, side * x
    return found


def _typical_sd(typical: tuple[float, ...], c: Coefficients) -> float:
    """Standard deviation of a typical network's estimate: recipe, noise and the uncertainty of the coefficients."""
    return math.sqrt(c.recipe_sd**2 + c.noise_sd**2 + _sd(typical, c) ** 2)


def _caution(features: Features) -> float:
    """The margin added to the half-width of an unusual network, in logits."""
    return UNUSUAL_HALF_WIDTH if features.unusual else 0.0


def _sd(terms: tuple[float, ...], c: Coefficients) -> float:
    return math.sqrt(max(0.0, sum(t * _dot(row, terms) for t, row in zip(terms, c.covariance, strict=True) if t)))


def _columns(features: Sequence[Features] | Mapping[str, Array]) -> Mapping[str, Array]:
    import numpy as np

    if isinstance(features, Mapping):
        return features
    table = np.array([[getattr(f, name) for name in _NUMERIC] for f in features], dtype=float)
    return {name: table.reshape(-1, len(_NUMERIC))[:, i] for i, name in enumerate(_NUMERIC)}


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _minus(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _share(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
