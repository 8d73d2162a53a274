"""Results of training a network or a supernet, and of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.accuracy.types import Accuracy
from mnv2search.data.dataset import Fault
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.supernet.inheritance import Inheritance
from mnv2search.tasks.metrics import Metrics, trivial_name
from mnv2search.tasks.prediction import Found
from mnv2search.tasks.task import Data
from mnv2search.training.progress import Trained


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingReport:
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

    def __repr__(self) -> str:
        main = self.test.main
        return (
            f"<{self.folder}: {self.spec.name}, {self.trained.steps:,} steps, {main.name} {main.value:.3f} "
            f"[{main.low:.3f}, {main.high:.3f}] on {self.test.count} test images>"
        )


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
        **score,
        **dict(metrics.details),
        main.name: main.value,
        "images": metrics.count,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetReport:
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
