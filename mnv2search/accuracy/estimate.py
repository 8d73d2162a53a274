"""Estimate ImageNet top-1 by a regression on published results and on trainings of random networks.

The estimate is in logits of top-1. x is log(multiply-adds / 300 M), l is log(resolution / 224 px), and p and d are
the deviations of log body parameters and log blocks from those of a typical network of the same cost and resolution:

    estimate = w . (1, (1 - exp(-g x)) / g, l, l^2, l x, p, p^2, d, d^2,
                    large-kernel share, SE share, u + u^2)           u: unexpanded share

The coefficients w, their covariance, and the standard deviations of recipes and of single results are in
``coefficients.json``, which ``benchmarks/imagenet_estimate.py`` writes and checks. See
``docs/explanation/imagenet-estimate.md``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import msgspec
import numpy as np

from mnv2search.accuracy.types import Accuracy
from mnv2search.tasks.metrics import Difference
from mnv2search.untrusted import json_as

Array: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Networks: TypeAlias = "Sequence[Features] | Mapping[str, Array]"
"""Networks, or one array of shape `(N,)` for each numeric field of `Features`."""


MADDS_UNIT = 3e8
RESOLUTION_UNIT_PX = 224
DATASET = "imagenet-1k"
METRIC = "top1"
# 90 % of a normal distribution lies within this many standard deviations of the mean.
Z_90 = 1.6448536
# About one point at 75 %: a precaution, not a measurement, for properties without an example in the tables.
UNUSUAL_HALF_WIDTH = 0.053
# In the order of `Coefficients.mean`.
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
    """Properties of a network that the estimate depends on; `features_of` computes them from a plan.

    Attributes:
        madds: multiply-adds for one image, with a classifier of 1,000 classes instead of the network's head.
        body_params: trainable parameters without the classifier.
        resolution: side of the input in px.
        se_share: share of the blocks with squeeze-excite, 0 to 1.
        unexpanded_share: share of blocks without expansion, averaged over the runs of blocks with the same number of
            output channels, without the first run.
        unusual: description of other properties without an example in the tables, or empty.
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
    """The contents of ``coefficients.json``, in logits unless stated otherwise.

    Attributes:
        mean: w, in the order of `TERMS`.
        covariance: covariance of w, for a new recipe and a new family of networks.
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


@cache
def coefficients() -> Coefficients:
    """The coefficients that ship with the package."""
    return json_as(Coefficients, files("mnv2search.accuracy").joinpath("coefficients.json").read_bytes())


def estimate(features: Features) -> Accuracy:
    """Estimate ImageNet top-1 after a standard training, with its 90 % interval.

    The half-width is the sum of two: that of a typical network of the same cost (from recipe and noise), and that of
    the difference from the typical network. They are added, not combined in quadrature, because a search tends to
    pick networks for which both errors are large.

    >>> mobilenet_v2 = Features(madds=300_774_272, body_params=2_223_872, blocks=17, resolution=224)
    >>> round(estimate(mobilenet_v2).value, 2)
    0.72
    """
    logits, halves = _intervals([features], coefficients())
    logit, half = float(logits[0]), float(halves[0])
    notes = [f"the estimate extrapolates: {text}" for text in extrapolations(features)]
    if features.other_activation:
        notes.append("activations other than ReLU6 are treated as ReLU6")
    value, low, high = (_share(logit + distance) for distance in (0.0, -half, half))
    note = "; ".join(notes)
    return Accuracy(value=value, low=low, high=high, metric=METRIC, kind="estimated", dataset=DATASET, note=note)


def gain(candidate: Features, baseline: Features) -> Difference:
    """Estimate the gain in accuracy of `candidate` over `baseline` after the same training, with its 90 % interval.

    The unknown recipe cancels, so the interval is narrower than that of the difference of two independent estimates.
    It widens with the distance between the two networks in all features.
    """
    if candidate == baseline:
        return Difference(0.0, 0.0, 0.0)
    c = coefficients()
    own, other = terms_many(_columns([candidate, baseline]), c)
    start, delta = (float(terms @ np.array(c.mean)) for terms in (other, own - other))
    sd = float(_sd((own - other)[None], c)[0])
    half = Z_90 * math.sqrt(sd**2 + 2 * c.noise_sd**2) + _caution(candidate) + _caution(baseline)
    return Difference(*(_share(start + d) - _share(start) for d in (delta, delta - half, delta + half)))


def departures(features: Features) -> tuple[float, float]:
    """The ratios of body parameters and of blocks to those of a typical network of the same cost and resolution."""
    own = terms_many(_columns([features]), coefficients())[0]
    return math.exp(own[TERMS.index("p")]), math.exp(own[TERMS.index("d")])


def estimate_many(features: Networks) -> Array:
    """The values of `estimate` for many networks, (N,)."""
    return np.asarray(1.0 / (1.0 + np.exp(-_intervals(features, coefficients())[0])))


def ranking_bound_many(features: Networks) -> Array:
    """The lower ends of the intervals of `estimate` for many networks, (N,), which a search maximises.

    Arrays have no field for `Features.unusual`: leave such networks out.
    """
    logits, halves = _intervals(features, coefficients())
    return np.asarray(1.0 / (1.0 + np.exp(halves - logits)))


def terms_many(features: Mapping[str, Array], c: Coefficients) -> Matrix:
    """The terms of the formula, (N, terms)."""
    x = np.log(features["madds"] / MADDS_UNIT)
    side = np.log(features["resolution"] / RESOLUTION_UNIT_PX)
    p = np.log(features["body_params"]) - (c.typical_params[0] + c.typical_params[1] * x + c.typical_params[2] * side)
    d = np.log(features["blocks"]) - (c.typical_blocks[0] + c.typical_blocks[1] * x + c.typical_blocks[2] * side)
    unexpanded = features["unexpanded_share"]
    shares = (features["large_kernel_share"], features["se_share"], unexpanded + unexpanded**2)
    return np.stack([*_cost_terms(x, side, c), p, p * p, d, d * d, *shares], axis=1)


def extrapolations(features: Features) -> tuple[str, ...]:
    """Descriptions of the features in which a network is outside the range of published networks."""
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
    own, typical = _terms([features], c)
    far = _sd(own - typical, c)[0] > c.covered_sd
    if far and not found:
        found.append("farther from typical networks, in all dimensions together, than 95 % of the published ones")
    largest = c.ranges["largest_kernel"][1]
    if features.largest_kernel > largest:
        found.append(f"kernel {features.largest_kernel}, above {largest:.0f}, counts as {largest:.0f}")
    if features.unusual:
        found.append(features.unusual)
    return tuple(found)


# Wording, number format and unit of each feature.
_WORDS = {
    "madds": ("{} multiply-adds", "{:.4g} M", 1e6),
    "resolution": ("resolution {}", "{:.0f} px", 1),
    "params_ratio": ("{} the body parameters of a typical network of this cost", "{:.2f} x", 1),
    "blocks_ratio": ("{} the blocks of a typical network of this cost", "{:.2f} x", 1),
}
NUMERIC = tuple(f.name for f in fields(Features) if f.name not in ("largest_kernel", "other_activation", "unusual"))


def _terms(features: Networks, c: Coefficients) -> tuple[Matrix, Matrix]:
    """Terms of networks, and of the typical network of the same cost at its best published resolution."""
    columns = _columns(features)
    own = terms_many(columns, c)
    x = np.log(columns["madds"] / MADDS_UNIT)
    low, high = (math.log(end / RESOLUTION_UNIT_PX) for end in c.ranges["resolution"])
    side = np.clip(-(c.mean[2] + c.mean[4] * x) / (2 * c.mean[3]), low, high)
    typical = np.zeros_like(own)
    typical[:, :5] = np.stack(_cost_terms(x, side, c), axis=1)
    return own, typical


def _cost_terms(x: Array, side: Array, c: Coefficients) -> tuple[Array, ...]:
    return np.ones_like(x), -np.expm1(-c.curvature * x) / c.curvature, side, side * side, side * x


def _intervals(features: Networks, c: Coefficients) -> tuple[Array, Array]:
    """The logits of networks, and the half-widths of their 90 % intervals."""
    own, typical = _terms(features, c)
    at_cost = np.sqrt(c.recipe_sd**2 + c.noise_sd**2 + _sd(typical, c) ** 2)
    half = Z_90 * (at_cost + _sd(own - typical, c))
    if not isinstance(features, Mapping):
        half = half + np.array([_caution(f) for f in features])
    return own @ np.array(c.mean), half


def _sd(rows: Matrix, c: Coefficients) -> Array:
    return np.asarray(np.sqrt(np.maximum(0.0, ((rows @ np.array(c.covariance)) * rows).sum(axis=1))))


def _caution(features: Features) -> float:
    return UNUSUAL_HALF_WIDTH if features.unusual else 0.0


def _columns(features: Networks) -> Mapping[str, Array]:
    if isinstance(features, Mapping):
        return features
    table = np.array([[getattr(f, name) for name in NUMERIC] for f in features], dtype=float)
    return {name: table.reshape(-1, len(NUMERIC))[:, i] for i, name in enumerate(NUMERIC)}


def _share(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


# Scales of the distance in log multiply-adds, log side, log parameters, and share of squeeze-excite.
UNITS = (0.3, 0.25, 0.5, 0.5)
# Distance in parameters if a source does not state them.
UNSTATED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """A published result of one training of a network.

    Attributes:
        params: trainable parameters including the classifier; None if the source does not state them.
    """

    name: str
    recipe: str
    top1: float
    resolution: int
    madds: int
    params: int | None = None
    body_params: int | None = None
    se_share: float
    source: str = ""
    note: str = ""


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """The results of networks with inverted residuals that the estimate was fitted to."""
    text = files("mnv2search.accuracy").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        msgspec.convert(
            {key: value for key, value in row.items() if value} | {"top1": float(row["top1"]) / 100},
            PublishedResult,
            strict=False,
        )
        for row in csv.DictReader(text.splitlines())
        if row["use"] == "fit" and row["kind"] != "separable"
    )


def nearest_published(features: Features, *, count: int = 3) -> tuple[PublishedResult, ...]:
    """The published results most similar in cost, resolution, parameters and squeeze-excite, nearest first.

    If a network was trained several times, only its most accurate result is included.

    >>> mobilenet_v2 = Features(madds=300_774_272, body_params=2_223_872, blocks=17, resolution=224)
    >>> nearest_published(mobilenet_v2, count=1)[0].name
    'mobilenetv2_100.ra_in1k@224'
    """
    ordered = sorted(published_results(), key=lambda result: (round(_distance(features, result), 6), -result.top1))
    found: dict[tuple[int, int, int | None], PublishedResult] = {}
    for result in ordered:
        found.setdefault((round(result.madds, -7), result.resolution, result.body_params), result)
        if len(found) == count:
            break
    return tuple(found.values())


def _distance(features: Features, result: PublishedResult) -> float:
    cost, side, params, gates = UNITS
    parts = [
        math.log(result.madds / features.madds) / cost,
        math.log(result.resolution / features.resolution) / side,
        (result.se_share - features.se_share) / gates,
        UNSTATED if result.body_params is None else math.log(result.body_params / features.body_params) / params,
    ]
    return math.hypot(*parts)
