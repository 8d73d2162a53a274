"""The last few networks of a search, each trained on its own with as many steps as the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.jobs.outputs import front_path, write_spec
from mnv2search.model.build import MobileNet, build
from mnv2search.model.saved import read_network
from mnv2search.records import write_text
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.square import square_side
from mnv2search.study.results import front_of, median_ms_of, rank_of, slots_of
from mnv2search.training.batches import Cutting
from mnv2search.training.checkpoint import write_network, write_whole
from mnv2search.training.images import ImageSet
from mnv2search.training.inherit import inherit
from mnv2search.training.loop import BEST, Figures, Progress, evaluate, train
from mnv2search.training.prepared import prepare
from mnv2search.training.rate import training_rate
from mnv2search.training.recipe import Recipe, load_recipe
from mnv2search.training.team import own_device

__all__ = [
    "CANDIDATES",
    "Finetuned",
    "best_of",
    "candidates_of",
    "finetune",
    "finetuned_json",
    "recall_finetuned",
    "ship_trained",
    "shipped_json",
    "write_inherited",
]

# Trained on their own; more would leave too little time for each.
CANDIDATES = 5
REPORT = "finetune.json"
# Of trainings that see every image less often than this, and of longer ones.
SHORT_RECIPE, LONG_RECIPE, LONG_EPOCHS = "short", "modern", 20
TIMED = 4  # passes that tell how fast this machine is


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

    @property
    def trained(self) -> tuple[Evaluation, ...]:
        """The networks with what their own trainings came to in place of what they inherited."""
        return tuple(
            replace(e, accuracy=_accuracy(e.accuracy, figures, self.metric))
            for e, figures in zip(self.networks, self.held_out, strict=True)
        )

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """Those of which no other is both as fast and more accurate on the held-out images, fastest first."""
        return front_of(self.trained)


def best_of(front: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """The most accurate networks of a front, the best first."""
    known = [e for e in front if e.accuracy is not None]
    return tuple(sorted(known, key=rank_of, reverse=True)[:count])


def candidates_of(finalists: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """Of networks that were measured side by side, those that are worth trainings of their own, fastest first.

    The order of accuracies with shared weights is noisy, and favours networks that learn fast; so these are not the
    first of that order but the first of every slot of latency, and then whatever is best of the others.

    Args:
        finalists: with accuracies.
        count: at most so many.
    """
    slots = slots_of(finalists, count=count)
    chosen = [slot[0] for slot in slots if slot]
    others = sorted((e for e in finalists if e not in chosen), key=rank_of, reverse=True)
    return tuple(sorted((*chosen, *others[: count - len(chosen)]), key=median_ms_of))


def finetune(
    candidates: Sequence[Evaluation],
    images: ImageSet,
    *,
    folder: Path,
    time_s: float,
    seed: int,
    recipe: Recipe | None = None,
    first_weights: Callable[[ModelSpec], MobileNet] | None = None,
    on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None,
) -> Finetuned:
    """Train each network with equally many steps, and decide by the held-out images; a training goes on in `folder`.

    The dearest network is trained first, for its share of the time by multiply-adds; the others take as many steps.

    Args:
        candidates: networks to decide among.
        images: to learn from, to decide by, and for the final figures.
        folder: gets a folder for each network; the best one's weights are in its ``best.pt``.
        time_s: wall time for all of them.
        seed: of everything that is drawn.
        recipe: of every training; None takes ``short`` or, where every image will be seen 20 times or more,
            ``modern``.
        first_weights: gives a network whose weights one begins with; None begins with random ones.
        on_progress: told the name of the network and where its training is.

    Raises:
        RecordError: there is nothing to decide among.
        DataError: the images cannot be learned from.
        TrainingError: a training fails.
    """
    if not candidates:
        raise RecordError("there is no network to train", hint="search for longer")
    order = sorted(range(len(candidates)), key=lambda i: -cost_of(candidates[i].spec).madds)
    total = sum(cost_of(e.spec).madds for e in candidates)
    written, device = _known(folder), own_device()
    steps = None if written is None else written[0]
    if recipe is None:
        suited = _suited(candidates, images, time_s=time_s, device=device) if written is None else written[1]
        recipe = load_recipe(suited)
    held_out: dict[int, Figures] = {}
    for index in order:
        spec = candidates[index].spec
        prepared = prepare(images, side=square_side(spec), recipe=recipe, splits=("train", "val"))
        own = folder / spec.name
        model = build(spec, seed=seed)
        if first_weights is not None:
            inherit(model, first_weights(spec).cpu())
        done = train(
            model,
            prepared.parts["train"],
            prepared.parts["val"],
            prepared.recipe,
            folder=own,
            seed=seed,
            steps=steps,
            time_s=None if steps is not None else time_s * cost_of(spec).madds / total,
            data=images.fingerprint,
            precision="float32",  # a trial of speed may end one way for one network and another for the next
            device=device,
            on_progress=lambda progress, name=spec.name: on_progress(name, progress),  # type: ignore[misc]
            classes=images.classes,
        )
        if steps is None:
            steps = done.steps
            write_text(folder / REPORT, json.dumps({"steps": steps, "recipe": recipe.name}) + "\n")
        held_out[index] = done.best
    assert steps is not None
    best = max(held_out, key=lambda i: (held_out[i].top1, -median_ms_of(candidates[i])))
    weights = folder / candidates[best].spec.name / BEST
    network = read_network(weights)
    side = square_side(network.spec)
    tested = prepare(images, side=side, recipe=recipe, splits=("test",))
    found = Finetuned(
        recipe=recipe.name,
        networks=tuple(candidates),
        held_out=tuple(held_out[i] for i in range(len(candidates))),
        steps=steps,
        images=steps * recipe.batch,
        best=best,
        test=evaluate(
            network.to(device),
            tested.parts["test"],
            Cutting(side=side, normalization=recipe.normalization),
            device=device,
        ),
        weights=weights,
    )
    write_text(folder / REPORT, json.dumps(finetuned_json(found), indent=2) + "\n")
    return found


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
            {"name": e.spec.name, "held_out": told(figures)}
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
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="remove it to train anew") from error


def _accuracy(before: Accuracy | None, figures: Figures, metric: str) -> Accuracy:
    low, high = figures.interval
    return Accuracy(
        value=figures.top1,
        low=low,
        high=high,
        metric=metric,
        kind="trained",
        dataset="" if before is None else before.dataset,
        seed=None if before is None else before.seed,
        commonest=figures.commonest,
    )


def _figures(told: dict[str, Any], metric: str) -> Figures:
    return Figures(told[metric], told.get("loss", 0.0), told["count"], told.get("commonest"))


def write_inherited(folder: Path, front: Sequence[Evaluation], member: Callable[[ModelSpec], MobileNet]) -> None:
    """Write the weights of each member of a front beside its spec.

    Raises:
        TrainingError: the disk does not take them.
    """
    for evaluation in front:
        write_network(folder / f"{evaluation.spec.name}.pt", member(evaluation.spec))


def ship_trained(folder: Path, found: Finetuned) -> None:
    """Make the best trained network the one to ship (``ship.yaml``, ``ship.pt``), and keep all of them in ``front``.

    Raises:
        TrainingError: the disk does not take them.
        RecordError: likewise.
    """
    for evaluation in found.trained:
        write_spec(front_path(folder, evaluation), evaluation)
        trained = found.weights.parent.parent / evaluation.spec.name / BEST
        write_whole(folder / "front" / f"{evaluation.spec.name}.pt", trained.read_bytes())
    write_whole(folder / "ship.pt", found.weights.read_bytes())
    write_spec(folder / "ship.yaml", found.trained[found.best])


def _suited(candidates: Sequence[Evaluation], images: ImageSet, *, time_s: float, device: str) -> str:
    """The name of the recipe for trainings of that length, by what a few passes say of the speed of this machine."""
    smallest = min(candidates, key=lambda e: cost_of(e.spec).madds).spec
    timed = (build(smallest).to(device), plan(smallest))
    madds = sum(cost_of(e.spec).madds for e in candidates)
    images_each = time_s * training_rate([timed] * TIMED, device=device) / madds
    return LONG_RECIPE if images_each / len(images.train) >= LONG_EPOCHS else SHORT_RECIPE


def _known(folder: Path) -> tuple[int, str] | None:
    """How many steps an interrupted run found to fit, and the name of the recipe that it took."""
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return int(told["steps"]), str(told.get("recipe", LONG_RECIPE))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="remove it to train anew") from error
