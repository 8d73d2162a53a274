"""What detection and segmentation have in common: scenes, their batches, and a network's output for each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from mnv2search.data.augmentation import augment_scenes
from mnv2search.data.batches import scene_batches
from mnv2search.data.dataset import SPLITS, Dataset, Fault, Split
from mnv2search.data.loaded_scenes import VOID, LoadedScenes, SceneBatch
from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.data.transforms import normalised
from mnv2search.errors import StoppedError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import OF_DENSE_TASKS, Epoch, Parts, Share, Step, Task

EVALUATION_BATCH = 16
ALONE = Share()

Outputs: TypeAlias = Iterator[tuple[int, Tensor]]
"""Number of each scene with the output for it."""


class SceneTask(Task[Dataset, LoadedScenes, SceneBatch]):
    """A task on images with boxes or masks."""

    kind: ClassVar[str]
    recipe = "dense"
    unused = ("label_smoothing", "randaugment", "mixup", "shift_px")
    tries = 4
    evaluations = 20
    length = OF_DENSE_TASKS

    def read(self, source: Path, *, seed: int = 0, void: int = VOID) -> Dataset:
        """Scenes of a folder or a tar."""
        return read_dataset(source, self.kind, seed=seed, unpack_to=image_folder(), void=void)

    def prepare(
        self,
        data: Dataset,
        spec: ModelSpec,
        recipe: Recipe,
        *,
        splits: Sequence[Split] = SPLITS,
        on_progress: Callable[[int], None] = lambda _: None,  # noqa: ARG002
    ) -> Parts[LoadedScenes]:
        """Scenes that are decoded when they are first needed."""
        loaded = {split: LoadedScenes(data.part(split), size=spec.size, void=data.void) for split in splits}
        return Parts(examples=loaded, recipe=recipe)

    def batches(
        self,
        examples: LoadedScenes,
        spec: ModelSpec,  # noqa: ARG002
        recipe: Recipe,  # noqa: ARG002
        epoch: Epoch,
    ) -> Generator[SceneBatch]:
        """Batches of whole scenes; they are augment_scenes with the loss."""
        return scene_batches(examples, batch=epoch.batch, seed=epoch.seed, epoch=epoch.number, first=epoch.first)

    def loss(self, step: Step, batch: SceneBatch) -> Tensor:
        """The loss of scenes that are mirrored, cut and coloured at random."""
        moved = augment_scenes(batch, step.recipe)
        images = normalised(moved.images.to(step.device), step.recipe.normalization)
        return self.loss_of(step.forward(images), moved, step)

    @torch.no_grad()
    def evaluate(
        self,
        model: MobileNet,
        examples: LoadedScenes,
        learned: Learned,
        *,
        run: Callable[[Tensor], Tensor] | None = None,
        device: str = "cpu",
        share: Share = ALONE,  # noqa: ARG002
        stop: Callable[[], bool] = lambda: False,
    ) -> Metrics:
        """Metrics on scenes, compared with their annotations at the scenes' own sizes."""
        was_training = model.training
        model.eval()
        outputs = _outputs(run or model.predictions, examples, learned.normalization, device, stop)
        found = self.metrics(outputs, model, examples, learned.classes, is_answer=run is not None)
        model.train(was_training)
        return found

    def some(self, examples: LoadedScenes) -> LoadedScenes:
        """The first scenes."""
        return LoadedScenes(examples.scenes[: self.tries], size=examples.size, void=examples.void)

    def faults(self, data: Dataset) -> Sequence[Fault]:
        """Annotations and images that were skipped or clipped."""
        return data.faults

    @abstractmethod
    def loss_of(self, predictions: Tensor, batch: SceneBatch, step: Step) -> Tensor:
        """The loss of a network's predictions."""

    @abstractmethod
    def metrics(
        self, outputs: Outputs, model: MobileNet, loaded: LoadedScenes, classes: tuple[str, ...], *, is_answer: bool
    ) -> Metrics:
        """Metrics of predictions, or of the network's answer in the form that its `head.output` says."""


def _outputs(
    run: Callable[[Tensor], Tensor],
    loaded: LoadedScenes,
    normalization: str,
    device: str,
    stop: Callable[[], bool],
) -> Outputs:
    for first in range(0, len(loaded), EVALUATION_BATCH):
        if stop():
            raise StoppedError("the evaluation was stopped")
        numbers = range(first, min(first + EVALUATION_BATCH, len(loaded)))
        images = normalised(loaded.batch(list(numbers)).images.to(device), normalization)
        yield from zip(numbers, run(images).float(), strict=True)
