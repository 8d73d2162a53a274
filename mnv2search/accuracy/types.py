"""Accuracies with their kind and interval, and descriptions of evaluators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mnv2search.display import Displayed

if TYPE_CHECKING:
    from mnv2search.tasks.metrics import Metrics

Kind: TypeAlias = Literal["trained", "inherited", "estimated", "proxy", "recorded", "reported"]
"""Method: training, weights of a supernet, an estimate from published results, a score that only ranks, a lookup in
a table, or a report by the user's program or function."""

METRICS = {
    "map": "mAP",
    "miou": "mIoU",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "f1": "best F1 at IoU 0.5",
    "pixels": "pixels right",
}
"""Usual spelling of metrics that have another name here."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Accuracy(Displayed):
    """The accuracy of one network, or a score used instead.

    Attributes:
        value: accuracy from 0 to 1; for the kind ``proxy`` any number, which only ranks networks.
        low: lower end of the 90 % interval; equal to `value` if the uncertainty is unknown.
        high: upper end of the 90 % interval.
        metric: name of the metric, such as ``top1``.
        seed: random seed of the evaluation; None if nothing is random.
        note: warning for the user, for instance that the estimate extrapolates.
        merit: number that ranks networks better than the accuracy, such as the negative loss, or None.
        commonest: metric of the best trivial answer, such as the majority-class accuracy; None if unknown.
    """

    value: float
    low: float
    high: float
    metric: str
    kind: Kind
    dataset: str
    seed: int | None = None
    note: str = ""
    merit: float | None = None
    commonest: float | None = None

    def __post_init__(self) -> None:
        ordered = math.isfinite(self.value) and self.low <= self.value <= self.high
        if not ordered or (self.kind != "proxy" and not (self.low >= 0 and self.high <= 1)):
            raise ValueError(
                f"accuracy {self.value} with interval {self.low} to {self.high} is not 0 <= low <= value <= high <= 1"
            )
        if self.merit is not None and not math.isfinite(self.merit):
            raise ValueError(f"merit {self.merit} is not a finite number")
        if self.commonest is not None and not 0 <= self.commonest <= 1:
            raise ValueError(f"commonest {self.commonest} is not a share from 0 to 1")

    @property
    def rank(self) -> float:
        """The value that a search maximises: the merit if known, otherwise the lower end of the interval."""
        return self.low if self.merit is None else self.merit

    @property
    def beats_commonest(self) -> bool:
        """Whether the interval is above the metric of the best trivial answer; True if the latter is unknown."""
        return self.commonest is None or self.low > self.commonest


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """Description of the evaluator of a run.

    Attributes:
        name: text that opens the evaluator again.
        version: version of the evaluator; accuracies of different versions are not comparable.
        classes: number of classes that networks must have; None if any number is allowed.
    """

    name: str
    version: str = "1"
    kind: Kind
    dataset: str
    metric: str
    detail: str = ""
    classes: int | None = None


def accuracy_of(
    metrics: Metrics, *, kind: Kind, dataset: str, seed: int | None, note: str = "", merit: float | None = None
) -> Accuracy:
    """The accuracy of a network from its metrics on images."""
    main = metrics.main
    return Accuracy(
        value=main.value,
        low=main.low,
        high=main.high,
        metric=main.name,
        kind=kind,
        dataset=dataset,
        seed=seed,
        note=note,
        merit=merit,
        commonest=metrics.trivial,
    )


def metric_text(metric: str) -> str:
    """The usual spelling of a metric.

    >>> metric_text("map"), metric_text("top1")
    ('mAP', 'top1')
    """
    return METRICS.get(metric, metric)
