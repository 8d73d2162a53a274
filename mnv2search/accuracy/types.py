"""Accuracies with their kind and interval, and a description of what determined them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mnv2search.tasks.metrics import Metrics

Kind: TypeAlias = Literal["trained", "inherited", "estimated", "proxy", "recorded", "reported"]
"""How it was determined: by training, with weights of a supernet, from published results, by a score that only
ranks, looked up in a table, or told by a program of the user's."""

METRICS = {"map": "mAP", "miou": "mIoU", "ap50": "AP at IoU 0.5", "ap75": "AP at IoU 0.75", "pixels": "pixels right"}
"""How the field writes the metrics that it does not write as we do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The accuracy of one network, or the score that stands for it.

    Attributes:
        value: from 0 to 1; for the kind ``proxy`` any number, which only orders networks.
        low: lower end of its 90 % interval; equal to `value` if the uncertainty is unknown.
        metric: what is counted, such as ``top1``.
        seed: of the training; None if nothing is random.
        note: a warning for the user, such as that the estimate extrapolates.
        merit: a number that orders networks better than the accuracy, such as the negative loss, or None.
        commonest: majority-class accuracy; None if it is unknown.
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
        """What a search maximises: the merit where there is one, otherwise the lower end of the interval."""
        return self.low if self.merit is None else self.merit

    @property
    def beats_commonest(self) -> bool:
        """Whether the interval lies above the majority-class accuracy, if that is known."""
        return self.commonest is None or self.low > self.commonest


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """What determines the accuracies of a run.

    Attributes:
        name: the text that opens the evaluator again.
        version: of the evaluator; accuracies of different versions are not comparable.
        classes: that networks must tell apart; None where it does not matter.
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
    """The accuracy of a network by its metrics on images."""
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
        commonest=metrics.majority,
    )


def metric_text(metric: str) -> str:
    """A metric as the field writes it.

    >>> metric_text("map"), metric_text("top1")
    ('mAP', 'top1')
    """
    return METRICS.get(metric, metric)
