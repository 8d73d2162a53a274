"""A task: what networks with one kind of head learn, on which data, by which loss and by which metric."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
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
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.prediction import Predicted


class Data(Protocol):
    """A dataset in three splits without a common image."""

    @property
    def root(self) -> Path:
        """Folder or file that it was read from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what is told apart, in the order of the labels."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that differ where a file, an annotation or a split does."""

    def part(self, split: Split) -> Sequence[object]:
        """The examples of a split."""


D = TypeVar("D", bound=Data)
"""The dataset."""
B = TypeVar("B")
"""A batch."""


class Step(NamedTuple):
    """A training step as a loss sees it.

    Attributes:
        forward: predictions in float32 of normalised images (N, 3, H, W), computed in the precision of the training.
        number: of the step, from 0.
        teacher: network whose outputs are half of the target, or None.
    """

    model: MobileNet
    forward: Callable[[Tensor], Tensor]
    recipe: Recipe
    device: str
    seed: int
    number: int
    teacher: nn.Module | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One process's share of an evaluation; `sums` adds up values over all processes."""

    rank: int = 0
    size: int = 1
    sums: Callable[[Sequence[float]], Sequence[float]] = tuple


class Wanted(NamedTuple):
    """The parts of a dataset that are to be prepared, and for which network; see `Task.prepare`."""

    spec: ModelSpec
    recipe: Recipe
    splits: Sequence[Split]
    on_progress: Callable[[int], None]


class Evaluation(NamedTuple):
    """How a network is evaluated.

    Attributes:
        learned: classes and normalisation of its training.
        run: what answers normalised images in its place, such as an exported file; None evaluates the network.
        share: of this process; a task that does not distribute evaluates everything.
        stop: asked before every batch whether to stop, where a process is alone.
    """

    learned: Learned
    run: Callable[[Tensor], Tensor] | None
    device: str
    share: Share
    stop: Callable[[], bool]


class SearchLength(NamedTuple):
    """The default length of the trainings of a search: at least so many epochs and steps.

    Attributes:
        useful_steps: to which a training is shortened at most, from random and from given weights.
        evaluations: of a training, at most.
        first_rung_steps: before which candidates are not compared, from random and from given weights; None compares
            after 1 epoch, after as many epochs as the reduction factor, its square, and so on.
    """

    epochs: int
    steps: int
    useful_steps: tuple[int, int]
    evaluations: float
    first_rung_steps: tuple[int, int] | None


# With fewer steps there is little to compare classifiers by. A detector from random weights finds next to nothing
# at first, and all candidates look alike; from the weights of a classifier 60 steps led to an mAP of 6.5 % and 150 to
# 22.8 %, 30 to 2.4 % (docs/research/2026-11-25-detector-training.md). Its evaluation on a small dataset takes as long
# as an epoch.
OF_CLASSIFIERS = SearchLength(3, 0, (100, 100), math.inf, None)
OF_DENSE_TASKS = SearchLength(3, 150, (100, 60), 4, (100, 30))


class Task(ABC, Generic[D, E, B]):
    """What networks with one kind of head learn; an instance has no state.

    Attributes:
        name: of the task, as an entry point of the group ``mnv2search.tasks`` names it.
        unused: settings of a recipe that the task ignores; a recipe that sets one is refused.
        packages: that training needs; they come with the extra ``train``.
        tries: examples whose evaluation tells how long that of all takes.
        evaluations: during a training, at most, apart from the last.
        length: of the trainings of a search.
        distributes: several processes can train a network together.
        distills: a network can learn from the outputs of a teacher.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    head: ClassVar[type[Head]]
    recipe: ClassVar[str] = "modern"
    unused: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    tries: ClassVar[int] = 16
    evaluations: ClassVar[float] = math.inf
    length: ClassVar[SearchLength] = OF_CLASSIFIERS
    distributes: ClassVar[bool] = False
    distills: ClassVar[bool] = False

    @abstractmethod
    def read(self, source: Path, *, seed: int = 0, void: int = VOID) -> D:
        """The dataset of a folder or file.

        `void` is the mask value to ignore, for tasks that have masks; splits are drawn by the seed.

        Raises:
            DataError: it cannot be learned from.
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
        """Some splits, ready for a network.

        `on_progress` is called with the number of images decoded.

        Raises:
            DataError: too many images are broken, or they take too much room.
        """
        return self.parts(data, Wanted(spec, recipe, splits, on_progress))

    @abstractmethod
    def parts(self, data: D, wanted: Wanted) -> Parts[E]:
        """The result of `prepare`."""

    @abstractmethod
    def batches(self, examples: E, spec: ModelSpec, recipe: Recipe, epoch: Epoch) -> Generator[B]:
        """An epoch of full batches in random order for a network; the same ones for the same seed."""

    @abstractmethod
    def loss(self, step: Step, batch: B) -> Tensor:
        """The loss of a batch, augmented as the recipe says; torch's generator may be drawn from."""

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
        """Metrics of a network on its device, as `Evaluation` says; it is left in the mode that it was in.

        Raises:
            StoppedError: it was asked to stop.
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
        """The result of `evaluate`, of a network in evaluation mode and without gradients."""

    def some(self, examples: E) -> E:
        """The first `tries` examples."""
        return cast("E", cast("Sequence[Any]", examples)[: self.tries])

    def fitted(self, spec: ModelSpec, data: D) -> ModelSpec:
        """The network with the classes of the data.

        Raises:
            OptionError: it has another head.
        """
        return with_classes(spec, len(data.classes), head=cast("Telling", self.head))

    def batch_of(self, recipe: Recipe, count: int) -> int:
        """Images in a batch where there are so many to learn from."""
        return min(recipe.batch, count)

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe with settings that would be ignored, and missing packages.

        Raises:
            OptionError: the recipe sets one of `unused`.
            MissingExtraError: a package is missing.
        """
        for name in self.unused:
            if getattr(recipe, name):
                raise OptionError(
                    f"the recipe {recipe.name} has {name} {getattr(recipe, name):g}, which {self.name} does not use",
                    hint=f"use the recipe {self.recipe}, or one without it",
                )
        for package in self.packages:
            check_package(package, feature=f"training for {self.name}", extra="train")

    def check_teacher(self, teacher: MobileNet, spec: ModelSpec, path: Path) -> None:
        """Refuse a teacher that does not suit a network.

        Raises:
            TrainingError: the two have other classes or sizes.
        """

    def faults(self, data: D) -> Sequence[Fault]:  # noqa: ARG002
        """What is wrong with the data and was skipped or clipped."""
        return ()

    def predict(self, model: MobileNet, picture: Image, learned: Learned, *, least_score: float) -> Predicted:  # noqa: ARG002
        """The prediction for one image, and the image with it drawn, such as by `mnv2search.tasks.prediction.drawn`.

        `picture` is an RGB image of any size; boxes with less than `least_score` are left out.

        Raises:
            OptionError: the task has no predictions to draw.
        """
        raise OptionError(f"{self.name} has no predictions to draw", hint="define predict in its task")

    def reach(self, model: MobileNet, examples: E, classes: int) -> tuple[float | None, ...]:  # noqa: ARG002
        """Of the objects of each class, the share that the network's anchors fit; nothing without anchors."""
        return ()


AnyTask: TypeAlias = Task[Any, Any, Any]


def named_task(name: str) -> AnyTask:
    """The task of that name, built in or an entry point of the group ``mnv2search.tasks``.

    Raises:
        UnknownNameError: there is none.
    """
    return cast("AnyTask", plugins.load("task", name)())


def task_of(spec: ModelSpec) -> AnyTask:
    """The task of a network, by its head.

    Raises:
        OptionError: it has no head, or one of no task.
    """
    for name in plugins.names("task"):
        task = named_task(name)
        if type(spec.head) is task.head:
            return task
    raise OptionError(f"{spec.name} has no head of a task", hint="give its spec a head, such as head: classifier")
