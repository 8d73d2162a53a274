"""Base class and protocol of accuracy evaluators, and the values that a search exchanges with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnv2search.model.build import MobileNet
    from mnv2search.model.weights.network_file import Learned
    from mnv2search.recipe import Recipe
    from mnv2search.spec.plan import Plan
    from mnv2search.tasks.task import AnyTask, Data


Method: TypeAlias = Literal["arithmetic", "shared weights", "training"]
"""Arithmetic, weights shared by all networks of a space, or a slow evaluation of each network, such as a training."""

Report: TypeAlias = Callable[[int, float], None]
"""Callback with a step, counted from 1, and the accuracy after that step; may raise `StopEarly`."""


class StopEarly(Exception):  # noqa: N818 - a request, not an error
    """Raised by a `Report` when the evaluation is no longer worth its time."""


@runtime_checkable
class AccuracyEvaluator(Protocol):
    """Protocol of an evaluator: the property `info` and the method ``evaluate(spec, *, seed, report)``.

    The base class `Evaluator` adds optional hooks.
    """

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy of one network; see `Evaluator.evaluate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Arguments of a preparation before the first network is evaluated.

    Attributes:
        band: picks that are predicted to fit the budget without being far below it, sorted by multiply-adds.
        folder: folder of files to resume an interrupted preparation from; None keeps no files.
        tell: called with the current activity and its progress, 0 to 1.
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
        trainings: the number that fits; None without a time limit.
        least_s: wall time of the shortest useful training.
        wanted_s: wall time of enough whole trainings for a search.
        told: message for the user before the trainings begin, or empty.
    """

    trainings: int | None
    least_s: float = 0.0
    wanted_s: float = 0.0
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Steps at which evaluations are compared (`rungs`), and the reduction factor: one in `reduction` continues."""

    rungs: tuple[int, ...]
    reduction: int


class Evaluator(ABC):
    """Base class of evaluators, which determine the accuracy of networks.

    `info` and `evaluate` are required; all other methods are hooks for a search. An evaluator does not print, and
    raises an error if it cannot determine an accuracy.

    Attributes:
        method: how accuracies are determined, which decides how a search plans its evaluations.
        is_timed: whether `fit` chooses the length of its trainings by the time of the search.
        can_finetune: whether the best networks of a search can be trained further; needs `dataset` and weights.
        can_share_weights: whether `prepare` in one process is enough for all: `shared_weights` and
            `use_shared_weights` pass the weights on.
        task: task that the networks are trained for; None without training.
        dataset: dataset of the trainings, with all splits.
        recipe: recipe of the trainings.
    """

    method: Method = "training"
    is_timed: bool = False
    can_finetune: bool = False
    can_share_weights: bool = False
    task: AnyTask | None = None
    dataset: Data | None = None
    recipe: Recipe | None = None

    @property
    @abstractmethod
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""

    def learned_of(self, spec: ModelSpec) -> Learned | None:  # noqa: ARG002
        """Metadata of the weights of a network that `member` returns."""
        return None

    @abstractmethod
    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy of one network.

        `report` is called with intermediate accuracies, if there are any.

        Raises:
            EvaluatorError: the accuracy could not be determined.
            StopEarly: `report` raised it.
        """

    # -- before the first evaluation -----------------------------------------------------------------------------

    def check_space(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse a space with networks whose accuracy cannot be determined, before anything is measured.

        Raises:
            OptionError: the accuracy of some networks cannot be determined.
        """

    def lower_bounds(self, plans: Sequence[Plan]) -> NDArray[np.float64]:
        """Lower end of the accuracy interval of each network by arithmetic, (N,); 0 if unknown."""
        import numpy as np

        return np.zeros(len(plans))

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        """Prepare for the whole space, such as by training shared weights; returns notes for the user.

        Raises:
            EvaluatorError: the preparation fails.
        """
        del preparation
        return ()

    def shared_weights(self) -> bytes:
        """The prepared weights for `use_shared_weights` in other processes.

        Raises:
            EvaluatorError: there are no shared weights.
        """
        raise EvaluatorError("there are no shared weights", hint="use the evaluator supernet")

    def use_shared_weights(self, space: SearchSpace, content: bytes) -> None:
        """Evaluate with weights that another process prepared for `space`, instead of preparing.

        Raises:
            EvaluatorError: the weights cannot be read, or do not suit the space or the images.
        """
        del space, content
        self.shared_weights()

    # -- trainings of a search -----------------------------------------------------------------------------------

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        """Choose the length of all trainings by timing a few steps of some networks.

        `left_s` returns the time within which a training that begins now must end; None means no limit.

        Raises:
            EvaluatorError: the networks cannot be timed.
        """
        del preparation, left_s
        return Fitting(trainings=None)

    def expected_s(self, spec: ModelSpec) -> float:
        """Expected wall time of an evaluation; 0 if unknown."""
        del spec
        return 0.0

    @property
    def halving(self) -> Halving | None:
        """Successive halving of trainings; None if every training is finished."""
        return None

    # -- data and weights, for fine-tuning -----------------------------------------------------------------------

    def is_full_size(self) -> bool:
        """Whether networks are trained at their own width and resolution, not at a proxy scale."""
        return True

    def given(self, space: SearchSpace) -> ModelSpec | None:
        """The network that the initial weights belong to; None if they are random."""
        del space
        return None

    def begin(self, spec: ModelSpec, *, seed: int) -> MobileNet:
        """A network to train further, with the best weights there are for it.

        After a training, these are the trained weights; otherwise its part of shared weights, weights inherited from
        the given ones, or random weights.

        Raises:
            EvaluatorError: weights that were kept no longer exist.
        """
        from mnv2search.model.build import build

        return build(spec, seed=seed)

    def seen_images(self, spec: ModelSpec) -> float:
        """Number of training images that the weights from `begin` have seen in the search."""
        del spec
        return 0.0

    def member(self, spec: ModelSpec) -> MobileNet:
        """A network with shared weights in evaluation mode, at the scale of the training.

        Raises:
            EvaluatorError: there are no shared weights, or none for this network.
        """
        raise EvaluatorError(f"there are no shared weights for {spec.name}", hint="use the evaluator supernet")

    def keep_weights(self, folder: Path) -> None:  # noqa: B027
        """Write the weights of every network to a folder when its training is finished, from now on."""

    def weights_file(self, spec: ModelSpec) -> Path | None:
        """Weights file of a trained network; None if the weights were not kept."""
        del spec
        return None

    def trained_weights(self, spec: ModelSpec) -> Path:
        """Weights file of a trained network.

        Raises:
            EvaluatorError: the weights were not kept, or the file no longer exists.
        """
        if (file := self.weights_file(spec)) is None:
            raise EvaluatorError(f"the weights of {spec.name} are gone", hint="start the run over with --force")
        return file


def as_evaluator(found: AccuracyEvaluator) -> Evaluator:
    """The evaluator itself, or an adapter if it does not derive from `Evaluator`."""
    return found if isinstance(found, Evaluator) else _Adapter(found)


class _Adapter(Evaluator):
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
        return self._found.info

    @property
    def halving(self) -> Halving | None:
        halving: Halving | None = getattr(self._found, "halving", None)
        return halving

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        return self._found.evaluate(spec, seed=seed, report=report)


_HOOKS = ("check_space", "lower_bounds", "prepare", "fit", "expected_s", "keep_weights", "weights_file")


def changed_options(**options: tuple[str, str]) -> str:
    """``key=value,`` for each option whose value differs from its default; part of an evaluator's text.

    >>> changed_options(metric=("miou", "top1"), dataset=("mine", "mine"))
    'metric=miou,'
    """
    return "".join(f"{key}={value}," for key, (value, default) in options.items() if value != default)
