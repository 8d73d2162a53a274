"""Published ImageNet results of similar networks, to compare an estimate with."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from mnv2search.accuracy.estimate import Features

# Scales of the distance: of log multiply-adds, log side, log parameters, and the share of squeeze-excite.
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
