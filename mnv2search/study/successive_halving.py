"""Successive halving: trainings that fall behind those of networks of similar latency are stopped early.

Optuna does not prune studies with two objectives, and a fast network should not be compared with a slow one. So the
rule of Optuna's `SuccessiveHalvingPruner` is applied among networks of similar latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from mnv2search.accuracy.evaluator import Halving, StopEarly

Curve = tuple[tuple[int, float], ...]
"""Intermediate accuracies as (step, value)."""

# A candidate's rivals are networks at most this much slower, the precision of measurements in a search, ...
SLOWER = 1.05
# ... and at most this much faster: much faster ones are weaker, and would make every slow candidate look good.
FASTER = 0.75


class _Seen(NamedTuple):
    median_ms: float
    curve: dict[int, float]
    final: float | None


class Watch:
    """Receives the accuracies of one training, and stops it at a rung at which too many rivals were better."""

    def __init__(self, rungs: Rungs, median_ms: float) -> None:
        self._rungs, self._median_ms = rungs, median_ms
        self.curve: Curve = ()

    def __call__(self, step: int, value: float) -> None:
        """Record the accuracy after a step; raises `StopEarly` to end a training that has fallen behind."""
        self.curve += ((step, value),)
        if self._rungs.is_behind(self._median_ms, step, value):
            raise StopEarly(f"at step {step}")


class Rungs:
    """The accuracies that trainings reached at each rung.

    Source: Li et al., arXiv 1810.05934 (asynchronous successive halving, in its stopping form).
    """

    def __init__(self, halving: Halving) -> None:
        self._halving = halving
        self._seen: list[_Seen] = []

    def watch(self, median_ms: float) -> Watch:
        """A `report` callback for the training of a network with this latency."""
        return Watch(self, median_ms)

    def is_behind(self, median_ms: float, step: int, value: float) -> bool:
        """Whether a network falls behind at a rung: the best ⌊(n + 1) / reduction⌋ of it and its n rivals continue.

        Networks of equal accuracy continue together. While this number is 0, all networks continue.
        """
        if step not in self._halving.rungs:
            return False
        rivals = [
            seen.curve[step]
            for seen in self._seen
            if FASTER * median_ms <= seen.median_ms <= SLOWER * median_ms and step in seen.curve
        ]
        climbing = (len(rivals) + 1) // self._halving.reduction
        return climbing > 0 and sum(rival > value for rival in rivals) >= climbing

    def add(self, median_ms: float, curve: Sequence[tuple[int, float]], final: float | None) -> None:
        """Record a training that ended, with the lower end of its final accuracy, or None if it was stopped early."""
        self._seen.append(_Seen(median_ms, dict(curve), final))

    def expected(self, curve: Sequence[tuple[int, float]]) -> float:
        """The accuracy that the search assumes for a stopped training; the value is never shown.

        It is the last accuracy times the median growth of the trainings that continued beyond that step.
        """
        step, value = curve[-1]
        grown = [
            seen.final / seen.curve[step] for seen in self._seen if seen.final is not None and seen.curve.get(step)
        ]
        return min(1.0, value * median(grown)) if grown else value
