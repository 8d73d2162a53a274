"""What trainings of the last few networks of a search came to: the value, its report, and the files to ship."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mnv2search.accuracy.types import Accuracy, HasWeights, Kind
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.jobs.outputs import front_path, write_spec
from mnv2search.study.results import front_of
from mnv2search.study.types import SearchResult
from mnv2search.training.checkpoint import write_network, write_whole
from mnv2search.training.course import BEST
from mnv2search.training.figures import Figures
from mnv2search.untrusted import file_name

__all__ = [
    "LONG_RECIPE",
    "REPORT",
    "Finetuned",
    "finetuned_json",
    "measured_of",
    "recall_finetuned",
    "ship_trained",
    "shipped_json",
    "training_folder",
    "write_inherited",
]

REPORT = "finetune.json"
# Of trainings that see every image many times.
LONG_RECIPE = "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What the trainings came to.

    Attributes:
        recipe: of every training, by name.
        networks: in the order in which they were given.
        held_out: figures of each on the images that the search decides by.
        steps: of each training.
        images: seen in each.
        best: which of them is the most accurate.
        test: its figures on images that played no part in anything before.
        weights: where its weights are.
        metric: what the figures count; those of a detector or a segmenter stand where a classifier's top-1 does.
        details: further figures on the same images, by name.
        notes: what a reader has to know, such as that a training had to end early.
        kept: names of networks that a training made no better, and that keep what they inherited.
    """

    recipe: str
    networks: tuple[Evaluation, ...]
    held_out: tuple[Figures, ...]
    steps: int
    images: int
    best: int
    test: Figures
    weights: Path
    metric: str = "top1"
    details: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[Evaluation, ...]:
        """The networks with what their own trainings came to in place of what they inherited."""
        return tuple(
            replace(e, accuracy=_accuracy(e.accuracy, figures, self.metric, kind=self.kind(e)))
            for e, figures in zip(self.networks, self.held_out, strict=True)
        )

    def kind(self, network: Evaluation) -> Kind:
        """How the figures of a network come about."""
        return "inherited" if network.spec.name in self.kept else "trained"

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """Those of which no other is both as fast and more accurate on the held-out images, fastest first."""
        return front_of(self.trained)


def training_folder(folder: Path, evaluation: Evaluation) -> Path:
    """Where the training of one of several networks is kept."""
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


def recall_finetuned(folder: Path, finalists: Sequence[Evaluation]) -> Finetuned | None:
    """What was written of the trainings in a folder; None where there is nothing whole, or of other networks.

    Raises:
        RecordError: the report cannot be read.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if "best" not in told:
            return None  # interrupted before its end
        metric = told.get("metric", "top1")
        by_name = {e.spec.name: e for e in finalists}
        names = [network["name"] for network in told["networks"]]
        if not by_name.keys() >= set(names):
            return None
        return Finetuned(
            recipe=told.get("recipe", LONG_RECIPE),  # which all took before it was written down
            networks=tuple(by_name[name] for name in names),
            held_out=tuple(_figures(network["held_out"], metric) for network in told["networks"]),
            steps=told["steps"],
            images=told["images"],
            best=names.index(told["best"]),
            test=_figures(told["test"], metric),
            weights=Path(told["weights"]),
            metric=metric,
            details=tuple(told["test"].get("details", {}).items()),
            notes=tuple(told.get("notes", ())),
            kept=tuple(one["name"] for one in told["networks"] if one.get("kind") == "inherited"),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="remove it to train anew") from error


def write_inherited(folder: Path, front: Sequence[Evaluation], evaluator: HasWeights) -> None:
    """Write the weights of each member of the front of a run's folder beside its spec.

    Raises:
        TrainingError: the disk does not take them.
    """
    for evaluation in front:
        member = evaluator.member(evaluation.spec)
        write_network(front_path(folder, evaluation, suffix=".pt"), member, learned=evaluator.learned)


def ship_trained(folder: Path, found: Finetuned) -> None:
    """Make the best trained network the one to ship (``ship.yaml``, ``ship.pt``), and keep all of them in ``front``.

    Raises:
        TrainingError: the disk does not take them.
        RecordError: likewise.
    """
    for evaluation in found.trained:
        write_spec(front_path(folder, evaluation), evaluation)
        trained = training_folder(found.weights.parent.parent, evaluation) / BEST
        write_whole(front_path(folder, evaluation, suffix=".pt"), trained.read_bytes())
    write_whole(folder / "ship.pt", found.weights.read_bytes())
    write_spec(folder / "ship.yaml", found.trained[found.best])


def _accuracy(before: Accuracy | None, figures: Figures, metric: str, *, kind: Kind) -> Accuracy:
    low, high = figures.interval
    return Accuracy(
        value=figures.top1,
        low=low,
        high=high,
        metric=metric,
        kind=kind,
        dataset="" if before is None else before.dataset,
        seed=None if before is None else before.seed,
        commonest=figures.commonest,
    )


def _figures(told: dict[str, Any], metric: str) -> Figures:
    return Figures(told[metric], told.get("loss", 0.0), told["count"], told.get("commonest"))
