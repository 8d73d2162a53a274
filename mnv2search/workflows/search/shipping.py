"""Write weights beside the front at the end of a search, and fine-tune the best networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.errors import OptionError, check_package
from mnv2search.evaluation import Evaluation
from mnv2search.results.finetuning import BEFORE, FINETUNE, REPORT, Finetuned, finetuned_of_run
from mnv2search.study.deadline import Deadline
from mnv2search.study.types import Progress, SearchResult, Settings
from mnv2search.workflows.search.finetuning.time_shares import TimeShares

if TYPE_CHECKING:
    from mnv2search.training.progress import Progress as Training
    from mnv2search.workflows.search.finetuning.plan import Finetuning


# Fine-tuning starts only if this share of its time is left; interrupted trainings always get this many seconds.
LEAST_SHARE, LEAST_RESUMED_S = 0.15, 20.0


def check_finetuning(settings: Settings, evaluator: Evaluator) -> None:
    """Refuse fine-tuning if it is impossible.

    Raises:
        OptionError: the evaluator has no weights to begin with, or no time is set.
        MissingExtraError: a package is not installed.
    """
    if not evaluator.can_finetune:
        raise OptionError(
            f"{evaluator.info.name} has no weights and no images to fine-tune networks with",
            hint="give --data, or leave out --finetune",
        )
    if settings.time_s is None:
        raise OptionError("--finetune needs a time limit", hint="add --time 20m")
    check_package("kornia", feature="fine-tuning the best networks", extra="train")


def train_best(
    folder: Path,
    result: SearchResult,
    evaluator: Evaluator,
    *,
    earlier: Finetuned | None = None,
    deadline: Deadline | None,
    shares: TimeShares,
    seed: int,
    on_progress: Callable[[Progress], None],
) -> tuple[Finetuned | None, tuple[str, ...]]:
    """Write weights beside the front if the evaluator has them, and fine-tune the best networks.

    Returns the results of fine-tuning, and notes on why there is none although it was requested. `deadline` is the
    deadline of the whole run; None disables fine-tuning. The network that an extended run shipped `earlier` is kept
    until a longer training gives a network that is better on the validation images.

    Raises:
        DataError: the images cannot be trained on.
        TrainingError: a training fails, or the weights cannot be written.
    """
    rivals = () if deadline is None else result.rivals
    _write_weights(folder, result, evaluator, kept=rivals, ships=earlier is None)
    if deadline is None or deadline.time_s is None or not result.front:
        return None, ()
    own, whole_s, time_s = folder / FINETUNE, shares.finetuning * deadline.time_s, deadline.left_s or 0.0
    if (own / REPORT).exists():
        time_s = max(time_s, LEAST_RESUMED_S)
    elif time_s < LEAST_SHARE * whole_s:
        return _without(folder, result, deadline)

    from mnv2search.workflows.search.finetuning.finetune import finetune  # late: it loads torch
    from mnv2search.workflows.search.ship_weights import ship_finetuned

    if earlier is not None:
        ship_finetuned(folder, earlier)

    def progressed(name: str, progress: Training) -> None:
        on_progress(_progress(name, progress, result, deadline))

    best_s = min(time_s, shares.longest * deadline.time_s)
    request = _finetuning(own, result, evaluator, deadline, time_s=time_s, best_s=best_s, seed=seed)
    found = finetune(request, on_progress=progressed)
    if found is None:
        return _without(folder, result, deadline)
    if earlier is not None and (folder / BEFORE).exists() and earlier.best_value > found.best_value:
        return _kept(folder, result, found)
    ship_finetuned(folder, found)
    shutil.rmtree(folder / BEFORE, ignore_errors=True)
    return found, ()


def _kept(folder: Path, result: SearchResult, found: Finetuned) -> tuple[Finetuned | None, tuple[str, ...]]:
    """Keep the earlier trainings of an extended run, since the later ones gave nothing better."""
    _restore(folder)
    earlier = finetuned_of_run(folder, result)
    later = found.networks[found.best].spec.name
    why = (
        f"the earlier trainings are kept: the best of the later ones, {later}, reaches only "
        f"{100 * found.best_value:.1f} %"
    )
    return earlier, (why,)


def _restore(folder: Path) -> None:
    own, before = folder / FINETUNE, folder / BEFORE
    if before.exists():
        shutil.rmtree(own, ignore_errors=True)
        before.rename(own)


def _progress(name: str, training: Training, result: SearchResult, deadline: Deadline) -> Progress:
    total = f" of {training.steps}" if training.steps else ""
    return Progress(
        phase="finetune",
        trials=result.trials,
        trials_total=None,
        measured=0,
        predicted=0,
        best=None,
        elapsed_s=deadline.elapsed_s,
        left_s=deadline.left_s,
        doing=f"training {name}: step {training.step}{total}, loss {training.loss:.3f}",
    )


def _finetuning(
    folder: Path,
    result: SearchResult,
    evaluator: Evaluator,
    deadline: Deadline,
    *,
    time_s: float,
    best_s: float,
    seed: int,
) -> Finetuning:
    from mnv2search.workflows.search.finetuning.plan import Finetuning, best_of, candidates_of  # late: it loads torch

    assert evaluator.task is not None
    assert evaluator.dataset is not None
    is_trained = evaluator.method == "training"
    return Finetuning(
        candidates=best_of(result.front) if is_trained else candidates_of(result.finalists),
        obvious=result.rivals,
        task=evaluator.task,
        data=evaluator.dataset,
        evaluator=evaluator,
        folder=folder,
        time_s=time_s,
        best_s=best_s,
        seed=seed,
        clock=deadline.clock,
    )


def _write_weights(
    folder: Path, result: SearchResult, evaluator: Evaluator, *, kept: Sequence[Evaluation], ships: bool
) -> None:
    if not evaluator.can_finetune:
        return
    from mnv2search.workflows.search.ship_weights import ship_trained, write_inherited  # late: it loads torch

    if evaluator.method == "training":
        ship_trained(folder, result, evaluator, kept=kept, ships=ships)
        return
    if ships:
        (folder / "ship.pt").unlink(missing_ok=True)
    if result.front and evaluator.is_full_size():
        write_inherited(folder, result.front, evaluator)


def set_aside(folder: Path) -> None:
    """Move earlier trainings of an extended run aside, until longer ones replace them."""
    own, before = folder / FINETUNE, folder / BEFORE
    if (own / REPORT).exists():
        shutil.rmtree(before, ignore_errors=True)
        own.rename(before)


def _without(folder: Path, result: SearchResult, deadline: Deadline) -> tuple[Finetuned | None, tuple[str, ...]]:
    """Restore earlier trainings of an extended run, if any, and return a note on why there are no new ones."""
    _restore(folder)
    found = finetuned_of_run(folder, result)
    if found is not None:
        from mnv2search.workflows.search.ship_weights import ship_finetuned  # late: it loads torch

        ship_finetuned(folder, found)
    why = (
        f"no network was trained separately: preparing and searching took {deadline.elapsed_s:.0f} s of the "
        f"{deadline.time_s:.0f} s given; give more --time"
    )
    return found, (why,)
