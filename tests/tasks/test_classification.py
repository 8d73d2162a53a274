"""Classification: class weights in the loss, and what an evaluation says about each class and image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import draw_pictures
from torch import Tensor
from torch.nn import functional

from mnv2search.data.batches import Batch
from mnv2search.data.pixels import Pixels, decoded
from mnv2search.data.reading import read_dataset
from mnv2search.data.transforms import Transform
from mnv2search.model.build import build
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.tasks.classification import Classification, classify
from mnv2search.tasks.metrics import metrics_of_record, metrics_of_tuple, record_of, tuple_of
from mnv2search.tasks.task import Share, Step

SPEC = ModelSpec(
    name="small", width=0.25, resolution=32, blocks=(BlockSpec(channels=16, stride=2),), head=Classifier(classes=3)
)
CLASSES = ("blue", "green", "red")
TASK = Classification()


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    folder = tmp_path_factory.mktemp("pictures")
    images = read_dataset(draw_pictures(folder / "tree"), "classification")
    return decoded(images.train, short_px=32, folder=folder / "cache")


def uneven(pixels: Pixels) -> Pixels:
    """The same images with 1, 9 and 32 of a class."""
    return replace(pixels, labels=np.array([0] * 1 + [1] * 9 + [2] * 32))


def answers_green(images: Tensor) -> Tensor:
    """Logits of a network that always answers the second class, more surely for bright images."""
    return torch.stack([torch.zeros(len(images)), 5 + images.mean((1, 2, 3)), torch.zeros(len(images))], dim=1)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(class_weights="inverse"), [42 / 3, 42 / 27, 42 / 96]),
        (Recipe(class_weights="sqrt"), [42 / (1 + 3 + 32**0.5) * n**-0.5 for n in (1, 9, 32)]),
    ],
    ids=["inverse", "sqrt"],
)
def test_class_weights_have_a_mean_of_one_over_the_images(
    recipe: Recipe, expected: list[float], pixels: Pixels
) -> None:
    weights = TASK.class_weights(uneven(pixels), SPEC, recipe)
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(weights[uneven(pixels).labels].mean()) == pytest.approx(1.0)


def test_equal_classes_have_equal_weights(pixels: Pixels) -> None:
    weights = TASK.class_weights(pixels, SPEC, Recipe(class_weights="inverse"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert TASK.class_weights(pixels, SPEC, Recipe()) is None


def step_of(recipe: Recipe, weights: Tensor | None, logits: Tensor) -> Step:
    model = build(SPEC, seed=0)
    return Step(model, lambda _: logits, recipe, "cpu", 0, 0, None, weights)


@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_the_loss_of_an_image_is_in_proportion_to_the_weight_of_its_class(mixup: float) -> None:
    batch = Batch(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 2]))
    logits, weights = torch.randn(4, 3), torch.tensor([3.0, 0.5, 0.25])
    recipe = Recipe(mixup=mixup, label_smoothing=0.1)
    part = 1.0 if not mixup else float(np.random.default_rng((0, 0)).beta(mixup, mixup))

    def expected(labels: Tensor) -> float:
        losses = functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        return float((losses * weights[labels]).mean())

    loss = TASK.loss(step_of(recipe, weights, logits), batch)
    whole = part * expected(batch.labels) + (1 - part) * expected(batch.labels.flip(0))
    assert float(loss) == pytest.approx(whole, rel=1e-5)
    same = TASK.loss(step_of(recipe, torch.ones(3), logits), batch)
    assert float(same) == pytest.approx(float(TASK.loss(step_of(recipe, None, logits), batch)), rel=1e-6)


def test_an_evaluation_has_the_accuracy_of_each_class_and_every_answer(pixels: Pixels) -> None:
    metrics = classify(answers_green, pixels, Transform(side=32), classes=CLASSES)
    assert dict(metrics.details) == {"blue": 0.0, "green": 1.0, "red": 0.0}
    assert metrics.main.value == metrics.trivial == pytest.approx(1 / 3)
    assert metrics.answers is not None
    assert metrics.answers.confusion(3).tolist() == [[0, 14, 0]] * 2 + [[0, 14, 0]]
    worst = metrics.answers.worst(5)
    losses = metrics.answers.losses
    assert list(losses[list(worst)]) == sorted(losses, reverse=True)[:5]
    assert metrics.loss == pytest.approx(losses.mean())
    assert {int(pixels.labels[one]) for one in worst} <= {0, 2}


def test_shares_of_an_evaluation_make_the_whole(pixels: Pixels) -> None:
    gathered: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []

    def share(rank: int, others: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | float) -> Share:
        def sums(values: object) -> tuple[float, ...]:
            gathered.append(np.array(values, dtype=float))
            return tuple((gathered[-1] + others).tolist())

        return Share(rank=rank, size=2, sums=sums)

    classify(answers_green, pixels, Transform(side=32), classes=CLASSES, part=share(0, 0.0))
    both = classify(answers_green, pixels, Transform(side=32), classes=CLASSES, part=share(1, gathered[0]))
    whole = classify(answers_green, pixels, Transform(side=32), classes=CLASSES)
    assert both == whole
    assert both.answers is not None
    assert whole.answers is not None
    assert both.answers.predicted.tolist() == whole.answers.predicted.tolist()


def test_metrics_of_classes_are_stored_and_answers_are_not(pixels: Pixels) -> None:
    metrics = classify(answers_green, pixels, Transform(side=32), classes=CLASSES)
    assert metrics_of_tuple(tuple_of(metrics)) == metrics
    assert metrics_of_record(record_of(metrics)) == metrics
    assert metrics_of_record(record_of(metrics)).answers is None
    assert metrics_of_tuple((0.5, 1.0, 8, 0.5)).details == ()


def test_a_network_of_a_task_with_scenes_takes_no_class_weights(tmp_path: Path) -> None:
    from mnv2search.errors import OptionError
    from mnv2search.tasks.segmentation import Segmentation

    with pytest.raises(OptionError, match="has class_weights sqrt, which segmentation does not use"):
        Segmentation().check(Recipe(class_weights="sqrt"))
