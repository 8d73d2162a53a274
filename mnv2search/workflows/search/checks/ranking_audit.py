"""Rank correlation between the accuracies of a search and those of separately trained networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from mnv2search.atomic import write_text
from mnv2search.data.dataset import Dataset
from mnv2search.errors import OptionError, RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.model.build import MobileNet, build
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.results.checks import Ranked, Statistic
from mnv2search.results.finetuning import training_folder
from mnv2search.results.records import read_records
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.results import rank_of
from mnv2search.supernet.inheritance import inherit, network_of
from mnv2search.tasks.classification import Classification
from mnv2search.tasks.metrics import Metrics, record_of
from mnv2search.training.distributed import own_device
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress
from mnv2search.training.train import train
from mnv2search.untrusted import file_name
from mnv2search.workflows.search.log import evaluated_of
from mnv2search.workflows.search.request import resumed_folder
from mnv2search.workflows.weights import initial_weights

FEWEST = 4
BOOTSTRAPS = 2000
FOLDER, REPORT = "audit", "audit.json"

Values: TypeAlias = NDArray[np.float64]
Correlation: TypeAlias = Callable[[Values, Values], tuple[float, float]]
"""The coefficient and its p-value."""


def audit(
    name: str | Path,
    *,
    data: str | Path,
    members: int = 8,
    epochs: int = 5,
    recipe: str = "short",
    from_: str | Path | None = None,
    from_spec: str | None = None,
    seed: int = 0,
    output_dir: str | Path = "results",
    on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None,
) -> Ranked:
    """Train some networks of a run separately, all with the same recipe, and compare the two rankings.

    The networks are spread evenly over the accuracies that the search found. Trainings are kept in the folder of the
    run, so that an interrupted audit resumes. The test images are not used.

    Args:
        name: folder of a run, or its name in `output_dir`.
        data: images to train on.
        members: number of networks to train.
        epochs: number of epochs of each training.
        recipe: name or file of the recipe.
        from_: initial weights of every training: a `.pt` file of ours with any network of as many rows or groups of
            rows, a file with weights of the network `from_spec`, or a name of `mnv2search weights list`.
        from_spec: network to which the published weights of `from_` belong.
        seed: random seed of the trainings.
        output_dir: folder that holds the folders of runs.
        on_progress: called with the name of a network and the progress of its training.

    Raises:
        OptionError: fewer than four members are requested, or the images have other classes.
        RecordError: the folder contains no run, or the run has too few networks with an accuracy.
        Mnv2SearchError: the images or the weights cannot be used, or a training fails.
    """
    if members < FEWEST:
        raise OptionError(f"{members} networks are too few to compare rankings", hint=f"train {FEWEST} or more")
    folder, settings = resumed_folder(name, output_dir), load_recipe(recipe)
    chosen = _spread(_known(folder), members)
    images = Classification().read(Path(data), seed=seed)
    initial = initial_weights(from_, from_spec, chosen[0].spec)
    weights, own = initial.path, load_spec(initial.spec) if initial.spec else chosen[0].spec
    first = None if weights is None else network_of(weights, own)
    trainings = folder / file_name(FOLDER if weights is None else f"{FOLDER}-from-{weights.stem}")
    trained = []
    for evaluation in chosen:
        job = Job(
            folder=training_folder(trainings, evaluation),
            seed=seed,
            epochs=epochs,
            data=images.fingerprint,
            precision="float32",
            device=own_device(),
            on_progress=partial(on_progress, evaluation.spec.name),
        )
        trained.append(_trained(evaluation.spec, images, settings, job, first=first))
    found = _ranked(chosen, trained, weights=weights, epochs=epochs, recipe=settings.name, seed=seed)
    write_text(folder / REPORT, json.dumps(ranked_json(found), indent=2) + "\n")
    return found


def _ranked(
    networks: Sequence[Evaluation],
    trained: Sequence[Metrics],
    *,
    weights: Path | None,
    epochs: int,
    recipe: str,
    seed: int,
) -> Ranked:
    """Compare the ranking of networks by the search with that by their trainings."""
    said = np.array([e.accuracy.rank for e in networks if e.accuracy is not None])
    true = np.array([metrics.main.value for metrics in trained])
    madds = np.array([e.cost.madds for e in networks], dtype=float)
    return Ranked(
        networks=tuple(networks),
        weights=weights,
        trained=tuple(trained),
        epochs=epochs,
        recipe=recipe,
        kendall=_statistic(kendalltau, said, true, seed=seed),
        spearman=_statistic(spearmanr, said, true, seed=seed),
        by_madds=_correlation(spearmanr, madds, true),
    )


def _trained(spec: ModelSpec, images: Dataset, recipe: Recipe, job: Job, *, first: MobileNet | None) -> Metrics:
    if spec.head is None or spec.head.classes != len(images.classes):
        raise OptionError(
            f"{spec.name} has other classes than {images.root}",
            hint="audit a run with the images that it searched with",
        )
    task, model = Classification(), build(spec, seed=job.seed)
    parts = task.prepare(images, spec, recipe, splits=("train", "val"))
    if first is not None:
        inherit(model, first)
    return train(model, task, parts.examples["train"], parts.examples["val"], parts.recipe, job).best


def ranked_json(found: Ranked) -> dict[str, object]:
    """The results as JSON values."""
    return {
        "epochs": found.epochs,
        "recipe": found.recipe,
        "weights": None if found.weights is None else str(found.weights),
        "kendall": asdict(found.kendall),
        "spearman": asdict(found.spearman),
        "spearman_of_madds": found.by_madds,
        "networks": [
            {
                "name": e.spec.name,
                "madds": e.cost.madds,
                "searched": None if e.accuracy is None else asdict(e.accuracy),
                "trained": record_of(metrics),
            }
            for e, metrics in zip(found.networks, found.trained, strict=True)
        ],
    }


def _known(folder: Path) -> list[Evaluation]:
    """The newest evaluation of each network of the space that has an accuracy."""
    found: dict[Pick, Evaluation] = {}
    for record in read_records(folder):
        item = evaluated_of(record)
        if item.pick and item.evaluation.accuracy is not None:
            found[item.pick] = item.evaluation
    return list(found.values())


def _spread(known: Sequence[Evaluation], count: int) -> tuple[Evaluation, ...]:
    if len(known) < FEWEST:
        raise RecordError(
            f"the run has {len(known)} networks with an accuracy, fewer than {FEWEST}", hint="search for longer"
        )
    ordered = sorted(known, key=rank_of)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return tuple(ordered[i] for i in places)


def _correlation(of: Correlation, one: Values, other: Values) -> float:
    """A rank correlation; 0 if either value is the same for all networks."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(of(one, other)[0])


def _statistic(of: Correlation, one: Values, other: Values, *, seed: int) -> Statistic:
    rng = np.random.default_rng(seed)
    value = _correlation(of, one, other)
    drawn = [_correlation(of, one[rows], other[rows]) for rows in rng.integers(0, len(one), (BOOTSTRAPS, len(one)))]
    low, high = np.quantile(drawn, (0.05, 0.95))
    return Statistic(value, float(min(low, value)), float(max(high, value)))
