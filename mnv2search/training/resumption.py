"""The checkpoint from which a training resumes, if it is one of the same training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mnv2search.errors import OptionError, SpecError, WeightsError
from mnv2search.model.weights.network_file import read_network
from mnv2search.recipe import recipe_of
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint
from mnv2search.training.learner import B, Job, Learner

LAST, BEST = "last.ckpt", "best.pt"


def resumable(learner: Learner[B], job: Job) -> Checkpoint | None:
    """The checkpoint in the folder of a training; None if there is none.

    Raises:
        OptionError: the checkpoint is that of another training.
        TrainingError: the checkpoint cannot be read.
    """
    saved = read_checkpoint(job.folder / LAST)
    if saved is None:
        return None
    before, now = _completed(saved.job), _completed(learner.identity)
    if different := [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]:
        named = ", ".join("set of images" if key == "data" else key for key in different)
        raise OptionError(
            f"{job.folder} holds a {learner.what} with another {named}",
            hint="resume with the original settings, or give another folder",
        )
    return saved if saved.best is None else _without_lost_weights(saved, job)


def _completed(identity: Mapping[str, object]) -> Mapping[str, object]:
    """The identity of a training, with the defaults of keys that recipes did not have when it began."""
    recipe = identity.get("recipe")
    if not isinstance(recipe, str):
        return identity
    try:
        return {**identity, "recipe": recipe_of(recipe).dumps()}
    except SpecError:
        return identity


def _without_lost_weights(saved: Checkpoint, job: Job) -> Checkpoint:
    """The checkpoint, without its best metrics if their weights in `best.pt` cannot be read."""
    try:
        read_network(job.folder / BEST)
    except (WeightsError, SpecError) as error:
        found = "the best of the remaining evaluations" if saved.step < saved.steps else "those of the last step"
        job.on_note(
            f"{error.message}; the best weights so far, of step {saved.best_step}, are lost, "
            f"and {found} are kept instead"
        )
        return replace(saved, best=None, best_step=0)
    return saved
