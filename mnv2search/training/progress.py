"""State, progress and result of a training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

from mnv2search.tasks.metrics import Metrics, record_of
from mnv2search.training.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a training.

    Attributes:
        steps: total number of steps; 0 while unknown.
        epoch: counted from 1.
        loss: running mean of the training loss.
        evaluated: metrics on the validation images, after an evaluation.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    images_per_s: float
    evaluated: Metrics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The result of a training.

    Attributes:
        best: validation metrics of the best evaluation, which followed `best_step`.
        epochs: completed epochs, with fraction.
        seconds: time of training and evaluation, including earlier parts of a resumed training.
        images_per_s: training throughput, in the last process that took a step.
        resumed_at: first step of this process; 0 for a new training.
        reductions: how often the learning rate was halved, because a loss, a gradient or a weight was not finite.
        is_stopped_early: the training ended by the recipe's `patience`.
    """

    best: Metrics
    best_step: int
    steps: int
    epochs: float
    seconds: float
    images_per_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False
    precision: Precision = "float32"
    reductions: int = 0
    is_stopped_early: bool = False

    @property
    def was_finished(self) -> bool:
        """Whether the training was already finished before."""
        return 0 < self.resumed_at == self.steps


@dataclass(slots=True)
class State:
    """The variable state of a training.

    Attributes:
        steps: total number of steps; 0 while unknown.
        every: steps from one evaluation to the next; 0 if determined by the length of an epoch.
        is_unjudged: the evaluation after the last step is missing.
        time_s: requested time, or None.
        seconds: training time of earlier processes.
        images_per_s: throughput of earlier processes.
        reductions: how often the learning rate was halved.
        improved_step: step of the last evaluation that was better than all before.
        is_stopped_early: `steps` was shortened by the recipe's `patience`.
    """

    step: int = 0
    steps: int = 0
    best: Metrics | None = None
    best_step: int = 0
    running_loss: float = math.nan
    losses: list[float] = field(default_factory=list)
    precision: Precision = "float32"
    every: int = 0
    is_unjudged: bool = False
    time_s: float | None = None
    seconds: float = 0.0
    images_per_s: float = 0.0
    reductions: int = 0
    improved_step: int = 0
    is_stopped_early: bool = False


def history_record(progress: Progress) -> dict[str, object]:
    """The record of a training's history for one progress report."""
    evaluated = None if progress.evaluated is None else record_of(progress.evaluated)
    return asdict(replace(progress, evaluated=None)) | {"evaluated": evaluated}
