"""A network and the files that were written of it, evaluated on the same test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import Classifier, DeepLab, ModelSpec, SsdLite, square_side

if TYPE_CHECKING:
    from mnv2search.export.check import Run
    from mnv2search.results.exports import Judged

__all__ = ["Judge", "judging"]

Judge: TypeAlias = "Callable[[Sequence[Path]], Judged]"
"""Evaluates the network and these files."""


def judging(spec: ModelSpec, weights: Path | None, data: Path, normalization: str) -> Judge:
    """What evaluates a network and the files that were written of it, by top-1, mean average precision or mean IoU.

    Everything is checked before, so that nothing is written for an evaluation that cannot be done.

    Args:
        spec: the network.
        weights: file of its weights.
        data: images with their classes, boxes or masks.
        normalization: of the images; see `mnv2search.export.calibration`.

    Raises:
        OptionError: the weights are random, the network has no head, or other classes than the images.
        DataError: the images cannot be read as the network needs them.
        MissingExtraError: what computes the figures is not installed.
    """
    if weights is None:
        raise OptionError("the network has random weights: there is nothing to evaluate", hint="give --weights")
    if spec.head is None:
        raise OptionError(f"{spec.name} has no head: there is nothing to evaluate", hint="give its spec a head")
    if isinstance(spec.head, SsdLite | DeepLab):
        return _of_scenes(spec, weights, data, normalization)
    return _of_classes(spec, weights, data, normalization)


def _runs(outputs: Sequence[Path]) -> list[tuple[str, Run]]:
    from mnv2search.export import loaded

    return [(str(path), run) for path in outputs if (run := loaded(path)) is not None]


def _of_scenes(spec: ModelSpec, weights: Path, data: Path, normalization: str) -> Judge:
    from mnv2search.data.prepare import image_folder
    from mnv2search.data.readers.scene_sets import read_scene_set
    from mnv2search.data.scene_batches import loaded_parts
    from mnv2search.export.check import network
    from mnv2search.tasks.dense_metrics import answer_figures, dense_figures
    from mnv2search.tasks.task import task_of

    scenes = read_scene_set(data, task_of(spec), unpack_to=image_folder())
    assert isinstance(spec.head, SsdLite | DeepLab)
    if spec.head.classes != len(scenes.classes):
        raise _other_classes(spec, len(scenes.classes), data)

    def judge(outputs: Sequence[Path]) -> Judged:
        _, _, test = loaded_parts(scenes, size=spec.size)
        model = network(spec, weights=weights, seed=0)
        found = [("the network", dense_figures(model, test, scenes.classes, normalization=normalization))]
        found += [
            (name, answer_figures(run, model, test, scenes.classes, normalization=normalization))
            for name, run in _runs(outputs)
        ]
        return tuple(found)

    return judge


def _of_classes(spec: ModelSpec, weights: Path, data: Path, normalization: str) -> Judge:
    from torch import Tensor, nn

    from mnv2search.data.image_batches import Cutting
    from mnv2search.data.images import read_image_set
    from mnv2search.data.prepare import image_folder, prepare
    from mnv2search.export.check import network
    from mnv2search.recipe import Recipe
    from mnv2search.tasks.classification import evaluate

    class Answering(nn.Module):
        def __init__(self, run: Run) -> None:
            super().__init__()
            self.run = run

        def forward(self, images: Tensor) -> Tensor:
            return self.run(images)

    images = read_image_set(data, unpack_to=image_folder())
    if not isinstance(spec.head, Classifier) or spec.head.classes != len(images.classes):
        raise _other_classes(spec, len(images.classes), data)
    side = square_side(spec)

    def judge(outputs: Sequence[Path]) -> Judged:
        prepared = prepare(images, side=side, recipe=Recipe(), splits=("test",))
        cutting = Cutting(side=side, normalization=normalization)
        runs: list[tuple[str, Run]] = [("the network", network(spec, weights=weights, seed=0)), *_runs(outputs)]
        return tuple((name, evaluate(Answering(run), prepared.parts["test"], cutting)) for name, run in runs)

    return judge


def _other_classes(spec: ModelSpec, classes: int, data: Path) -> OptionError:
    return OptionError(
        f"{spec.name} does not tell the {classes} classes of {data} apart",
        hint="give the images that it was trained on",
    )
