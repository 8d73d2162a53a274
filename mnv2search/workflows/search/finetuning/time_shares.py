"""Divide the time of a run between the search, the rounds of trainings, and the longest training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.types import Settings


class TimeShares(NamedTuple):
    """Shares of the time of a run for the search and the longest training; the rounds of trainings get the rest."""

    search: float
    longest: float

    @property
    def finetuning(self) -> float:
        """Share of the time for the rounds of trainings and the longest training."""
        return 1 - self.search


# Few and many epochs of an obvious network that is trained for the whole time, and the shares of the time for each.
# With few epochs, each tenth of the time that is not spent on the longest training adds 4 % to the errors; see
# docs/research/2026-11-30-against-the-obvious.md.
FEW_EPOCHS, MANY_EPOCHS = 10.0, 100.0
OF_FEW, OF_MANY = TimeShares(search=0.2, longest=0.68), TimeShares(search=0.3, longest=0.5)
# After a search that trains networks separately, whose best network is already trained.
AFTER_TRAININGS = TimeShares(search=0.45, longest=0.4)


def time_shares(epochs: float) -> TimeShares:
    """The shares if an obvious network could be trained for a number of epochs in the whole time.

    >>> time_shares(5), time_shares(1000)
    (TimeShares(search=0.2, longest=0.68), TimeShares(search=0.3, longest=0.5))
    >>> shares = time_shares(31.6)
    >>> round(shares.search, 2), round(shares.longest, 2)
    (0.25, 0.59)
    """
    epochs = min(max(epochs, FEW_EPOCHS), MANY_EPOCHS)
    place = math.log(epochs / FEW_EPOCHS) / math.log(MANY_EPOCHS / FEW_EPOCHS)
    return TimeShares(*(few + place * (many - few) for few, many in zip(OF_FEW, OF_MANY, strict=True)))


@dataclass(slots=True)
class TimeDivision:
    """The division of the time of a run, adapted to the number of possible epochs when it is known.

    Attributes:
        settings: settings of the whole run.
        shares: current shares; before `fit`, the shares for many epochs.
    """

    settings: Settings
    evaluator: Evaluator
    clock: Callable[[], float] = time.monotonic
    shares: TimeShares = field(init=False)

    def __post_init__(self) -> None:
        self.shares = AFTER_TRAININGS if self.evaluator.method == "training" else OF_MANY

    @property
    def of_search(self) -> Settings:
        """Settings of the search."""
        whole_s, share = self.settings.time_s, self.shares.search
        if whole_s is None:
            return self.settings
        return replace(self.settings, time_s=share * whole_s, share=share)

    def fit(self, spec: ModelSpec) -> None:
        """Adapt the shares to the training speed of an obvious network, if the search uses shared weights."""
        evaluator, whole_s = self.evaluator, self.settings.time_s
        if evaluator.method != "shared weights" or evaluator.dataset is None or whole_s is None:
            return
        from mnv2search.training.distributed import own_device  # late: it loads torch
        from mnv2search.training.throughput import images_within

        images = images_within(spec, time_s=whole_s, device=own_device(), clock=self.clock)
        self.shares = time_shares(images / len(evaluator.dataset.part("train")))
