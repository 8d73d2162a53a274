"""The interface between the training loop and a model, and the settings of one training."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import Recipe
from mnv2search.tasks.metrics import Metrics
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.pace import TIME_SHARE
from mnv2search.training.precision import Precision
from mnv2search.training.progress import Progress, State

CHECKPOINT_S = 60.0

B = TypeVar("B")
"""A batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Settings of one training: folder, length and callbacks.

    Attributes:
        folder: folder of ``last.ckpt`` and ``best.pt``; a training that stopped there is resumed.
        data: fingerprint of the dataset; a checkpoint with another fingerprint is refused.
        team: processes that train together, each on its share of every batch; only the leader writes and reports.
        precision: precision of the convolutions (autocast); None takes float32 on a CPU and, on a GPU, half
            precision if a trial shows that it is clearly faster: bfloat16, or float16 on a GPU without bfloat16. A
            resumed training keeps its precision.
        epochs: number of epochs (overrides the recipe).
        steps: number of steps (overrides epochs).
        time_s: wall time (overrides epochs): the number of steps is planned by the speed of the first steps, and
            changed if later steps are slower or faster.
        refuses_short_time: raise `OptionError` if `time_s` is too short for a training, instead of a shorter one.
        limit_s: wall time limit of `steps` or `epochs`, which are shortened if they do not fit.
        after: evaluations after the training for which time is reserved, in units of a validation.
        evaluations: largest number of evaluations before the last; None takes that of the task.
        on_note: called if the best weights are lost, or the time is too short for a training.
        stop: polled after every step and between the batches of an evaluation; on a stop, a checkpoint is written.
    """

    folder: Path
    seed: int = 0
    data: str = ""
    device: str = "cpu"
    team: Team = ALONE
    precision: Precision | None = None
    epochs: int | None = None
    steps: int | None = None
    time_s: float | None = None
    refuses_short_time: bool = False
    limit_s: float | None = None
    after: float = 0.0
    evaluations: float | None = None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic


class Learner(ABC, Generic[B]):
    """A model with its batches, gradients and evaluation, for the training loop.

    Attributes:
        epoch_steps: batches in an epoch.
        identity: values that identify the training; a checkpoint with others is refused.
        what: noun for messages.
        evaluations: largest number of evaluations before the last; 0 disables evaluation.
        time_share: share of the time to plan with.
        checkpoint_s: longest time between two checkpoints.
    """

    model: nn.Module
    recipe: Recipe
    batch: int
    epoch_steps: int
    identity: Mapping[str, object]
    what: str = "training"
    learned: Learned | None = None
    evaluations: float = math.inf
    time_share: float = TIME_SHARE
    checkpoint_s: float = CHECKPOINT_S

    @abstractmethod
    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[B]:
        """The batches of an epoch, starting with number `first`; with `ahead`, they are prefetched."""

    @abstractmethod
    def backward(self, model: nn.Module, batch: B, state: State, scaler: torch.amp.GradScaler) -> float:
        """Add the scaled gradient of a batch to the gradients of the weights; returns the loss."""

    def evaluate(self, model: nn.Module, *, stop: Callable[[], bool]) -> Metrics:
        """Metrics on the validation images; raises `StoppedError` if `stop` returns True.

        Not called if `evaluations` is 0.
        """
        raise NotImplementedError

    def learned_with(self, metrics: Metrics) -> Learned | None:
        """Metadata of weights with these metrics on the validation images."""
        return None if self.learned is None else replace(self.learned, score=metrics.score)

    def evaluate_some(self, model: nn.Module) -> float:
        """Evaluate on a few validation images; returns their share of all validation images."""
        raise NotImplementedError

    def work(self, share: float) -> float:  # noqa: ARG002
        """Mean work of a remaining step after a share of the training, in units of `last_work`."""
        return 1.0

    @property
    def last_work(self) -> float:
        """Work of the last step."""
        return 1.0
