"""Settings, progress and result of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnv2search.errors import OptionError
from mnv2search.evaluation import Evaluation

if TYPE_CHECKING:
    from mnv2search.latency.prediction.cache import LatencyCache
    from mnv2search.latency.prediction.predictor import LatencyPredictor


Phase = Literal["baseline", "calibration", "preparation", "search", "final", "finetune"]
Stage = Literal["baseline", "calibration", "search", "final", "final-baseline"]


# Least share of a network's latency that a network of an incomplete grid must have to count as its rival.
NEAR = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how to search.

    Attributes:
        trials: number of networks of the space to evaluate; None if only `time_s` limits the search.
        time_s: wall time for everything, including the final measurement; None if only `trials` limits the search.
        sampler: `hybrid`, or one of Optuna's for comparison.
        batch: networks that are measured side by side before the sampler learns from them.
        share: share of the run's time that `time_s` represents, for messages.
    """

    trials: int | None = None
    time_s: float | None = None
    sampler: str = "hybrid"
    seed: int = 0
    batch: int = 8
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.trials is None and self.time_s is None:
            raise OptionError("neither trials nor time is given", hint="give --trials 200 or --time 90s")
        if self.seed < 0:
            raise OptionError(f"seed is {self.seed}", hint="use 0 or more")
        if self.trials is not None and self.trials < 1:
            raise OptionError(f"trials is {self.trials}", hint="ask for at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Files and earlier evaluations that a search keeps between processes; by default none.

    Attributes:
        previous: evaluations of an earlier part of the same run, which are not repeated.
        study_path: SQLite file of the study; None keeps it in memory.
        work: folder of the evaluator's preparation.
    """

    previous: Sequence[Evaluated] = ()
    study_path: Path | None = None
    work: Path | None = None
    cache: LatencyCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The process that evaluated a network: its name, which is unique in its run, and its machine."""

    name: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One finished evaluation; for a network outside the space, `trial` is -1 and `pick` is empty.

    Attributes:
        worker: the worker that evaluated the network; None if it was the process of the run.
    """

    trial: int
    stage: Stage
    pick: tuple[int, ...]
    evaluation: Evaluation
    worker: Worker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a search, with the most accurate network within the budget so far (`best`).

    Attributes:
        left_s: remaining time; None without a time limit.
        doing: current activity of a preparation.
        share: finished share of the preparation, 0 to 1.
    """

    phase: Phase
    trials: int
    trials_total: int | None
    measured: int
    predicted: int
    best: Evaluation | None
    elapsed_s: float
    left_s: float | None
    doing: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Callbacks for every finished evaluation, for progress, and for messages to the user."""

    evaluated: Callable[[Evaluated], None] = lambda _: None
    progress: Callable[[Progress], None] = lambda _: None
    noted: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchResult:
    """Result of a search.

    Attributes:
        front: non-dominated networks of the space, all within the budget by the final measurement; fastest first.
        baseline: networks that were measured on the same device for comparison: the MobileNetV2 width x resolution
            grid and, with given weights, the network that they belong to.
        dominated: networks of the space that were measured and are not on the front.
        ship: the most accurate network of the front; None if nothing fits.
        closest: among networks excluded by counted limits, the one with the smallest violation.
        predicted: networks whose latency was only predicted; None if the result was read from records.
        sampler_cpu_s: processor time spent on choosing networks; None if the result was read from records.
        finalists: networks that have an accuracy and are within the budget by the final measurement: the front
            and, with shared weights, the best network of every part of the band.
        rivals: baseline networks that were measured side by side with the front and are within the budget.
        given: number of entries of `baseline` that are the network of the given weights, at several resolutions.
        stopped: number of networks whose training was stopped early; they have no accuracy.
    """

    front: tuple[Evaluation, ...]
    baseline: tuple[Evaluation, ...]
    dominated: tuple[Evaluation, ...]
    ship: Evaluation | None
    fastest: Evaluation | None
    closest: Evaluation | None
    trials: int
    predicted: int | None = None
    elapsed_s: float
    sampler_cpu_s: float | None = None
    exhausted: bool = False
    notes: tuple[str, ...] = ()
    finalists: tuple[Evaluation, ...] = ()
    rivals: tuple[Evaluation, ...] = ()
    given: int = 0
    stopped: int = 0
    has_whole_baseline: bool = True

    @property
    def measured(self) -> tuple[Evaluation, ...]:
        """All measured networks of the space and of the baseline."""
        return tuple(e for e in (*self.front, *self.dominated, *self.baseline) if e.latency is not None)

    def latency_predictor(self) -> LatencyPredictor | None:
        """A predictor fitted to the networks measured in this search; None if there are none."""
        from mnv2search.latency.prediction.predictor import REMEMBERED, LatencyPredictor  # late: it loads numpy

        known = [(e.spec, e.latency) for e in self.measured[-REMEMBERED:] if e.latency is not None]
        if not known:
            return None
        predictor = LatencyPredictor(known[0][1].device)
        predictor.fit([(spec, latency.median_ms) for spec, latency in known])
        return predictor

    @property
    def predictor_error(self) -> float | None:
        """The mean prediction error of `latency_predictor`; None for fewer than three networks."""
        predictor = self.latency_predictor()
        return None if predictor is None else predictor.error

    def rivals_of(self, evaluation: Evaluation) -> tuple[Evaluation, ...]:
        """The baseline, if it is complete or has a network of similar latency to compare with; otherwise empty."""
        own_ms = 0.0 if evaluation.latency is None else evaluation.latency.median_ms
        latencies_ms = [e.latency.median_ms for e in self.baseline if e.latency is not None]
        if self.has_whole_baseline or any(NEAR * own_ms <= ms <= own_ms for ms in latencies_ms):
            return self.baseline
        return ()

    def __repr__(self) -> str:
        effort = f"{self.trials} networks evaluated in {self.elapsed_s:.0f} s"
        if self.ship is None or self.ship.latency is None or self.ship.accuracy is None:
            return f"<nothing fits, {effort}>"
        accuracy = f"{self.ship.accuracy.metric} {self.ship.accuracy.value:.3f}"
        return (
            f"<{len(self.front)} networks on the front, ship {self.ship.spec.name}: {accuracy} at "
            f"{self.ship.latency.median_ms:.3g} ms, {effort}>"
        )
