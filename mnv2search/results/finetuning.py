"""The results of fine-tuning the best networks of a search, and the file that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mnv2search.accuracy.types import Accuracy, Kind, accuracy_of
from mnv2search.cost import MAX_COUNT
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.study.results import front_of
from mnv2search.study.types import SearchResult
from mnv2search.tasks.metrics import Metrics, metrics_of_record, record_of
from mnv2search.untrusted import UnsafeFileError, file_name, json_as, read_bytes

REPORT = "finetune.json"
MAX_BYTES = 1 << 24
BEST = "best.pt"
# Of trainings that see every image many times.
LONG_RECIPE = "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """The results of the trainings.

    Attributes:
        networks: in the order in which they were given.
        held_out: metrics of each on the validation images, by which the search decides.
        images: seen in each training.
        best: index of the most accurate network.
        test: its metrics on images that played no part in anything before.
        notes: for the reader of the results, such as that a training had to end early.
        kept: names of networks that a training did not improve, and that keep what they inherited.
    """

    recipe: str
    networks: tuple[Evaluation, ...]
    held_out: tuple[Metrics, ...]
    steps: int
    images: int
    best: int
    test: Metrics
    weights: Path
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[Evaluation, ...]:
        """The networks with their accuracies after the trainings."""
        return tuple(
            replace(e, accuracy=_accuracy(e.accuracy, metrics, kind=self.kind(e)))
            for e, metrics in zip(self.networks, self.held_out, strict=True)
        )

    def kind(self, network: Evaluation) -> Kind:
        """How the accuracy of a network was determined."""
        return "inherited" if network.spec.name in self.kept else "trained"

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """Their Pareto front by the validation images, fastest first."""
        return front_of(self.trained)


def training_folder(folder: Path, evaluation: Evaluation) -> Path:
    """The folder of one network's training."""
    return folder / file_name(evaluation.spec.name)


def finetuned_json(finetuned: Finetuned) -> dict[str, Any]:
    """All results as JSON values; accuracies are shares of 1."""
    main = finetuned.test.main
    return {
        "recipe": finetuned.recipe,
        "steps": finetuned.steps,
        "images": finetuned.images,
        "networks": [
            {"name": e.spec.name, "held_out": _metrics_json(metrics), "kind": finetuned.kind(e)}
            for e, metrics in zip(finetuned.networks, finetuned.held_out, strict=True)
        ],
        "front": [e.spec.name for e in finetuned.front],
        "best": finetuned.networks[finetuned.best].spec.name,
        "test": _metrics_json(finetuned.test),
        "weights": str(finetuned.weights),
        "metric": main.name,
        "notes": list(finetuned.notes),
    }


def _metrics_json(metrics: Metrics) -> dict[str, object]:
    main, known = metrics.main, record_of(metrics)
    if "metric" in known:
        known = {main.name: main.value, "count": metrics.count, "details": dict(metrics.details)}
    return {**known, "low": main.low, "high": main.high}


def _metrics(known: dict[str, Any], metric: str) -> Metrics:
    """The metrics of such JSON values.

    Raises:
        ValueError: they are none of this metric.
    """
    try:
        if metric != "top1":
            details = [*known.get("details", {}).items()]
            known = {**known, "metric": metric, "value": known[metric], "details": details}
        return metrics_of_record({"loss": 0.0, **known})
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"it has no usable {metric}") from error


def shipped_json(finetuned: Finetuned) -> dict[str, object]:
    """What fine-tuning changes in the JSON of a run: the network to ship, and how that was decided."""
    return {"ship": finetuned.networks[finetuned.best].spec.name, "finetuned": finetuned_json(finetuned)}


def measured_of(result: SearchResult) -> tuple[Evaluation, ...]:
    """Measured networks that fit, of which some may have been trained at an earlier end of the run."""
    return tuple(e for e in (*result.dominated, *result.front, *result.finalists) if e.is_feasible)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    name: str
    held_out: dict[str, Any]
    kind: Kind = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneReport:
    """The report file of several trainings: their settings and, once they have ended, their results.

    Attributes:
        steps: number of steps of each training.
        recipe: the default is the recipe of reports that do not state one.
        count: planned number of networks; 0 if the report does not state it.
    """

    steps: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    recipe: str = LONG_RECIPE
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    images: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    metric: str = "top1"
    networks: tuple[_Network, ...] = ()
    best: str = ""
    test: dict[str, Any] | None = None
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
    by_name = {e.spec.name: e for e in finalists}
    names = [network.name for network in report.networks]
    if not by_name.keys() >= set(names):
        return None
    try:
        best = names.index(report.best)
        return Finetuned(
            recipe=report.recipe,
            networks=tuple(by_name[name] for name in names),
            held_out=tuple(_metrics(network.held_out, report.metric) for network in report.networks),
            steps=report.steps,
            images=report.images,
            best=best,
            test=_metrics(report.test, report.metric),
            weights=training_folder(folder, by_name[report.best]) / BEST,
            notes=report.notes,
            kept=tuple(network.name for network in report.networks if network.kind == "inherited"),
        )
    except ValueError as error:
        raise RecordError(f"{folder / REPORT} cannot be read: {error}", hint="remove it to train anew") from error


def _accuracy(before: Accuracy | None, metrics: Metrics, *, kind: Kind) -> Accuracy:
    dataset, seed = ("", None) if before is None else (before.dataset, before.seed)
    return accuracy_of(metrics, kind=kind, dataset=dataset, seed=seed)
