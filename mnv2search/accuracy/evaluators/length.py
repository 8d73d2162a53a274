"""Length of the trainings of a search: as requested, or as long as the time allows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mnv2search.accuracy.evaluator import Fitting, Preparation
from mnv2search.cost import MAX_COUNT, cost_of
from mnv2search.errors import EvaluatorError, TrainingError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import resolve
from mnv2search.training.checkpoint import read_json, write_whole
from mnv2search.training.throughput import WANTED, Speed, Timed, chosen_length

# Quantiles, by multiply-adds, of the networks near the budget that are timed.
TIMED_PLACES = (0.25, 0.9)
# Share of the time after which no further network is timed.
TIMING_SHARE = 0.1
FILE = "length.json"


@dataclass(slots=True)
class StepCount:
    """Steps and evaluations of a training so far."""

    steps: int = 0
    evaluations: int = 0

    def update(self, step: int, *, is_evaluated: bool) -> None:
        """Record the current step, and whether an evaluation follows it."""
        self.steps, self.evaluations = step, self.evaluations + is_evaluated


class Length:
    """The length of all trainings of one search, and their expected time.

    Args:
        asked: steps of a training that is not shortened.
        least: fewest steps of a shortened training.
        evaluations: returns the number of evaluations for a number of steps.

    Attributes:
        left_s: returns the time within which a training that begins now must end; None means no limit.
    """

    def __init__(self, *, asked: int, least: int, evaluations: Callable[[int], int]) -> None:
        self._asked, self._least, self._evaluations = asked, min(least, asked), evaluations
        self._speed: Speed | None = None
        self.steps = asked
        self.left_s: Callable[[], float | None] = lambda: None

    @property
    def is_whole(self) -> bool:
        """Whether a training has as many steps as requested."""
        return self.steps == self._asked

    def fit(
        self, preparation: Preparation, timed: Callable[[ModelSpec], Timed], *, left_s: Callable[[], float | None]
    ) -> Fitting:
        """Choose the length of all trainings; a resumed run keeps its original length.

        `timed` measures the speed of a network.

        Raises:
            EvaluatorError: the file of the length cannot be read or written.
        """
        file = None if preparation.folder is None else preparation.folder / FILE
        known = None if file is None else read_length(file)
        self.left_s, self.steps = left_s, known or self._asked
        time_s = preparation.time_s
        if time_s is None or not preparation.band:
            return Fitting(trainings=None)
        begin = time.monotonic()
        picks = [preparation.band[round(place * (len(preparation.band) - 1))] for place in TIMED_PLACES]
        specs = [resolve(preparation.space, pick) for pick in dict.fromkeys(picks)]
        found: list[Timed] = []
        for number, spec in enumerate(specs, start=1):
            if not found or time.monotonic() < begin + TIMING_SHARE * time_s:
                preparation.tell(f"timing a few steps: network {number} of {len(specs)}", 0.0)
                found.append(timed(spec))
        self._speed = Speed(found)
        time_s = max(0.0, time_s - (time.monotonic() - begin))
        asked, least = (known, known) if known else (self._asked, self._least)
        training_s = partial(self._training_s, specs[-1])
        chosen = chosen_length(training_s, asked=asked, least=least, time_s=time_s)
        self.steps = chosen.steps
        if chosen.fitting and file is not None:
            _write(file, chosen.steps)
        return Fitting(
            trainings=chosen.fitting,
            least_s=training_s(least),
            wanted_s=WANTED * training_s(asked),
            told=_length_text(chosen.fitting, chosen.steps, asked, time_s, training_s),
        )

    def expected_s(self, spec: ModelSpec) -> float:
        """Expected wall time of a whole training; 0 if nothing was timed."""
        return self._training_s(spec, self.steps)

    @contextmanager
    def timing(self, spec: ModelSpec) -> Generator[StepCount]:
        """Time the training in this context, for the expected time of later ones."""
        begin, done = time.monotonic(), StepCount()
        try:
            yield done
        finally:
            if self._speed is not None:
                took_s, madds = time.monotonic() - begin, cost_of(spec).madds
                self._speed.took(took_s, madds=madds, steps=done.steps, evaluations=done.evaluations)

    def note_of(self, spec: ModelSpec, steps: int) -> str:
        """A note if a network was trained for fewer steps than planned; otherwise nothing."""
        if steps >= self.steps:
            return ""
        return f"{spec.name} was trained for {steps} of {self.steps} steps, as the time was over"

    def _training_s(self, spec: ModelSpec, steps: int) -> float:
        if self._speed is None:
            return 0.0
        return self._speed.training_s(cost_of(spec).madds, steps=steps, evaluations=self._evaluations(steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LengthFile:
    """The content of the file with the length of trainings."""

    steps: Annotated[int, Meta(ge=1, le=MAX_COUNT)]


def read_length(file: Path) -> int | None:
    """Steps of every training in an earlier part of the run; None if there was none."""
    try:
        found = read_json(_LengthFile, file)
    except TrainingError as error:
        raise EvaluatorError(error.message, hint="start over with --force") from error
    return None if found is None else found.steps


def _write(file: Path, steps: int) -> None:
    try:
        write_whole(file, (json.dumps({"steps": steps}) + "\n").encode())
    except TrainingError as error:
        raise EvaluatorError(error.message, hint=error.hint) from error


def _length_text(fitting: int, steps: int, asked: int, time_s: float, training_s: Callable[[int], float]) -> str:
    takes = f"{steps} steps takes about {training_s(steps):.0f} s here, near the budget"
    if not fitting:
        least = ", the shortest useful length" if steps < asked else ""
        return f"one of {takes}{least}, and {time_s:.0f} s are left for it"
    count = f"{fitting} of that length fit" if fitting > 1 else "one fits"
    said = f"a training of {takes}: {count} into the {time_s:.0f} s for trainings"
    if steps < asked:
        said += f"; it was shortened from {asked} steps, of {training_s(asked):.0f} s"
    return said
