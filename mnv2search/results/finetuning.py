"""Results of fine-tuning the best networks of a search, and their file."""

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
# Recipe of trainings with many epochs.
LONG_RECIPE = "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """The results of fine-tuning.

    Attributes:
        networks: networks in the order of the candidates.
        held_out: validation metrics of each network, which choose the best.
        images: number of images seen in each training.
        best: index of the most accurate network.
        test: metrics of the best network on the test images, which were not used before.
        notes: notes for the user, for instance that a training ended early.
        kept: names of networks that training did not improve, and that keep their inherited weights.
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
        """Kind of a network's accuracy: inherited if the network kept its weights, otherwise trained."""
        return "inherited" if network.spec.name in self.kept else "trained"

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The Pareto front of the networks on the validation images, fastest first."""
        return front_of(self.trained)


def training_folder(folder: Path, evaluation: Evaluation) -> Path:
    """The folder of one network's training."""
    return folder / file_name(evaluation.spec.name)


def finetuned_json(finetuned: Finetuned) -> dict[str, Any]:
    """All results as JSON values; accuracies are ratios from 0 to 1."""
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
        known = {main.name: main.value, "details": dict(metrics.details)}
        known |= {name: getattr(metrics, name) for name in ("count", "trivial", "score")}
    return {**known, "low": main.low, "high": main.high}


def _metrics(known: dict[str, Any], metric: str) -> Metrics:
    """The metrics of values from `_metrics_json`; raises ValueError if they do not have this metric."""
    try:
        if metric != "top1":
            details = [*known.get("details", {}).items()]
            known = {**known, "metric": metric, "value": known[metric], "details": details}
        return metrics_of_record({"loss": 0.0, **known})
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"it has no usable {metric}") from error


def shipped_json(finetuned: Finetuned) -> dict[str, object]:
    """Fields that fine-tuning changes in the JSON of a run: the network to ship, and the results."""
    return {"ship": finetuned.networks[finetuned.best].spec.name, "finetuned": finetuned_json(finetuned)}


def measured_of(result: SearchResult) -> tuple[Evaluation, ...]:
    """Measured networks that fit, including those that an extended run may have fine-tuned earlier."""
    return tuple(e for e in (*result.dominated, *result.front, *result.finalists) if e.is_feasible)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    name: str
    held_out: dict[str, object]
    kind: Kind = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneReport:
    """The report file of fine-tuning: settings and, at the end, results.

    Attributes:
        steps: number of steps of each training.
        recipe: name of the recipe; reports without a name used the default.
        count: planned number of networks; 0 if the report does not state it.
    """

    steps: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    recipe: str = LONG_RECIPE
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    images: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    metric: str = "top1"
    networks: tuple[_Network, ...] = ()
    best: str = ""
    test: dict[str, object] | None = None
    notes: tuple[str, ...] = ()


def read_report(folder: Path) -> FinetuneReport | None:
    """Read the report in a folder; returns None if it is missing.

    Raises:
        RecordError: the report cannot be read.
    """
    path = folder / REPORT
    try:
        return json_as(FinetuneReport, read_bytes(path, max_bytes=MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, UnsafeFileError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="remove it to train again") from error


def recall_finetuned(folder: Path, finalists: Sequence[Evaluation]) -> Finetuned | None:
    """Read the results in a folder; returns None if the trainings have not ended, or are of other networks."""
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
        raise RecordError(f"{folder / REPORT} cannot be read: {error}", hint="remove it to train again") from error


def _accuracy(before: Accuracy | None, metrics: Metrics, *, kind: Kind) -> Accuracy:
    dataset, seed = ("", None) if before is None else (before.dataset, before.seed)
    return accuracy_of(metrics, kind=kind, dataset=dataset, seed=seed)
