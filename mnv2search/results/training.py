"""Reports of finished trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec

if TYPE_CHECKING:
    from mnv2search.data.images import ImageSet
    from mnv2search.data.scenes import SceneSet
    from mnv2search.supernet.inherit import Inheritance
    from mnv2search.tasks.classification import Figures
    from mnv2search.tasks.dense_metrics import DenseFigures
    from mnv2search.training.dense_loop import DenseTrained
    from mnv2search.training.loop import Trained

__all__ = ["DenseTrainingReport", "TrainingReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training came to.

    Attributes:
        spec: that was trained, with the classes of the data.
        images: what it was trained on.
        recipe: as it was used.
        trained: how the training went; its figures are those of the held-out images that chose the weights.
        test: figures on images that played no part in it.
        unreadable: images that were left out.
        inheritance: what came over from other weights, or None.
        device: of torch.
        threads: of torch.
        processes: that trained together.
        folder: with ``best.pt``, ``last.ckpt``, ``history.jsonl``, ``training.json``, ``curves.png``,
            ``report.html`` and event files of TensorBoard.
    """

    spec: ModelSpec
    images: ImageSet
    recipe: Recipe
    trained: Trained
    test: Figures
    unreadable: tuple[Path, ...]
    inheritance: Inheritance | None
    device: str
    threads: int
    processes: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTrainingReport:
    """What a training came to.

    Attributes:
        spec: that was trained, with the classes of the data.
        scenes: what it was trained on, with what was wrong with it.
        recipe: as it was used.
        trained: how the training went; its figures are those of the held-out images that chose the weights.
        test: figures on images that played no part in it.
        inheritance: what came over from other weights, or None.
        device: of torch.
        threads: of torch.
        reach: of the boxes of each class in ``train``, the share that some anchor overlaps by half or more; None for
            a class without boxes, and nothing for a segmenter.
        folder: with ``best.pt``, ``last.ckpt``, ``history.jsonl``, ``training.json``, ``curves.png``, ``report.html``
            and event files of TensorBoard.
    """

    spec: ModelSpec
    scenes: SceneSet
    recipe: Recipe
    trained: DenseTrained
    test: DenseFigures
    inheritance: Inheritance | None
    device: str
    threads: int
    reach: tuple[float | None, ...]
    folder: Path
