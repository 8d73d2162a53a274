"""Results of training a network or a supernet, and of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.accuracy.types import METRICS, Accuracy
from mnv2search.data.dataset import Fault, Split
from mnv2search.display import Displayed, Listing
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.supernet.inheritance import Inheritance
from mnv2search.tasks.metrics import Metrics, trivial_name
from mnv2search.tasks.prediction import Found
from mnv2search.tasks.task import Data
from mnv2search.training.progress import Trained

# Predictions that are printed, and classes of each.
MOST_PRINTED, SHOWN = 8, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstImage:
    """An image with one of the highest losses; `index` is its place among the readable images of the split."""

    index: int
    image: Path
    true: str
    predicted: str
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingReport(Displayed):
    """The result of a training, in a folder with ``best.pt``, ``training.json`` and ``report.html``.

    Attributes:
        spec: trained network, with the classes of the data.
        trained: training, with the metrics on the validation images, which chose the weights.
        test: metrics on the test images.
        inheritance: number of parameters inherited from initial weights, or None.
        unreadable: images that were left out.
        faults: annotations and images that were skipped or clipped.
        reach: share of each class's training boxes that some anchor overlaps with an IoU of at least 0.5; None for a
            class without boxes, and empty without anchors.
        worst: test images of a classifier with the highest losses, worst first.
    """

    spec: ModelSpec
    task: str
    data: Data
    seed: int
    recipe: Recipe
    trained: Trained
    test: Metrics
    inheritance: Inheritance | None
    device: str
    threads: int
    processes: int
    folder: Path
    unreadable: tuple[Path, ...] = ()
    faults: Sequence[Fault] = ()
    reach: tuple[float | None, ...] = ()
    worst: tuple[WorstImage, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<{self.folder}: {self.spec.name}, {self.trained.steps:,} steps, {_main_text(self.test)} on "
            f"{self.test.count} test images>"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EvaluationReport(Displayed):
    """The metrics of a trained network on a split of a dataset.

    Attributes:
        weights: file of the network.
        worst: images of a classifier with the highest losses, worst first.
    """

    weights: Path
    spec: ModelSpec
    task: str
    data: Data
    split: Split
    metrics: Metrics
    unreadable: tuple[Path, ...] = ()
    worst: tuple[WorstImage, ...] = ()

    def __repr__(self) -> str:
        images = f"{self.metrics.count} {self.split} images"
        return f"<{self.weights}: {self.spec.name}, {_main_text(self.metrics)} on {images}>"


def _main_text(metrics: Metrics) -> str:
    main = metrics.main
    return f"{main.name} {main.value:.3f} [{main.low:.3f}, {main.high:.3f}]"


def evaluation_json(report: EvaluationReport) -> dict[str, object]:
    """The report as JSON values."""
    return {
        "weights": str(report.weights),
        "name": report.spec.name,
        "task": report.task,
        "data": str(report.data.root),
        "fingerprint": report.data.fingerprint,
        "classes": list(report.data.classes),
        "split": report.split,
        "metrics": _metrics_json(report.metrics),
        "confusion": _confusion_json(report.metrics, report.data.classes),
        "worst": [_worst_json(one) for one in report.worst],
        "unreadable": [str(path) for path in report.unreadable],
    }


def _worst_json(worst: WorstImage) -> dict[str, object]:
    return {"image": str(worst.image), "true": worst.true, "predicted": worst.predicted, "loss": worst.loss}


def _confusion_json(metrics: Metrics, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """The number of images by true class and predicted class, without zeros; empty except for classifiers."""
    if metrics.answers is None:
        return {}
    matrix = metrics.answers.confusion(len(classes)).tolist()
    return {
        true: {other: count for other, count in zip(classes, row, strict=True) if count}
        for true, row in zip(classes, matrix, strict=True)
    }


def report_json(report: TrainingReport) -> dict[str, object]:
    """The report as JSON values."""
    trained, data = report.trained, report.data
    return {
        "name": report.spec.name,
        "task": report.task,
        "data": str(data.root),
        "fingerprint": data.fingerprint,
        "classes": list(data.classes),
        "faults": [str(fault) for fault in report.faults],
        "recipe": asdict(report.recipe),
        "seed": report.seed,
        "held_out": _metrics_json(trained.best),
        "test": _metrics_json(report.test),
        "best_step": trained.best_step,
        "steps": trained.steps,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "images_per_s": trained.images_per_s,
        "resumed_at": trained.resumed_at,
        "inherited": None if report.inheritance is None else report.inheritance.share,
        "unreadable": [str(path) for path in report.unreadable],
        "reach": list(report.reach),
        "confusion": _confusion_json(report.test, data.classes),
        "worst": [_worst_json(one) for one in report.worst],
        "reductions": trained.reductions,
        "is_stopped_early": trained.is_stopped_early,
        "precision": trained.precision,
        "device": report.device,
        "threads": report.threads,
        "processes": report.processes,
    }


def _metrics_json(metrics: Metrics) -> dict[str, object]:
    main = metrics.main
    of_classes = {} if metrics.loss is None else {"commonest": metrics.trivial, "loss": metrics.loss}
    score = {} if metrics.score is None else {"score": metrics.score}
    return {
        "low": main.low,
        "high": main.high,
        "trivial": {"name": trivial_name(main.name), "value": metrics.trivial},
        **of_classes,
        **{name: value for name, value in metrics.details if name in METRICS},
        **score,
        main.name: main.value,
        "by_class": {name: value for name, value in metrics.details if name not in METRICS},
        "images": metrics.count,
    }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SupernetReport(Displayed):
    """The result of a supernet's training.

    Attributes:
        shown: some of the networks, from the smallest to the largest, with their inherited accuracies.
        evaluator: text that opens the evaluator with these weights.
    """

    folder: Path
    shown: tuple[tuple[ModelSpec, Accuracy], ...]
    notes: tuple[str, ...]
    evaluator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction for an image, highest score first, and the PNG file with the prediction drawn."""

    image: Path
    drawn: Path
    found: tuple[Found, ...]


class Predictions(Listing[Prediction]):
    """Predictions for several images; printed as one line for each of the first few."""

    def __repr__(self) -> str:
        shown = [f"{one.image}: {', '.join(map(str, one.found[:SHOWN])) or 'nothing'}" for one in self[:MOST_PRINTED]]
        rest = [f"and {len(self) - MOST_PRINTED} more"] if len(self) > MOST_PRINTED else []
        return "\n".join([f"<{len(self)} predictions", *shown, *rest]) + ">"
