"""What an accuracy is, where it comes from, and what can determine one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from mnv2search.errors import EvaluatorError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnv2search.model.build import MobileNet
    from mnv2search.model.weights.saved import Learned
    from mnv2search.recipe import Recipe
    from mnv2search.spec.plan import Plan
    from mnv2search.tasks.metrics import Metrics
    from mnv2search.tasks.task import AnyTask, Data

__all__ = [
    "METRICS",
    "Accuracy",
    "AccuracyEvaluator",
    "Evaluator",
    "EvaluatorInfo",
    "Fitting",
    "Halving",
    "Kind",
    "Method",
    "Preparation",
    "Report",
    "StopEarly",
    "accuracy_of",
    "as_evaluator",
    "changed_options",
    "metric_text",
]

Kind: TypeAlias = Literal["trained", "inherited", "estimated", "proxy", "recorded", "reported"]
"""How it was determined: by training, with weights of a supernet, from published results, by a score that only
ranks, looked up in a table, or told by a program of the user's."""

Method: TypeAlias = Literal["arithmetic", "shared weights", "training"]
"""Accuracies by arithmetic, with weights that all networks of a space share, or by an evaluation of each network
that takes time, such as a training."""

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
        metric: what is counted, such as ``top1``.
        kind: how it was determined.
        dataset: on which images.
        seed: of the training, or None where nothing is drawn.
        note: caveats, such as that it extrapolates.
        merit: a number that orders networks better than the accuracy, such as the negative loss, or None.
        commonest: majority-class accuracy; None where it is unknown or means nothing.
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
    """The least that an evaluator of a plug-in has to offer; `Evaluator` adds hooks, all of them optional."""

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        ...

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy of one network; see `Evaluator.evaluate`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What an evaluator may know before the first network is evaluated.

    Attributes:
        band: picks that are predicted to fit the budget, without being far below it; sorted by multiply-adds.
        folder: for work that an interrupted run resumes; None keeps nothing.
        time_s: wall time limit; None for a run with a number of trials only.
        tell: called with the current activity, and its progress from 0 to 1.
    """

    space: SearchSpace
    band: tuple[Pick, ...]
    folder: Path | None
    time_s: float | None
    seed: int
    tell: Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How the trainings of a search fit into its time.

    Attributes:
        trainings: as many as fit; None where there is no limit of time.
        least_s: wall time of one of the least length that is of any use.
        wanted_s: wall time of as many whole ones as make a search.
        told: message for the user before they begin, or empty.
    """

    trainings: int | None
    least_s: float = 0.0
    wanted_s: float = 0.0
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """At which steps evaluations are compared, and how few of them go on.

    Attributes:
        rungs: steps, as they are reported, before the last.
        reduction: one in so many goes on from each.
    """

    rungs: tuple[int, ...]
    reduction: int


class Evaluator(ABC):
    """Determines the accuracy of networks; does not print and does not swallow failures.

    `info` and `evaluate` are required. Everything else is a hook for a search, and does nothing by default.

    Attributes:
        method: how accuracies are determined, which decides how a search plans its evaluations.
        is_timed: whether `fit` chooses the length of its trainings by the time of the search.
        can_finetune: whether the best networks of a search can be trained further; needs `dataset` and weights.
    """

    method: Method = "training"
    is_timed: bool = False
    can_finetune: bool = False

    @property
    @abstractmethod
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""

    @abstractmethod
    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy of one network.

        `report` is called with intermediate accuracies, if there are any.

        Raises:
            EvaluatorError: the accuracy could not be determined.
            StopEarly: `report` asked for it.
        """

    # -- before the first evaluation -----------------------------------------------------------------------------

    def check_space(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse a space with networks whose accuracy cannot be determined, before anything is measured.

        Raises:
            OptionError: there are such networks.
        """

    def lower_bounds(self, plans: Sequence[Plan]) -> NDArray[np.float64]:
        """Lower end of the accuracy interval of each network by arithmetic, (N,); 0 where it is unknown."""
        import numpy as np

        return np.zeros(len(plans))

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        """Work for the whole space, such as training shared weights; only networks of the space are evaluated then.

        Returns:
            Notes for the reader of the results.

        Raises:
            EvaluatorError: the preparation fails.
        """
        del preparation
        return ()

    # -- trainings of a search -----------------------------------------------------------------------------------

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        """Choose the length of all trainings, by timing a few steps of some networks.

        A training that begins now has to end within `left_s`; None sets no limit.

        Raises:
            EvaluatorError: the networks cannot be timed.
        """
        del preparation, left_s
        return Fitting(trainings=None)

    def expected_s(self, spec: ModelSpec) -> float:
        """Expected wall time of an evaluation; 0 where it is unknown."""
        del spec
        return 0.0

    @property
    def halving(self) -> Halving | None:
        """Steps at which a search stops trainings that fall behind; None finishes every training."""
        return None

    # -- data and weights, for fine-tuning -----------------------------------------------------------------------

    @property
    def task(self) -> AnyTask | None:
        """What the networks learn; None where nothing is trained."""
        return None

    @property
    def dataset(self) -> Data | None:
        """Data of the trainings with all its splits; None where nothing is trained."""
        return None

    @property
    def recipe(self) -> Recipe | None:
        """Recipe of the trainings."""
        return None

    @property
    def learned(self) -> Learned | None:
        """Classes and normalization that belong to the weights."""
        return None

    def is_full_size(self) -> bool:
        """Whether networks are trained at their own width and resolution, not at a proxy scale."""
        return True

    def member(self, spec: ModelSpec) -> MobileNet:
        """A network with shared weights in evaluation mode, at the scale of the training.

        Raises:
            EvaluatorError: there are no shared weights, or none for this network.
        """
        raise EvaluatorError(f"there are no shared weights for {spec.name}", hint="use the evaluator supernet")

    def keep_weights(self, folder: Path) -> None:  # noqa: B027
        """From now on, write the weights of every network whose training is finished into a folder."""

    def weights_file(self, spec: ModelSpec) -> Path | None:
        """File of the weights of a trained network; None where none were kept."""
        del spec
        return None

    def trained_weights(self, spec: ModelSpec) -> Path:
        """File of the weights of a trained network.

        Raises:
            EvaluatorError: none were kept, or the file is gone.
        """
        if (file := self.weights_file(spec)) is None:
            raise EvaluatorError(f"the weights of {spec.name} are gone", hint="begin the run anew with --force")
        return file


def as_evaluator(found: AccuracyEvaluator) -> Evaluator:
    """The evaluator itself, or an adapter for one that does not derive from `Evaluator`."""
    return found if isinstance(found, Evaluator) else _Adapter(found)


class _Adapter(Evaluator):
    """An evaluator of a plug-in, with those hooks that it defines."""

    def __init__(self, found: AccuracyEvaluator) -> None:
        self._found = found
        self.method = "arithmetic" if hasattr(found, "lower_bounds") else "training"
        if hasattr(found, "prepare"):
            self.method = "shared weights"
        self.is_timed = hasattr(found, "fit")
        for name in _HOOKS:
            if hasattr(found, name):
                setattr(self, name, getattr(found, name))

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        return self._found.info

    @property
    def halving(self) -> Halving | None:
        """As the plug-in says, if it does."""
        halving: Halving | None = getattr(self._found, "halving", None)
        return halving

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy that the plug-in determines."""
        return self._found.evaluate(spec, seed=seed, report=report)


_HOOKS = ("check_space", "lower_bounds", "prepare", "fit", "expected_s", "keep_weights", "weights_file")


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
