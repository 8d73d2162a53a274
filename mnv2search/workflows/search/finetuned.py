"""What trainings of the last few networks of a search came to: the value, its report, and the files to ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from mnv2search.accuracy.types import Evaluator, Kind
from mnv2search.cost import MAX_COUNT
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.results.finetuned import Finetuned
from mnv2search.study.types import SearchResult
from mnv2search.untrusted import UnsafeFileError, file_name, json_as, read_bytes
from mnv2search.workflows.search.outputs import front_path, write_spec

if TYPE_CHECKING:
    from mnv2search.tasks.classification import Figures

__all__ = [
    "LONG_RECIPE",
    "REPORT",
    "FinetuneReport",
    "finetuned_json",
    "measured_of",
    "read_report",
    "recall_finetuned",
    "ship_trained",
    "shipped_json",
    "training_folder",
    "write_inherited",
]

REPORT = "finetune.json"
MAX_BYTES = 1 << 24
Share = Annotated[float, Meta(ge=0, le=1)]
Metric = Literal["top1", "map", "miou"]
# Of trainings that see every image many times.
LONG_RECIPE = "modern"


def training_folder(folder: Path, evaluation: Evaluation) -> Path:
    """The folder of one network's training."""
    return folder / file_name(evaluation.spec.name)


def finetuned_json(found: Finetuned) -> dict[str, Any]:
    """All figures as JSON values; accuracies are shares of 1."""

    def told(figures: Figures) -> dict[str, Any]:
        low, high = figures.interval
        known = asdict(figures) if found.metric == "top1" else {found.metric: figures.top1, "count": figures.count}
        return {**known, "low": low, "high": high}

    return {
        "recipe": found.recipe,
        "steps": found.steps,
        "images": found.images,
        "networks": [
            {"name": e.spec.name, "held_out": told(figures), "kind": found.kind(e)}
            for e, figures in zip(found.networks, found.held_out, strict=True)
        ],
        "front": [e.spec.name for e in found.front],
        "best": found.networks[found.best].spec.name,
        "test": told(found.test) | ({"details": dict(found.details)} if found.details else {}),
        "weights": str(found.weights),
        "metric": found.metric,
        "notes": list(found.notes),
    }


def shipped_json(found: Finetuned) -> dict[str, Any]:
    """What trainings of their own change in the answer of a run: what is shipped, and how that was decided."""
    return {"ship": found.networks[found.best].spec.name, "finetuned": finetuned_json(found)}


def measured_of(result: SearchResult) -> tuple[Evaluation, ...]:
    """Measured networks that fit, of which some may have been trained at an earlier end of the run."""
    return tuple(e for e in (*result.dominated, *result.front, *result.finalists) if e.is_feasible)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """Figures of one network; the metric of the report must be among them."""

    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    top1: Share | None = None
    map: Share | None = None
    miou: Share | None = None
    loss: float = 0.0
    commonest: Share | None = None
    details: dict[str, float] = field(default_factory=dict)

    def figures(self, metric: Metric) -> Figures:
        """The figures in the type that a training returns.

        Raises:
            UnsafeFileError: the metric is missing.
        """
        from mnv2search.tasks.classification import Figures  # late: it loads torch

        value: float | None = getattr(self, metric)
        if value is None:
            raise UnsafeFileError(f"it has no {metric}")
        return Figures(value, self.loss, self.count, self.commonest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    name: str
    held_out: _Measured
    kind: Kind = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneReport:
    """The report file of several trainings: their settings and, once they have ended, their results.

    Attributes:
        steps: number of steps of each training.
        recipe: recipe of each training; the default is the recipe of reports that do not state one.
        count: planned number of networks; 0 if the report does not state it.
        networks: the networks with their figures; empty before the end.
        best: name of the best network; empty before the end.
    """

    steps: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    recipe: str = LONG_RECIPE
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    images: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    metric: Metric = "top1"
    networks: tuple[_Network, ...] = ()
    best: str = ""
    test: _Measured | None = None
    notes: tuple[str, ...] = ()


def read_report(folder: Path) -> FinetuneReport | None:
    """The report of the trainings in a folder; None if there is none.

    Raises:
        RecordError: the report cannot be read.
    """
    path = folder / REPORT
    try:
        return json_as(FinetuneReport, read_bytes(path, max_bytes=MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, UnsafeFileError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="remove it to train anew") from error


def recall_finetuned(folder: Path, finalists: Sequence[Evaluation]) -> Finetuned | None:
    """The results of the trainings in a folder; None if they have not ended or are of other networks.

    Raises:
        RecordError: the report cannot be read.
    """
    report = read_report(folder)
    if report is None or report.test is None:
        return None
    from mnv2search.training.trainer import BEST  # late: it loads torch

    by_name = {e.spec.name: e for e in finalists}
    names = [network.name for network in report.networks]
    if not by_name.keys() >= set(names):
        return None
    try:
        best = names.index(report.best)
        return Finetuned(
            recipe=report.recipe,
            networks=tuple(by_name[name] for name in names),
            held_out=tuple(network.held_out.figures(report.metric) for network in report.networks),
            steps=report.steps,
            images=report.images,
            best=best,
            test=report.test.figures(report.metric),
            weights=training_folder(folder, by_name[report.best]) / BEST,
            metric=report.metric,
            details=tuple(report.test.details.items()),
            notes=report.notes,
            kept=tuple(network.name for network in report.networks if network.kind == "inherited"),
        )
    except ValueError as error:
        raise RecordError(f"{folder / REPORT} cannot be read: {error}", hint="remove it to train anew") from error


def write_inherited(folder: Path, front: Sequence[Evaluation], evaluator: Evaluator) -> None:
    """Write the weights of each member of a run's front next to its spec.

    Raises:
        TrainingError: the weights cannot be written.
    """
    from mnv2search.training.checkpoint import write_network  # late: it loads torch

    for evaluation in front:
        member = evaluator.member(evaluation.spec)
        write_network(front_path(folder, evaluation, suffix=".pt"), member, learned=evaluator.learned)


def ship_trained(folder: Path, found: Finetuned) -> None:
    """Make the best trained network the one to ship (``ship.yaml``, ``ship.pt``), and keep all of them in ``front``.

    Raises:
        TrainingError: the disk does not take them.
        RecordError: likewise.
    """
    from mnv2search.training.checkpoint import write_whole  # late: it loads torch
    from mnv2search.training.trainer import BEST

    for evaluation in found.trained:
        write_spec(front_path(folder, evaluation), evaluation)
        trained = training_folder(found.weights.parent.parent, evaluation) / BEST
        write_whole(front_path(folder, evaluation, suffix=".pt"), trained.read_bytes())
    write_whole(folder / "ship.pt", found.weights.read_bytes())
    write_spec(folder / "ship.yaml", found.trained[found.best])
