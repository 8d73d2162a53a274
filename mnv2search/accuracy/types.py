"""What an accuracy is, where it comes from, and what can determine one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace

if TYPE_CHECKING:
    from mnv2search.data.images import ImageSet
    from mnv2search.data.scenes import SceneSet
    from mnv2search.model.build import MobileNet
    from mnv2search.model.saved import Learned
    from mnv2search.recipe import Recipe

__all__ = [
    "METRICS",
    "Accuracy",
    "AccuracyEvaluator",
    "CanHalve",
    "EvaluatorInfo",
    "Fitting",
    "Halving",
    "HasWeights",
    "HoldsTime",
    "KeepsWeights",
    "Kind",
    "Preparation",
    "Prepares",
    "RefusesSpaces",
    "Report",
    "StopEarly",
    "TrainsFurther",
    "changed_options",
    "metric_text",
]

Kind: TypeAlias = Literal["trained", "inherited", "estimated", "proxy", "recorded", "reported"]
"""How it was determined: by training, with weights of a supernet, from published results, by a score that only
ranks, looked up in a table, or told by a program of the user's."""

METRICS = {"map": "mAP", "miou": "mIoU", "ap50": "AP at IoU 0.5", "ap75": "AP at IoU 0.75", "pixels": "pixels right"}
"""How the field writes the metrics that it does not write as we do."""

Report: TypeAlias = Callable[[int, float], None]
"""Takes a step, counted from 1, and the accuracy after it; may raise `StopEarly`."""


class StopEarly(Exception):  # noqa: N818 - a request, not an error
    """Raised by a `Report` when the evaluation is no longer worth its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The accuracy of one network, or the score that stands for it.

    Attributes:
        value: 0 to 1; of the kind ``proxy`` any number, which is no accuracy and only ranks.
        low: lower end of its 90 % interval; equal to `value` where no uncertainty is known.
        high: upper end.
        metric: what is counted, such as ``top1``.
        kind: how it was determined.
        dataset: on which images.
        seed: of the training, or None where nothing is drawn.
        note: what a reader has to know before trusting it, such as that it extrapolates; empty mostly.
        merit: what orders networks better than the accuracy does, such as a loss; more is better. None where there
            is no such thing.
        commonest: share of the images that always answering their commonest class names right; None where that is
            not known or says nothing.
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
        """Whether the interval lies above what always answering the commonest class gives, if that is known."""
        return self.commonest is None or self.low > self.commonest


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """What determines the accuracies of a run.

    Attributes:
        name: the text that opens the evaluator again.
        version: of the evaluator; accuracies of different versions are not comparable.
        kind: of every accuracy it returns.
        dataset: on which images.
        metric: what is counted.
        detail: one sentence for people.
        classes: that networks must tell apart; None where it does not matter.
    """

    name: str
    version: str
    kind: Kind
    dataset: str
    metric: str
    detail: str = ""
    classes: int | None = None


@runtime_checkable
class AccuracyEvaluator(Protocol):
    """Determines the accuracy of networks; does not print and does not swallow failures."""

    @property
    def info(self) -> EvaluatorInfo:
        """What the accuracies mean."""
        ...

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy of one network.

        Args:
            spec: the network.
            seed: for everything that is drawn.
            report: called with intermediate accuracies by evaluators that have them.

        Raises:
            EvaluatorError: the accuracy could not be determined.
            StopEarly: `report` asked for it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What an evaluator may know before the first network is evaluated.

    Attributes:
        space: whose networks it will be asked for.
        band: picks that are predicted to fit the budget, without being far below it; sorted by multiply-adds.
        folder: to keep its work in, so that an interrupted run goes on with it; None keeps nothing.
        time_s: wall time that it may take; None where only a number of trials was asked for.
        seed: of everything that is drawn.
        tell: hears what is being done, and the share of it that is done.
    """

    space: SearchSpace
    band: tuple[Pick, ...]
    folder: Path | None
    time_s: float | None
    seed: int
    tell: Callable[[str, float], None]


@runtime_checkable
class RefusesSpaces(Protocol):
    """An evaluator that can tell, before anything is measured, that it knows nothing of the networks of a space."""

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space with networks whose accuracy it cannot determine.

        Raises:
            OptionError: there are such.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """An evaluator that has to do something for the whole space first, such as train weights that all share.

    It is asked for networks of that space alone.
    """

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        """Make ready for networks of a space.

        Returns:
            What a reader of the results has to know, such as that less was trained than would be sound.

        Raises:
            EvaluatorError: it cannot be done.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How the trainings of a search fit into its time.

    Attributes:
        trainings: as many as fit; None where there is no limit of time.
        least_s: wall time of one of the least length that is of any use.
        wanted_s: wall time of as many whole ones as make a search.
        told: what a user has to know before they begin; empty where nothing is expected.
    """

    trainings: int | None
    least_s: float = 0.0
    wanted_s: float = 0.0
    told: str = ""


@runtime_checkable
class HoldsTime(Protocol):
    """An evaluator that trains every network on its own, and makes its trainings as long as the time allows."""

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        """Choose how long every training is, by what a few steps of some networks take.

        Args:
            preparation: the space, a band of it, and the time for all trainings.
            left_s: tells, when a training begins, the time by which it has to end; None sets no limit.

        Raises:
            EvaluatorError: it cannot be done.
        """
        ...

    def expected_s(self, spec: ModelSpec) -> float:
        """Wall time that an evaluation of a network is expected to take; 0 where nothing is expected."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """At which steps evaluations are compared, and how few of them go on.

    Attributes:
        rungs: steps, as they are reported, before the last.
        reduction: one in so many goes on from each.
    """

    rungs: tuple[int, ...]
    reduction: int


@runtime_checkable
class HasWeights(Protocol):
    """An evaluator that knows images, and weights for the networks that it was prepared for."""

    @property
    def images(self) -> ImageSet:
        """What it learned from and decides by, with the parts that play no role before the end."""
        ...

    @property
    def learned(self) -> Learned:
        """What goes with its weights."""
        ...

    def is_full_size(self) -> bool:
        """Whether its networks are those that it is asked for, and not smaller ones that stand for them."""
        ...

    def member(self, spec: ModelSpec) -> MobileNet:
        """A network with weights, in evaluation mode, at the size at which it was trained.

        Raises:
            EvaluatorError: it has none for this network.
        """
        ...


@runtime_checkable
class KeepsWeights(Protocol):
    """An evaluator that trains every network on its own, and can keep what it learned."""

    def keep_weights(self, folder: Path) -> None:
        """From now on, write the weights of every network whose training is finished into a folder."""
        ...

    def kept(self, spec: ModelSpec) -> Path | None:
        """The file of a network's weights; None where there is none."""
        ...


@runtime_checkable
class TrainsFurther(Protocol):
    """An evaluator that trains detectors or segmenters, and says by what, so that they can be trained on."""

    @property
    def scenes(self) -> SceneSet:
        """What it learned from and decides by, with the part that plays no role before the end."""
        ...

    @property
    def recipe(self) -> Recipe:
        """Of every training."""
        ...

    def learned(self, spec: ModelSpec) -> Path:
        """The file of a network's weights, with those of its training.

        Raises:
            EvaluatorError: there is none.
        """
        ...

    def expected_s(self, spec: ModelSpec) -> float:
        """Wall time of a training of the search; 0 where nothing is expected."""
        ...


@runtime_checkable
class CanHalve(Protocol):
    """An evaluator whose reports on the way may be compared, so that what falls behind is stopped early."""

    @property
    def halving(self) -> Halving | None:
        """The rungs; None where every evaluation is to be finished."""
        ...


def changed_options(**options: tuple[str, str]) -> str:
    """``key=value,`` for each option whose (value, default) differ, for the text that opens an evaluator again.

    >>> changed_options(metric=("miou", "top1"), dataset=("mine", "mine"))
    'metric=miou,'
    """
    return "".join(f"{key}={value}," for key, (value, default) in options.items() if value != default)


def metric_text(metric: str) -> str:
    """A metric as the field writes it.

    >>> metric_text("map"), metric_text("top1")
    ('mAP', 'top1')
    """
    return METRICS.get(metric, metric)
