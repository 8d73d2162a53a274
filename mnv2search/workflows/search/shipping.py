"""What a search on images ends with: weights beside the front, and the best networks trained on their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnv2search.accuracy.types import Evaluator
from mnv2search.errors import OptionError, check_package
from mnv2search.results.finetuned import Finetuned
from mnv2search.study.deadline import Deadline
from mnv2search.study.types import Progress, SearchResult, Settings
from mnv2search.workflows.search.finetuned import REPORT, measured_of, recall_finetuned, ship_trained, write_inherited

if TYPE_CHECKING:
    from mnv2search.training.dense_loop import DenseProgress
    from mnv2search.training.progress import Progress as Training

__all__ = ["BEFORE", "FINETUNE", "Best", "check_finetuning", "set_aside", "settings_of_search", "train_best"]

FINETUNE = "finetune"
# Trainings of a run that goes on beyond its end, until longer ones take their place.
BEFORE = "finetune.before"
# Of the time, for training the best networks on their own.
FINETUNE_SHARE = 0.35
# Of the time for it, without which it is not begun; trainings that were interrupted get so many seconds in any case.
LEAST_SHARE, LEAST_RESUMED_S = 0.15, 20.0


class Best(NamedTuple):
    """What trainings of the best networks came to.

    Attributes:
        finetuned: None where there were none.
        notes: why there were none, though they were asked for.
    """

    finetuned: Finetuned | None = None
    notes: tuple[str, ...] = ()


def check_finetuning(settings: Settings, evaluator: Evaluator) -> None:
    """Refuse to train the best networks where it cannot be done.

    Raises:
        OptionError: there are no weights to go on from, or there is no time to divide.
        MissingExtraError: a package is not installed.
    """
    if not evaluator.can_finetune:
        raise OptionError(
            f"{evaluator.info.name} has no weights, and so no images, to train networks on after the search",
            hint="give --data with a supernet, or with detectors or segmenters, or leave out --finetune",
        )
    if settings.time_s is None:
        raise OptionError("without a time there is none to divide among trainings", hint="add --time 20m")
    check_package("kornia", feature="training the best networks on their own", extra="train")


def settings_of_search(settings: Settings) -> Settings:
    """What is left of the time for the search, where the best networks are trained after it."""
    if settings.time_s is None:
        return settings
    return replace(settings, time_s=(1 - FINETUNE_SHARE) * settings.time_s, share=1 - FINETUNE_SHARE)


def train_best(
    folder: Path,
    result: SearchResult,
    evaluator: Evaluator,
    *,
    deadline: Deadline | None,
    seed: int,
    on_progress: Callable[[Progress], None],
) -> Best:
    """Weights beside the front, as far as the evaluator has them, and the best networks trained on their own.

    Args:
        folder: of the run.
        result: of the search.
        evaluator: of the search.
        deadline: of the whole run; None trains nothing.
        seed: of everything that is drawn.
        on_progress: hears where the trainings stand.

    Raises:
        DataError: the images cannot be learned from.
        TrainingError: a training fails, or the disk does not take the weights.
    """
    shares_weights = evaluator.can_finetune and evaluator.method == "shared weights"
    if evaluator.can_finetune and not shares_weights:
        from mnv2search.workflows.search.ship_weights import ship_kept  # late, here and below: it loads torch

        ship_kept(folder, result, evaluator)
    if shares_weights:
        (folder / "ship.pt").unlink(missing_ok=True)  # a copy, of what an earlier end of the run shipped
    if shares_weights and result.front and evaluator.is_full_size():
        write_inherited(folder, result.front, evaluator)
    if deadline is None or deadline.time_s is None or not result.front:
        return Best()
    own, whole_s = folder / FINETUNE, FINETUNE_SHARE * deadline.time_s
    time_s = min(whole_s, deadline.left_s or 0.0)
    if (own / REPORT).exists():
        time_s = max(time_s, LEAST_RESUMED_S)
    elif time_s < LEAST_SHARE * whole_s:
        return _without(folder, result, deadline)

    def told(name: str, progress: Training | DenseProgress) -> None:
        total = f" of {progress.steps}" if progress.steps else ""
        doing = f"training {name}: step {progress.step}{total}, loss {progress.loss:.3f}"
        shown = Progress(
            phase="finetune",
            trials=result.trials,
            trials_total=None,
            measured=0,
            predicted=0,
            best=None,
            elapsed_s=deadline.elapsed_s,
            left_s=deadline.left_s,
            doing=doing,
        )
        on_progress(shown)

    from mnv2search.accuracy.evaluators.train_dense import TrainDenseEvaluator
    from mnv2search.data.images import ImageSet
    from mnv2search.workflows.search.finetune import best_of, candidates_of, finetune
    from mnv2search.workflows.search.finetune_dense import finetune_dense

    found: Finetuned | None = None
    if isinstance(evaluator, TrainDenseEvaluator):
        found = finetune_dense(
            best_of(result.front),
            evaluator,
            folder=own,
            time_s=time_s,
            seed=seed,
            on_progress=told,
            clock=deadline.clock,
        )
    elif isinstance(evaluator.dataset, ImageSet):
        found = finetune(
            candidates_of(result.finalists),
            evaluator.dataset,
            folder=own,
            time_s=time_s,
            seed=seed,
            first=evaluator,
            on_progress=told,
            clock=deadline.clock,
        )
    if found is None:
        return _without(folder, result, deadline)
    ship_trained(folder, found)
    shutil.rmtree(folder / BEFORE, ignore_errors=True)
    return Best(finetuned=found)


def set_aside(folder: Path) -> None:
    """Keep what networks were trained to at an earlier end of a run, until longer trainings take its place."""
    own, before = folder / FINETUNE, folder / BEFORE
    if (own / REPORT).exists():
        shutil.rmtree(before, ignore_errors=True)
        own.rename(before)


def _without(folder: Path, result: SearchResult, deadline: Deadline) -> Best:
    """No trainings, and why; those of an earlier end of the run hold."""
    own, before = folder / FINETUNE, folder / BEFORE
    if before.exists():
        shutil.rmtree(own, ignore_errors=True)
        before.rename(own)
    found = recall_finetuned(own, measured_of(result))
    if found is not None:
        ship_trained(folder, found)
    return Best(
        finetuned=found,
        notes=(
            f"networks were not trained on their own: after {deadline.elapsed_s:.0f} s of {deadline.time_s:.0f} s "
            "too little time was left; give more --time",
        ),
    )
