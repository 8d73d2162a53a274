"""Base class of tasks: dataset, loss, metrics and predictions of networks with one kind of head."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn

from mnv2search import plugins
from mnv2search.data.batches import Epoch
from mnv2search.data.dataset import SPLITS, Fault, Split
from mnv2search.data.loaded_scenes import VOID
from mnv2search.data.prepare import E, Parts
from mnv2search.errors import OptionError, check_package
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import Recipe
from mnv2search.spec.classes import Telling, with_classes
from mnv2search.spec.model_spec import Head, ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.prediction import Predicted


class Data(Protocol):
    """A dataset in three disjoint splits."""

    @property
    def root(self) -> Path:
        """Folder or file of the dataset."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    @property
    def fingerprint(self) -> str:
        """Hash in hex digits that depends on every file, annotation and split."""

    def part(self, split: Split) -> Sequence[object]:
        """The examples of a split."""


D = TypeVar("D", bound=Data)
"""The dataset."""
B = TypeVar("B")
"""A batch."""


class Step(NamedTuple):
    """Arguments of a loss in one training step.

    Attributes:
        forward: returns float32 predictions of normalised images (N, 3, H, W), computed in the training's precision.
        number: number of the step, from 0.
        teacher: network whose outputs are half of the target, or None.
        class_weights: weight of the images of each class in the loss (classes,), or None.
    """

    model: MobileNet
    forward: Callable[[Tensor], Tensor]
    recipe: Recipe
    device: str
    seed: int
    number: int
    teacher: nn.Module | None
    class_weights: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One process's share of an evaluation; `sums` adds up values over all processes."""

    rank: int = 0
    size: int = 1
    sums: Callable[[Sequence[float]], Sequence[float]] = tuple


class Wanted(NamedTuple):
    """Arguments of `Task.parts`; see `Task.prepare`."""

    spec: ModelSpec
    recipe: Recipe
    splits: Sequence[Split]
    on_progress: Callable[[int], None]


class Evaluation(NamedTuple):
    """Arguments of an evaluation.

    Attributes:
        learned: classes and normalisation of the network's training.
        run: function of normalised images to evaluate instead, such as an exported file; None evaluates the network.
        share: share of this process; a task that does not distribute evaluates everything.
        stop: called before every batch if there is only one process; True stops the evaluation.
    """

    learned: Learned
    run: Callable[[Tensor], Tensor] | None
    device: str
    share: Share
    stop: Callable[[], bool]


class SearchLength(NamedTuple):
    """The default length of the trainings of a search.

    Attributes:
        epochs: fewest epochs.
        steps: fewest steps.
        useful_steps: fewest steps of a shortened training, from random and from given weights.
        evaluations: largest number of evaluations in a training.
        first_rung_steps: steps before which candidates are not compared, from random and from given weights; None
            compares after 1 epoch, and then whenever the epochs are a power of the reduction factor.
    """

    epochs: int
    steps: int
    useful_steps: tuple[int, int]
    evaluations: float
    first_rung_steps: tuple[int, int] | None


# Classifiers differ little after fewer steps. A detector from random weights detects next to nothing at first, and
# all candidates look alike; from the weights of a classifier, the mAP was 2.4 % after 30 steps, 6.5 % after 60 and
# 22.8 % after 150 (docs/research/2026-11-25-detector-training.md). On a small dataset, an evaluation of a detector
# takes as long as an epoch.
OF_CLASSIFIERS = SearchLength(3, 0, (100, 100), math.inf, None)
OF_DENSE_TASKS = SearchLength(3, 150, (100, 60), 4, (100, 30))


class Task(ABC, Generic[D, E, B]):
    """A task, for networks with one kind of head; an instance has no state.

    Attributes:
        name: name of the task, which for a plug-in is its entry point in the group ``mnv2search.tasks``.
        metric: name of the main metric.
        head: type of the networks' head.
        recipe: name of the default recipe.
        shorter_recipes: default recipes of shorter trainings, shortest first: (number of epochs, name) is for fewer
            epochs than that number.
        unused: settings of a recipe that the task ignores; a recipe that sets one is refused.
        packages: packages required for training, which are in the extra ``train``.
        tries: number of examples by which an evaluation is timed.
        evaluations: largest number of evaluations in a training, before the last.
        length: length of the trainings of a search.
        learning_exponent: the error (1 minus the main metric) and the loss of a short training decrease as the
            number of images to the power of minus this exponent.
        distributes: several processes can train a network together.
        has_scores: predictions are shown if their score is above a threshold.
        distills: a network can learn from the outputs of a teacher.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    head: ClassVar[type[Head]]
    recipe: ClassVar[str] = "modern"
    shorter_recipes: ClassVar[tuple[tuple[int, str], ...]] = ()
    unused: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    tries: ClassVar[int] = 16
    evaluations: ClassVar[float] = math.inf
    length: ClassVar[SearchLength] = OF_CLASSIFIERS
    learning_exponent: ClassVar[float] = 0.1
    distributes: ClassVar[bool] = False
    has_scores: ClassVar[bool] = False
    distills: ClassVar[bool] = False

    def recipe_for(self, epochs: float) -> str:
        """Name of the default recipe of a training with a number of epochs."""
        return next((name for limit, name in self.shorter_recipes if epochs < limit), self.recipe)

    @abstractmethod
    def read(self, source: Path, *, seed: int = 0, void: int = VOID) -> D:
        """Read the dataset of a folder or file.

        `void` is the mask value to ignore, for tasks with masks; `seed` determines random splits.

        Raises:
            DataError: the dataset cannot be trained on.
        """

    def prepare(
        self,
        data: D,
        spec: ModelSpec,
        recipe: Recipe,
        *,
        splits: Sequence[Split] = SPLITS,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Parts[E]:
        """Prepare some splits for a network.

        `on_progress` is called with the number of decoded images.

        Raises:
            DataError: too many images are unreadable, or the images take too much memory or disk space.
        """
        return self.parts(data, Wanted(spec, recipe, splits, on_progress))

    @abstractmethod
    def parts(self, data: D, wanted: Wanted) -> Parts[E]:
        """The result of `prepare`."""

    @abstractmethod
    def batches(self, examples: E, spec: ModelSpec, recipe: Recipe, epoch: Epoch) -> Generator[B]:
        """An epoch of full batches in random order for a network; equal seeds give equal batches."""

    @abstractmethod
    def loss(self, step: Step, batch: B) -> Tensor:
        """The loss of a batch, augmented by the recipe; torch's random generator may be used."""

    def evaluate(
        self,
        model: MobileNet,
        examples: E,
        learned: Learned,
        *,
        run: Callable[[Tensor], Tensor] | None = None,
        device: str = "cpu",
        share: Share = Share(),
        stop: Callable[[], bool] = lambda: False,
    ) -> Metrics:
        """Metrics of a network on its device; the network's training mode is restored. See `Evaluation`.

        Raises:
            StoppedError: `stop` returned True.
            MissingExtraError: a package that computes the metrics is not installed.
        """
        was_training = model.training
        model.eval()
        with torch.no_grad():
            found = self.metrics(model, examples, Evaluation(learned, run, device, share, stop))
        model.train(was_training)
        return found

    @abstractmethod
    def metrics(self, model: MobileNet, examples: E, evaluation: Evaluation) -> Metrics:
        """The result of `evaluate`; the network is in evaluation mode, without gradients."""

    def class_weights(self, examples: E, spec: ModelSpec, recipe: Recipe) -> Tensor | None:  # noqa: ARG002
        """Weight of each class in the loss (classes,) by the recipe's `class_weights`; None without weights."""
        return None

    def compared(self, metrics: Metrics, train: E, examples: E, classes: tuple[str, ...]) -> Metrics:
        """The metrics on some examples, with that of the best trivial answer if the task knows one."""
        trivial = self.trivial(train, examples, classes)
        return metrics if trivial is None else replace(metrics, trivial=trivial)

    def trivial(self, train: E, examples: E, classes: tuple[str, ...]) -> float | None:  # noqa: ARG002
        """The main metric on some examples of the best answer that is the same for every image.

        The answers are derived from the training examples only; None if the task has none.
        """
        return None

    def some(self, examples: E) -> E:
        """The first `tries` examples."""
        return cast("E", cast("Sequence[Any]", examples)[: self.tries])

    def fitted(self, spec: ModelSpec, data: D) -> ModelSpec:
        """The network with the classes of the data.

        Raises:
            OptionError: the network has another head.
        """
        return with_classes(spec, len(data.classes), head=cast("Telling", self.head))

    def learned(self, spec: ModelSpec, examples: E, classes: tuple[str, ...], normalization: str) -> Learned:  # noqa: ARG002
        """The metadata of weights that are trained and evaluated on examples as `prepare` returns them."""
        return Learned(classes=classes, normalization=normalization)

    def fitted_space(self, space: SearchSpace, data: D) -> tuple[SearchSpace, str]:
        """A search space with the classes of the data, and a message about other changes or an empty text.

        Raises:
            OptionError: its networks have another head.
        """
        return SearchSpace(template=self.fitted(space.template, data), axes=space.axes), ""

    def batch_of(self, recipe: Recipe, count: int) -> int:
        """Batch size for a number of training images."""
        return min(recipe.batch, count)

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe with settings that would be ignored, and missing packages.

        Raises:
            OptionError: the recipe sets one of `unused`.
            MissingExtraError: a package is missing.
        """
        for name in self.unused:
            if (value := getattr(recipe, name)) != getattr(PLAIN, name):
                raise OptionError(
                    f"the recipe {recipe.name} has {name} {value}, which {self.name} does not use",
                    hint=f"use the recipe {self.recipe}, or one without it",
                )
        for package in self.packages:
            check_package(package, feature=f"training for {self.name}", extra="train")

    def check_teacher(self, teacher: MobileNet, spec: ModelSpec, path: Path) -> None:
        """Refuse a teacher that does not suit a network.

        Raises:
            TrainingError: classes or sizes of the two differ.
        """

    def faults(self, data: D) -> Sequence[Fault]:  # noqa: ARG002
        """Annotations and images that were skipped or clipped."""
        return ()

    def predict(self, model: MobileNet, picture: Image, learned: Learned, *, least_score: float) -> Predicted:  # noqa: ARG002
        """The prediction for one image, and the image with the prediction drawn; `drawn` makes both.

        `picture` is an RGB image of any size; boxes with less than `least_score` are left out.

        Raises:
            OptionError: the task has no predictions to draw.
        """
        raise OptionError(f"{self.name} has no predictions to draw", hint="define predict in its task")

    def reach(self, model: MobileNet, examples: E, classes: int) -> tuple[float | None, ...]:  # noqa: ARG002
        """Share of each class's objects that the network's anchors match; empty without anchors."""
        return ()


PLAIN = Recipe()
"""The recipe with the default of every setting."""

AnyTask: TypeAlias = Task[Any, Any, Any]


def named_task(name: str) -> AnyTask:
    """The task with a name, built in or an entry point of the group ``mnv2search.tasks``.

    Raises:
        UnknownNameError: there is no such task.
    """
    return cast("AnyTask", plugins.load("task", name)())


def task_of(spec: ModelSpec) -> AnyTask:
    """The task of a network, by its head.

    Raises:
        OptionError: the network has no head, or no task has this kind of head.
    """
    for name in plugins.names("task"):
        task = named_task(name)
        if type(spec.head) is task.head:
            return task
    raise OptionError(f"{spec.name} has no head of a task", hint="give its spec a head, such as head: classifier")
