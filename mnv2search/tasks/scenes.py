"""Base class of detection and segmentation: scenes, batches, and the outputs of a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from mnv2search.data.augmentation import augment_scenes
from mnv2search.data.batches import Epoch, scene_batches
from mnv2search.data.dataset import Dataset, Example, Fault
from mnv2search.data.loaded_scenes import VOID, LoadedScenes, SceneBatch
from mnv2search.data.prepare import Parts
from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.data.transforms import normalised
from mnv2search.errors import StoppedError
from mnv2search.model.build import MobileNet
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Size
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import OF_DENSE_TASKS, Evaluation, Step, Task, Wanted

EVALUATION_BATCH = 16

Outputs: TypeAlias = Iterator[tuple[int, Tensor]]
"""Number and output of each scene."""


class SceneTask(Task[Dataset, LoadedScenes, SceneBatch]):
    """A task on images with boxes or masks."""

    recipe = "dense"
    unused = ("label_smoothing", "randaugment", "mixup", "shift_px", "class_weights")
    tries = 4
    evaluations = 20
    length = OF_DENSE_TASKS

    def read(self, source: Path, *, seed: int = 0, void: int = VOID) -> Dataset:
        """Read the scenes of a folder or a tar."""
        return read_dataset(source, self.name, seed=seed, unpack_to=image_folder(), void=void)

    def parts(self, data: Dataset, wanted: Wanted) -> Parts[LoadedScenes]:
        """Scenes that are decoded on first use."""
        size = wanted.spec.size
        loaded = {split: LoadedScenes(data.part(split), size=size, void=data.void) for split in wanted.splits}
        return Parts(examples=loaded, recipe=wanted.recipe)

    def batches(
        self,
        examples: LoadedScenes,
        spec: ModelSpec,  # noqa: ARG002
        recipe: Recipe,  # noqa: ARG002
        epoch: Epoch,
    ) -> Generator[SceneBatch]:
        """Batches of whole scenes; `loss` augments them."""
        return scene_batches(examples, epoch)

    def loss(self, step: Step, batch: SceneBatch) -> Tensor:
        """The loss of randomly mirrored, cropped and colour-jittered scenes."""
        moved = augment_scenes(batch, step.recipe)
        images = normalised(moved.images.to(step.device), step.recipe.normalization)
        return self.loss_of(step.forward(images), moved, step)

    def metrics(self, model: MobileNet, examples: LoadedScenes, evaluation: Evaluation) -> Metrics:
        """Metrics on scenes, compared with the annotations at original size."""
        outputs = _outputs(evaluation.run or model.predictions, examples, evaluation)
        answers = self.answers(outputs, model, is_output=evaluation.run is not None)
        return self.metrics_of(answers, examples, evaluation.learned.classes)

    def trivial(self, train: LoadedScenes, examples: LoadedScenes, classes: tuple[str, ...]) -> float:
        """The best main metric of `constant_answers`."""
        return _trivial(type(self), train.scenes, examples.scenes, examples.void, classes)

    def some(self, examples: LoadedScenes) -> LoadedScenes:
        """The first scenes."""
        return LoadedScenes(examples.scenes[: self.tries], size=examples.size, void=examples.void)

    def faults(self, data: Dataset) -> Sequence[Fault]:
        """Annotations and images that were skipped or clipped."""
        return data.faults

    @abstractmethod
    def loss_of(self, predictions: Tensor, batch: SceneBatch, step: Step) -> Tensor:
        """The loss of a network's predictions."""

    def answers(self, outputs: Outputs, model: MobileNet, *, is_output: bool) -> Outputs:  # noqa: ARG002
        """Answers in the format of `metrics_of`, from predictions or, with `is_output`, in that of `head.output`."""
        return outputs

    @abstractmethod
    def metrics_of(self, answers: Outputs, loaded: LoadedScenes, classes: tuple[str, ...]) -> Metrics:
        """Metrics of the answer for each scene."""

    @abstractmethod
    def constant_answers(self, train: LoadedScenes, classes: int) -> Iterator[Tensor]:
        """Answers that are the same for every image, derived from training scenes."""


# A search evaluates many networks on the same scenes.
@lru_cache(maxsize=8)
def _trivial(
    task: type[SceneTask],
    train: tuple[Example, ...],
    scenes: tuple[Example, ...],
    void: int,
    classes: tuple[str, ...],
) -> float:
    """The size of the images does not matter: answers are compared with the annotations at original size."""
    seen, judged = (LoadedScenes(part, size=Size(1, 1), void=void) for part in (train, scenes))
    metrics = (
        task().metrics_of(((number, answer) for number in range(len(judged))), judged, classes)
        for answer in task().constant_answers(seen, len(classes))
    )
    return max(one.main.value for one in metrics)


def _outputs(run: Callable[[Tensor], Tensor], loaded: LoadedScenes, evaluation: Evaluation) -> Outputs:
    for first in range(0, len(loaded), EVALUATION_BATCH):
        if evaluation.stop():
            raise StoppedError("the evaluation was stopped")
        numbers = range(first, min(first + EVALUATION_BATCH, len(loaded)))
        images = loaded.batch(list(numbers)).images.to(evaluation.device)
        yield from zip(numbers, run(normalised(images, evaluation.learned.normalization)).float(), strict=True)
