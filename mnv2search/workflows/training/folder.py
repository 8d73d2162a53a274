"""The folder of a training: locked while a training writes to it, and never shared by two trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mnv2search.errors import OptionError
from mnv2search.locking import folder_lock
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.trainer import LAST


@contextmanager
def training_lock(folder: Path, team: Team = ALONE) -> Iterator[None]:
    """Lock the folder of a training for one team of processes, of which only the leader writes to it.

    Raises:
        RecordError: another training has locked the folder, or it cannot be written to.
        OtherProcessError: the leader could not lock it.
    """
    with ExitStack() as stack:
        lock = folder_lock(folder, busy="another training", hint="give another folder (-o)")
        team.agreed(lambda: stack.enter_context(lock))
        yield


def check_existing_training(
    folder: Path, *, epochs: int | None, time_s: float | None, epoch_steps: int, on_note: Callable[[str], None]
) -> None:
    """Note that a folder already holds a training, and that a requested length is not used.

    `on_note` is told what the folder holds.

    Raises:
        OptionError: the training is finished, and another length is requested.
        TrainingError: the checkpoint cannot be read.
    """
    held = read_checkpoint(folder / LAST)
    if held is None:
        return
    is_other = _is_other(held, epochs=epochs, time_s=time_s, epoch_steps=epoch_steps)
    option = "--epochs" if epochs is not None else "--time"
    if held.step < held.steps:
        unused = f"; {option} is not used" if time_s is not None or is_other else ""
        on_note(f"{folder} holds a training of {held.steps} steps, which resumes after step {held.step}{unused}")
    elif is_other:
        raise OptionError(
            f"{folder} holds a finished training of {held.steps} steps, and {option} asks for another length",
            hint="give another folder (-o)",
        )
    elif not held.is_unjudged:
        on_note(f"{folder} holds a training of {held.steps} steps that is already finished")


def _is_other(held: Checkpoint, *, epochs: int | None, time_s: float | None, epoch_steps: int) -> bool:
    """Whether the requested length differs from that of the training."""
    if epochs is not None:
        return max(1, epochs * epoch_steps) != held.steps
    return time_s is not None and time_s != held.time_s
