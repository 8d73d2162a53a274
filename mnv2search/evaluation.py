"""Evaluation of one network: its cost, its latency, and its accuracy if it fits the budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from mnv2search.accuracy.evaluator import AccuracyEvaluator, Report, StopEarly
from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import Cost, cost_of
from mnv2search.display import Displayed
from mnv2search.errors import OptionError
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec

UNITS = {
    "latency_ms": "ms",
    "latency_min_ms": "ms",
    "params": "parameters",
    "madds": "multiply-adds",
    "peak_activation_bytes": "bytes",
    "size_bytes": "bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of a network; None means no limit.

    Attributes:
        latency_ms: upper limit of the measured latency, including the upper end of its interval.
        latency_min_ms: lower limit of the median latency.
        params: trainable parameters.
        madds: multiply-adds for one image.
        peak_activation_bytes: peak memory of activations at batch size 1.
        size_bytes: size of the weights, with batch norm folded.
    """

    latency_ms: float
    latency_min_ms: float | None = None
    params: int | None = None
    madds: int | None = None
    peak_activation_bytes: int | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and not 0 < limit < float("inf"):
                raise OptionError(f"{field.name} is {limit}", hint=f"write a number of {UNITS[field.name]} above 0")
        if self.latency_min_ms is not None and self.latency_min_ms >= self.latency_ms:
            raise OptionError(
                f"the latency band from {self.latency_min_ms:g} to {self.latency_ms:g} ms is empty",
                hint="use a latency_min_ms below latency_ms",
            )

    def cost_violation(self, cost: Cost) -> float:
        """Sum of the relative violations of the counted limits; 0 if all fit.

        >>> cost = Cost(params=3, params_no_bn=3, madds=150, peak_activation_bytes=9, size_bytes=12)
        >>> Budget(latency_ms=15, madds=100).cost_violation(cost)
        0.5
        """
        excess = 0.0
        for name in ("params", "madds", "peak_activation_bytes", "size_bytes"):
            cap = getattr(self, name)
            if cap is not None:
                excess += max(0.0, getattr(cost, name) / cap - 1)
        return excess

    def latency_violation(self, median_ms: float, *, high_ms: float | None = None) -> float:
        """Relative violation of the latency limits; the upper limit applies to `high_ms`, by default the median."""
        over = max(0.0, (median_ms if high_ms is None else high_ms) / self.latency_ms - 1)
        under = max(0.0, 1 - median_ms / self.latency_min_ms) if self.latency_min_ms else 0.0
        return over + under


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation(Displayed):
    """Cost, latency and accuracy of one network under one budget.

    Attributes:
        latency: None if the counted limits exclude the network.
        accuracy: None if the network does not fit, or if its evaluation was stopped early.
        elapsed_s: wall time of the evaluation.
        curve: intermediate accuracies as (step, value).
        expected: accuracy that a search assumes for an evaluation that was stopped early; never shown.
    """

    spec: ModelSpec
    cost: Cost
    latency: Latency | None
    accuracy: Accuracy | None
    budget: Budget
    seed: int
    elapsed_s: float
    curve: tuple[tuple[int, float], ...] = ()
    expected: float | None = None

    @property
    def name(self) -> str:
        """The name of the network."""
        return self.spec.name

    @property
    def is_stopped(self) -> bool:
        """Whether the evaluator was stopped early."""
        return self.expected is not None

    @property
    def violation(self) -> float:
        """Relative violation of the budget; 0 if the upper end of the latency interval fits."""
        excess = self.budget.cost_violation(self.cost)
        if self.latency is None:
            return excess
        return excess + self.budget.latency_violation(self.latency.median_ms, high_ms=self.latency.ci_high_ms)

    @property
    def is_feasible(self) -> bool:
        """Whether the network was measured and is within every limit, including the upper end of its interval."""
        return self.latency is not None and self.latency.kind == "measured" and self.violation == 0.0


def no_report(step: int, value: float) -> None:
    """A report that ignores intermediate accuracies."""
    del step, value


def evaluate_spec(
    spec: ModelSpec,
    *,
    device: LatencyDevice,
    evaluator: AccuracyEvaluator,
    budget: Budget,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Evaluation:
    """Evaluate one network: count, then measure latency, then determine the accuracy if the network fits.

    Raises:
        DeviceError: the network cannot be run on the device.
        EvaluatorError: the accuracy cannot be determined.
    """
    start = clock()
    cost = cost_of(spec)
    if budget.cost_violation(cost) > 0:
        return completed(spec, cost=cost, latency=None, budget=budget, seed=seed, elapsed_s=clock() - start)
    latency = device.measure(spec)
    evaluation = completed(spec, cost=cost, latency=latency, budget=budget, seed=seed, evaluator=evaluator)
    return replace(evaluation, elapsed_s=clock() - start)


def completed(
    spec: ModelSpec,
    *,
    cost: Cost,
    latency: Latency | None,
    budget: Budget,
    seed: int,
    evaluator: AccuracyEvaluator | None = None,
    report: Report = no_report,
    elapsed_s: float = 0.0,
) -> Evaluation:
    """The evaluation of a network with known latency, including its accuracy if the network fits.

    The accuracy is None if `report` stops the evaluator early.
    """
    known = Evaluation(
        spec=spec, cost=cost, latency=latency, accuracy=None, budget=budget, seed=seed, elapsed_s=elapsed_s
    )
    if evaluator is None or not known.is_feasible:
        return known
    try:
        return replace(known, accuracy=evaluator.evaluate(spec, seed=seed, report=report))
    except StopEarly:
        return known
