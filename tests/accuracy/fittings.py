"""Evaluators that fit their trainings into a time, by a clock that stands still."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mnv2search.accuracy.evaluator import Evaluator, Fitting, Preparation
from mnv2search.accuracy.evaluators import train
from mnv2search.spec.space import Pick, SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.training.throughput import Timed

__all__ = ["STEP", "fitting_in"]

# A second for every step.
STEP = Timed(madds=1.0, step_s=1.0, evaluation_s=0.0)


def fitting_in(
    space: str,
    band: tuple[Pick, ...],
    evaluator: Evaluator,
    *,
    time_s: float | None,
    folder: Path | None = None,
    left_s: float | None = None,
) -> Fitting:
    """How an evaluator fits trainings of the networks of a space, in YAML, into `time_s`."""
    found = loads(space)
    assert isinstance(found, SearchSpace)
    asked = Preparation(space=found, band=band, folder=folder, time_s=time_s, seed=0, tell=lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "time_training", lambda *_args, **_options: STEP)
        patch.setattr(time, "monotonic", lambda: 0.0)
        return evaluator.fit(asked, left_s=lambda: left_s)
