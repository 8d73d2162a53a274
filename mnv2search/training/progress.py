"""The state of a training, the progress that it reports, and its outcome."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

from mnv2search.tasks.metrics import Metrics, record_of
from mnv2search.training.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a training.

    Attributes:
        steps: in all; 0 while unknown.
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
    """The outcome of a training.

    Attributes:
        best: metrics of the best evaluation, on the validation images; it took place after `best_step`.
        epochs: completed, as a fraction.
        seconds: of training and evaluation, over all processes that worked on it one after another.
        images_per_s: of training, in the last process that made a step.
        resumed_at: first step of this process; 0 for a new training.
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

    @property
    def was_finished(self) -> bool:
        """Whether there was nothing left to do."""
        return 0 < self.resumed_at == self.steps


@dataclass(slots=True)
class State:
    """The variable state of a training.

    Attributes:
        steps: in all; 0 while unknown.
        every: steps from one evaluation to the next; 0 if the length of an epoch decides.
        is_unjudged: the evaluation after the last step is missing.
        time_s: requested time, or None.
        seconds: of earlier processes, as `images_per_s`.
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


def history_record(progress: Progress) -> dict[str, object]:
    """A line of a training's history."""
    evaluated = None if progress.evaluated is None else record_of(progress.evaluated)
    return asdict(replace(progress, evaluated=None)) | {"evaluated": evaluated}
