"""The settings of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mnv2search.data.dataset import Dataset
from mnv2search.data.loaded_scenes import VOID
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.tasks.task import Data
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.precision import Precision
from mnv2search.training.progress import Progress


class KnownData(NamedTuple):
    """A dataset at an earlier time: its `fingerprint` under the path it had, and its `content` under any path."""

    fingerprint: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Settings of a training; see `mnv2search.workflows.training.api.TrainOptions`.

    Attributes:
        spec: network, whose head gets the classes of the data.
        weights: initial weights: a `.pt` file of ours with any network of as many rows or groups of rows, or
            published ones.
        weights_spec: the network that published weights belong to; None takes `spec`, with its own classes.
        teacher: a `.pt` file of a network with the same classes, for distillation.
        notes: lines about the initial weights, for a new training.
        known_data: the dataset when the training began, to recognise it by another path; None for a new training.
        lr: learning rate (overrides the recipe).
        precision: see `Job`.
        team: processes that train together, with the rank and device of this one; only the leader writes.
        on_progress: called after every step.
        on_note: called with messages about problems in the data, an existing training and a time that is too short.
        stop: called after every step, and stops the training if it returns True; if there is only one process, it
            is also called while images are decoded and between batches of evaluations.
    """

    spec: ModelSpec
    data: Path
    folder: Path
    recipe: Recipe | str | None = None
    seed: int = 0
    epochs: int | None = None
    time_s: float | None = None
    weights: Path | None = None
    weights_spec: ModelSpec | None = None
    teacher: Path | None = None
    void: int = VOID
    notes: tuple[str, ...] = ()
    known_data: KnownData | None = None
    lr: float | None = None
    precision: Precision | None = None
    team: Team = ALONE
    on_progress: Callable[[Progress], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


def recipe_for(request: TrainingRequest, default: Recipe | str) -> Recipe:
    """The recipe of a request, or the default one, with the requested learning rate.

    Raises:
        UnknownNameError: no shipped recipe has this name.
        SpecError: the file or the learning rate has errors.
    """
    named = request.recipe or default
    recipe = load_recipe(named) if isinstance(named, str) else named
    return recipe if request.lr is None else replace(recipe, lr=request.lr)


def known_data(data: Data, before: KnownData | None) -> KnownData:
    """The dataset by its path, or by the path of `before` if that is the same dataset."""
    now = KnownData(data.fingerprint, data.content if isinstance(data, Dataset) else data.fingerprint)
    return before if before is not None and before.content == now.content else now
