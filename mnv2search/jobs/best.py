"""What a search on images ends with: weights beside the front, and the best networks trained on their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mnv2search.accuracy.types import AccuracyEvaluator, HasWeights, KeepsWeights
from mnv2search.errors import OptionError
from mnv2search.jobs.finetune import Finetuned, candidates_of, finetune, ship_trained, write_inherited
from mnv2search.jobs.kept import ship_kept
from mnv2search.study.types import Progress, SearchResult, Settings
from mnv2search.training.progress import Progress as Training

__all__ = ["FINETUNE", "check_finetuning", "settings_of_search", "train_best"]

FINETUNE = "finetune"
# Of the time, for training the best networks on their own.
FINETUNE_SHARE = 0.35


def check_finetuning(settings: Settings, evaluator: AccuracyEvaluator) -> None:
    """Refuse to train the best networks where it cannot be done.

    Raises:
        OptionError: there are no images, or there is no time to divide.
    """
    if not isinstance(evaluator, HasWeights):
        raise OptionError(
            f"{evaluator.info.name} has no images to train classifiers on after the search",
            hint="give --data with images in a folder for each class, or leave out --finetune"
            + ("; the weights of each network of the front are kept" if isinstance(evaluator, KeepsWeights) else ""),
        )
    if settings.time_s is None:
        raise OptionError("without a time there is none to divide among trainings", hint="add --time 20m")


def settings_of_search(settings: Settings) -> Settings:
    """What is left of the time for the search, where the best networks are trained after it."""
    return settings if settings.time_s is None else replace(settings, time_s=(1 - FINETUNE_SHARE) * settings.time_s)


def train_best(
    folder: Path,
    result: SearchResult,
    evaluator: AccuracyEvaluator,
    *,
    settings: Settings | None,
    on_progress: Callable[[Progress], None],
) -> Finetuned | None:
    """Weights beside the front, as far as the evaluator has them, and the best networks trained on their own.

    Args:
        folder: of the run.
        result: of the search.
        evaluator: of the search.
        settings: of the whole run; None trains nothing.
        on_progress: hears where the trainings stand.

    Raises:
        DataError: the images cannot be learned from.
        TrainingError: a training fails, or the disk does not take the weights.
    """
    if isinstance(evaluator, KeepsWeights):
        ship_kept(folder, result, evaluator)
    if not isinstance(evaluator, HasWeights) or not result.front:
        return None
    if evaluator.is_full_size():
        write_inherited(folder / "front", result.front, evaluator.member)
    if settings is None or settings.time_s is None:
        return None

    def told(name: str, progress: Training) -> None:
        total = f" of {progress.steps}" if progress.steps else ""
        doing = f"training {name}: step {progress.step}{total}, loss {progress.loss:.3f}"
        shown = Progress(
            phase="finetune",
            trials=result.trials,
            trials_total=None,
            measured=0,
            predicted=0,
            best=None,
            elapsed_s=0.0,
            left_s=None,
            doing=doing,
        )
        on_progress(shown)

    found = finetune(
        candidates_of(result.finalists),
        evaluator.images,
        folder=folder / FINETUNE,
        time_s=FINETUNE_SHARE * settings.time_s,
        seed=settings.seed,
        first_weights=evaluator.member,
        on_progress=told,
    )
    ship_trained(folder, found)
    return found
