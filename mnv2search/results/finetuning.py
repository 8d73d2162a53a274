"""Results of fine-tuning the best networks of a search, and their file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from msgspec import Meta

from mnv2search.accuracy.types import Accuracy, Kind, accuracy_of
from mnv2search.cost import MAX_COUNT
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.study.results import front_of
from mnv2search.study.types import SearchResult
from mnv2search.tasks.metrics import Z_90, Metrics, metrics_of_record, record_of
from mnv2search.untrusted import UnsafeFileError, file_name, json_as, read_bytes

M = TypeVar("M")
N = TypeVar("N")
REPORT = "finetune.json"
# Folder of the trainings of a run, and of the earlier trainings while an extended run trains for longer.
FINETUNE, BEFORE = "finetune", "finetune.before"
MAX_BYTES = 1 << 24
BEST = "best.pt"
# Minimum number of networks for a correlation.
FEWEST_TO_AGREE = 5
# Recipe of trainings with many epochs.
LONG_RECIPE = "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of trainings with equal numbers of steps, after which fewer networks are trained further.

    Attributes:
        steps: number of steps of each training in this round.
        networks: names of the networks.
    """

    steps: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    networks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)  # with slots, Python 3.11 cannot create a `Comparison[Metrics]`
class Comparison(Generic[M]):
    """The best network of the space and the best obvious network, after equal trainings.

    Attributes:
        steps: number of steps of each of the two so far.
        found: name of the network of the space.
        obvious: name of the obvious network.
        found_held_out: validation metrics of the network of the space.
        obvious_held_out: validation metrics of the obvious network.
    """

    steps: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    found: str
    obvious: str
    found_held_out: M
    obvious_held_out: M

    def converted(self, convert: Callable[[M], N]) -> Comparison[N]:
        """The comparison with metrics in another form."""
        return Comparison(
            steps=self.steps,
            found=self.found,
            obvious=self.obvious,
            found_held_out=convert(self.found_held_out),
            obvious_held_out=convert(self.obvious_held_out),
        )


Compared: TypeAlias = Comparison[Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Spearman's correlation of the accuracies of a search with those of separate trainings, with its 90 % interval.

    >>> found = agreement_of([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.55, 0.7, 0.8])
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (0.9, 0.09, 0.99)
    """

    value: float
    low: float
    high: float
    networks: int


def agreement_of(searched: Sequence[float], trained: Sequence[float]) -> Agreement | None:
    """The correlation of two accuracies of each network; None for fewer than five networks, or equal values.

    Source of the interval: Bonett and Wright, Psychometrika 65, 2000.
    """
    count = len(searched)
    if count < FEWEST_TO_AGREE or len(set(searched)) == 1 or len(set(trained)) == 1:
        return None
    from scipy.stats import spearmanr  # late: it takes half a second to load

    value = float(spearmanr(searched, trained)[0])
    middle = math.atanh(max(-0.999, min(0.999, value)))
    half = Z_90 * math.sqrt((1 + value * value / 2) / (count - 3))
    return Agreement(
        value=value,
        low=min(value, math.tanh(middle - half)),
        high=max(value, math.tanh(middle + half)),
        networks=count,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """The results of fine-tuning.

    Attributes:
        networks: networks in the order of the candidates.
        held_out: validation metrics of each network, which choose the best.
        steps: number of steps of each network's trainings.
        recipe: recipe of the longest training, that of the best network.
        images: number of images that the best network saw.
        best: index of the network to ship.
        test: metrics of the best network on the test images, which were not used before.
        notes: notes for the user, for instance that a training ended early.
        kept: names of networks that training did not improve, and that keep their inherited weights.
        obvious: names of the networks that were trained for comparison: the best of the MobileNetV2 grid near the
            budget and, with given weights, the network that they belong to.
        compared: the last comparison of the search with an obvious network; None if there was none.
        uncompared: reason why there was no comparison; otherwise empty.
        agreement: correlation of the accuracies of the search with those after the first round; None if too few
            networks have both.
    """

    recipe: str
    networks: tuple[Evaluation, ...]
    held_out: tuple[Metrics, ...]
    steps: tuple[int, ...]
    images: int
    best: int
    test: Metrics
    weights: Path
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    obvious: tuple[str, ...] = ()
    compared: Compared | None = None
    uncompared: str = ""
    agreement: Agreement | None = None

    @property
    def trained(self) -> tuple[Evaluation, ...]:
        """The networks with their accuracies after the trainings."""
        known = next((e.accuracy for e in self.networks if e.accuracy is not None), None)
        return tuple(
            replace(e, accuracy=_accuracy(e.accuracy or known, metrics, kind=self.kind(e)))
            for e, metrics in zip(self.networks, self.held_out, strict=True)
        )

    def kind(self, network: Evaluation) -> Kind:
        """Kind of a network's accuracy: inherited if the network kept its weights, otherwise trained."""
        return "inherited" if network.spec.name in self.kept else "trained"

    @property
    def best_value(self) -> float:
        """The main metric of the network to ship, on the validation images by which it was chosen."""
        return self.held_out[self.best].main.value

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The Pareto front of the networks on the validation images, fastest first."""
        return front_of(self.trained)


def training_folder(folder: Path, evaluation: Evaluation) -> Path:
    """The folder of one network's training."""
    return folder / file_name(evaluation.spec.name)


def finetuned_json(finetuned: Finetuned) -> dict[str, Any]:
    """All results as JSON values; accuracies are ratios from 0 to 1."""
    main, compared = finetuned.test.main, finetuned.compared
    return {
        "recipe": finetuned.recipe,
        "steps": finetuned.steps[finetuned.best],
        "images": finetuned.images,
        "networks": [
            {
                "name": e.spec.name,
                "held_out": _metrics_json(metrics),
                "kind": finetuned.kind(e),
                "steps": steps,
                "obvious": e.spec.name in finetuned.obvious,
            }
            for e, metrics, steps in zip(finetuned.networks, finetuned.held_out, finetuned.steps, strict=True)
        ],
        "agreement": None if finetuned.agreement is None else asdict(finetuned.agreement),
        "uncompared": finetuned.uncompared,
        "compared": None if compared is None else asdict(compared.converted(_metrics_json)),
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
        known = {main.name: main.value}
        known |= {name: getattr(metrics, name) for name in ("count", "trivial", "score")}
    return {**known, "details": dict(metrics.details), "low": main.low, "high": main.high}


def _metrics(known: dict[str, Any], metric: str) -> Metrics:
    """The metrics of values from `_metrics_json`; raises ValueError if they do not have this metric."""
    try:
        named = {} if metric == "top1" else {"metric": metric, "value": known[metric]}
        details = [*known.get("details", {}).items()]
        return metrics_of_record({"loss": 0.0, **known, **named, "details": details})
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"it has no usable {metric}") from error


def shipped_json(finetuned: Finetuned) -> dict[str, object]:
    """Fields that fine-tuning changes in the JSON of a run: the network to ship, and the results."""
    return {"ship": finetuned.networks[finetuned.best].spec.name, "finetuned": finetuned_json(finetuned)}


def measured_of(result: SearchResult) -> tuple[Evaluation, ...]:
    """Measured networks that fit, including those that an extended run may have fine-tuned earlier."""
    known = (*result.baseline, *result.dominated, *result.front, *result.finalists, *result.rivals)
    return tuple(e for e in known if e.is_feasible)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    name: str
    held_out: dict[str, object]
    kind: Kind = "trained"
    steps: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    obvious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneReport:
    """The report file of fine-tuning: settings and, at the end, results.

    Attributes:
        steps: number of steps of the best network; reports without a number for each network use it for all.
        recipe: name of the recipe; reports without a name used the default.
        rungs: the rounds of trainings that have begun.
        longest: name of the recipe of the longest training, if it has begun; otherwise empty.
        best: name of the network to ship, or of the longest training that has begun.
    """

    steps: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    recipe: str = LONG_RECIPE
    rungs: tuple[Rung, ...] = ()
    longest: str = ""
    compared: Comparison[dict[str, object]] | None = None
    uncompared: str = ""
    agreement: Agreement | None = None
    images: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    metric: str = "top1"
    networks: tuple[_Network, ...] = ()
    best: str = ""
    test: dict[str, object] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_begun(self) -> bool:
        """Whether a training has begun."""
        return bool(self.rungs or self.longest)


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
    by_name = {e.name: e for e in finalists}
    names = [network.name for network in report.networks]
    if not by_name.keys() >= set(names):
        return None
    try:
        best, compared = names.index(report.best), report.compared
        return Finetuned(
            recipe=report.recipe,
            networks=tuple(by_name[name] for name in names),
            held_out=tuple(_metrics(network.held_out, report.metric) for network in report.networks),
            steps=tuple(report.steps if n.steps is None else n.steps for n in report.networks),
            images=report.images,
            best=best,
            test=_metrics(report.test, report.metric),
            weights=training_folder(folder, by_name[report.best]) / BEST,
            notes=report.notes,
            kept=tuple(network.name for network in report.networks if network.kind == "inherited"),
            obvious=tuple(network.name for network in report.networks if network.obvious),
            compared=None if compared is None else compared.converted(partial(_metrics, metric=report.metric)),
            uncompared=report.uncompared,
            agreement=report.agreement,
        )
    except ValueError as error:
        raise RecordError(f"{folder / REPORT} cannot be read: {error}", hint="remove it to train again") from error


def finetuned_of_run(folder: Path, result: SearchResult) -> Finetuned | None:
    """The results of the trainings of a run or, while an extended run trains for longer, of its earlier trainings."""
    known = measured_of(result)
    return recall_finetuned(folder / FINETUNE, known) or recall_finetuned(folder / BEFORE, known)


def _accuracy(before: Accuracy | None, metrics: Metrics, *, kind: Kind) -> Accuracy:
    dataset, seed = ("", None) if before is None else (before.dataset, before.seed)
    return accuracy_of(metrics, kind=kind, dataset=dataset, seed=seed)
