"""Image classification: cross-entropy and top-1 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.data.augmentation import rand_augment
from mnv2search.data.batches import Batch, Epoch, evaluation_batches, feed_of, training_batches
from mnv2search.data.dataset import Dataset
from mnv2search.data.loaded_scenes import VOID
from mnv2search.data.pixels import Pixels
from mnv2search.data.prepare import Parts, prepare
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.data.transforms import CROP, Transform
from mnv2search.errors import DataError, StoppedError, TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import Classifier, ModelSpec, square_side
from mnv2search.tasks.metrics import Answers, Metrics, share
from mnv2search.tasks.prediction import Found, Predicted, drawn, outputs_of
from mnv2search.tasks.task import Evaluation, Share, Step, Task, Wanted

EVALUATION_BATCH = 128
ALONE = Share()
# Fewest epochs for moderate means against overfitting, and for strong ones such as mixup.
MEDIUM_EPOCHS, LONG_EPOCHS = 12, 30
# Number of classes in a prediction.
TOP = 5


class Classification(Task[Dataset, Pixels, Batch]):
    """Image classification."""

    name = "classification"
    metric = "top1"
    head = Classifier
    unused = ("zoom_out", "mosaic")
    learning_exponent = 0.4
    shorter_recipes = ((MEDIUM_EPOCHS, "short"), (LONG_EPOCHS, "medium"))
    distributes = distills = True

    def read(self, source: Path, *, seed: int = 0, void: int = VOID) -> Dataset:  # noqa: ARG002
        """Read images in folders of classes, or in a table."""
        return read_dataset(source, "classification", seed=seed, unpack_to=image_folder())

    def parts(self, data: Dataset, wanted: Wanted) -> Parts[Pixels]:
        """Images decoded at the network's size; images that are not larger are shifted instead of cropped."""
        spec, recipe, splits, on_progress = wanted
        return prepare(data, side=square_side(spec), recipe=recipe, splits=splits, on_progress=on_progress)

    def learned(self, spec: ModelSpec, examples: Pixels, classes: tuple[str, ...], normalization: str) -> Learned:
        """The metadata of the weights, with the crop of evaluations."""
        crop = 1.0 if examples.short_px <= square_side(spec) else CROP
        return Learned(classes=classes, normalization=normalization, crop=crop)

    def batch_of(self, recipe: Recipe, count: int) -> int:
        """The batch size of the recipe.

        Raises:
            DataError: there are fewer images than in a batch.
        """
        if count < recipe.batch:
            raise DataError(
                f"there are {count} images to learn from, fewer than a batch of {recipe.batch}",
                hint=f"give more, or a recipe with a batch of at most {max(2, count)}",
            )
        return recipe.batch

    def batches(self, examples: Pixels, spec: ModelSpec, recipe: Recipe, epoch: Epoch) -> Generator[Batch]:
        """Randomly cropped and mirrored batches."""
        return training_batches(examples, Transform.of(recipe, square_side(spec)), epoch)

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Cross-entropy, with mixup if the recipe sets it; with a teacher, half of the loss is distillation."""
        recipe, labels = step.recipe, batch.labels.to(step.device)
        images = batch.images.to(step.device, non_blocking=True)
        if recipe.randaugment:
            images = rand_augment(
                images, operations=recipe.randaugment, magnitude=recipe.magnitude, normalization=recipe.normalization
            )
        part, other = 1.0, labels
        if recipe.mixup:
            part = float(np.random.default_rng((step.seed, step.number)).beta(recipe.mixup, recipe.mixup))
            images, other = part * images + (1 - part) * images.flip(0), labels.flip(0)
        logits = step.forward(images)
        loss = _cross_entropy(logits, labels, step) * part
        if part < 1.0:
            loss = loss + _cross_entropy(logits, other, step) * (1 - part)
        if step.teacher is not None:
            with torch.no_grad():
                target = step.teacher(images).softmax(1)
            loss = 0.5 * loss + 0.5 * functional.cross_entropy(logits, target)
        return loss

    def metrics(self, model: MobileNet, examples: Pixels, evaluation: Evaluation) -> Metrics:
        """Top-1 accuracy and loss on the center crop of every image."""
        learned, run, device, part, stop = evaluation
        transform = Transform(side=square_side(model.spec), normalization=learned.normalization)
        classes = learned.classes
        return classify(run or model, examples, transform, classes=classes, device=device, part=part, stop=stop)

    def class_weights(self, examples: Pixels, spec: ModelSpec, recipe: Recipe) -> Tensor | None:
        """Weights by the inverse of the number of images of each class, with a mean of 1 over all images."""
        if recipe.class_weights == "none":
            return None
        assert spec.head is not None
        counts = torch.from_numpy(np.bincount(examples.labels, minlength=spec.head.classes)).float()
        weights = counts.clamp(min=1) ** (-1.0 if recipe.class_weights == "inverse" else -0.5)
        return weights * counts.sum() / (counts * weights).sum()

    def some(self, examples: Pixels) -> Pixels:
        """The first images."""
        return replace(examples, labels=examples.labels[: self.tries])

    def predict(self, model: MobileNet, picture: Image, learned: Learned, *, least_score: float) -> Predicted:  # noqa: ARG002
        """The most probable classes of an image, preprocessed as in evaluations."""
        preprocessing = Preprocessing.of(model.plan, replace(learned, crop=learned.crop or CROP))
        logits = outputs_of(model, preprocessing.fitted(picture), learned.normalization)[0]
        scores, numbers = logits.softmax(0).topk(min(TOP, len(logits)))
        found = [
            Found(name=learned.classes[n], score=s) for n, s in zip(numbers.tolist(), scores.tolist(), strict=True)
        ]
        return drawn(picture, found, numbers.tolist())

    def check_teacher(self, teacher: MobileNet, spec: ModelSpec, path: Path) -> None:
        """Refuse a teacher with other classes, or with another fixed input size."""
        head = teacher.spec.head
        both = isinstance(head, Classifier) and isinstance(spec.head, Classifier)
        if not both or head.classes != spec.head.classes:  # type: ignore[union-attr]
            raise TrainingError(f"the teacher {path} has other classes", hint="train it on the same data first")
        if teacher.spec.resolution != spec.resolution and teacher.only_size is not None:
            raise TrainingError(
                f"the teacher {path} takes images of {teacher.only_size} px only", hint="take another"
            )


@torch.no_grad()
def classify(
    run: nn.Module | Callable[[Tensor], Tensor],
    pixels: Pixels,
    transform: Transform,
    *,
    classes: tuple[str, ...] = (),
    device: str = "cpu",
    part: Share = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> Metrics:
    """Top-1 accuracy and loss of a function from images to logits, such as a network in evaluation mode.

    `run` returns logits (N, classes) of normalised images; of the transform, only side and normalisation are used.
    With the names of the classes, the details are the accuracy of each class that has images.

    Raises:
        StoppedError: `stop` returned True.
    """
    count, done = len(pixels), 0
    own = range(part.rank, count, part.size)
    losses, predicted = np.zeros(count), np.zeros(count)
    for images, labels in evaluation_batches(
        pixels, transform, batch=EVALUATION_BATCH, indices=own, feed=feed_of(device)
    ):
        if part.size == 1 and stop():
            raise StoppedError("the evaluation was stopped")
        logits, places = run(images.to(device)), list(own[done : done + len(labels)])
        predicted[places] = logits.argmax(1).cpu()
        losses[places] = functional.cross_entropy(logits.float(), labels.to(device), reduction="none").cpu()
        done += len(labels)
    losses, predicted = np.array(part.sums([*losses, *predicted])).reshape(2, count)
    return _metrics_of(Answers(labels=pixels.labels, predicted=predicted.astype(np.int64), losses=losses), classes)


def _metrics_of(answers: Answers, classes: tuple[str, ...]) -> Metrics:
    labels, count = answers.labels, len(answers.labels)
    right, images = answers.predicted == labels, np.bincount(labels, minlength=len(classes))
    of_class = np.bincount(labels[right], minlength=len(images)) / np.maximum(images, 1)
    return Metrics(
        main=share("top1", int(right.sum()) / count, count),
        count=count,
        loss=float(answers.losses.mean()),
        trivial=float(images.max()) / count,
        details=tuple((name, float(of_class[k])) for k, name in enumerate(classes) if images[k]),
        answers=answers,
    )


def _cross_entropy(logits: Tensor, labels: Tensor, step: Step) -> Tensor:
    """The mean over the images, each in proportion to the weight of its class."""
    smoothing = step.recipe.label_smoothing
    if step.class_weights is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * step.class_weights[labels]).mean()
