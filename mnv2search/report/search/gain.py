"""How much more accurate a network is than MobileNetV2 at equal latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mnv2search.evaluation import Evaluation


class Gain(NamedTuple):
    """A difference in accuracy, 0 to 1, with its 90 % interval, and the network it is taken against."""

    value: float
    low: float
    high: float
    rival: str


def best_rival(evaluation: Evaluation, baseline: Sequence[Evaluation]) -> Evaluation | None:
    """The most accurate network of the baseline that is measured no slower and was weighed by the same evaluator."""
    if evaluation.accuracy is None or evaluation.latency is None:
        return None
    kind, limit_ms = evaluation.accuracy.kind, evaluation.latency.median_ms
    rivals = [
        e
        for e in baseline
        if e.accuracy is not None and e.accuracy.kind == kind and e.latency and e.latency.median_ms <= limit_ms
    ]
    return max(rivals, key=lambda e: e.accuracy.value if e.accuracy else 0.0, default=None)


def gain_over(evaluation: Evaluation, baseline: Sequence[Evaluation]) -> Gain | None:
    """The gain over the best rival; None where there is none, or where scores stand for accuracies.

    Two estimates share the unknown training recipe, so their difference has an interval of its own, narrower than
    those of the two; other accuracies are taken as independent.
    """
    rival = best_rival(evaluation, baseline)
    if rival is None:
        return None
    own, other = evaluation.accuracy, rival.accuracy
    if own is None or other is None or own.kind == "proxy":
        return None  # differences of scores are no points of accuracy
    if own.kind == "estimated":
        from mnv2search.accuracy.estimate import gain
        from mnv2search.accuracy.evaluators.imagenet import features_of
        from mnv2search.spec.plan import plan

        estimated = gain(features_of(plan(evaluation.spec)), features_of(plan(rival.spec)))
        return Gain(estimated.value, estimated.low, estimated.high, rival.spec.name)
    value = own.value - other.value
    below = ((own.value - own.low) ** 2 + (other.high - other.value) ** 2) ** 0.5
    above = ((own.high - own.value) ** 2 + (other.value - other.low) ** 2) ** 0.5
    return Gain(value, value - below, value + above, rival.spec.name)
