"""Results of verifying a front, of comparing it with the runtime's own converter, and of auditing accuracies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.cost import Cost
from mnv2search.display import Displayed
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.latency.types import Latency, Verdict
from mnv2search.tasks.metrics import Metrics
from mnv2search.untrusted import UnsafeFileError, read_json

CONFIRMATION = "confirmation.json"
MAX_BYTES = 1 << 24
# Two artifacts are equally fast if their ratio is this close to 1, or 1 is within its interval.
EQUAL_SPEED = 0.03


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Check(Displayed):
    """One front member, as recorded and as verified.

    Attributes:
        then: recorded evaluation.
        cost: recounted cost.
        built_params: trainable parameters of the rebuilt network.
        latency: latency measured again.
        spec_is_recorded: the file in `front/` still describes the recorded network.
    """

    then: Evaluation
    cost: Cost
    built_params: int
    latency: Latency
    spec_is_recorded: bool

    @property
    def counts_hold(self) -> bool:
        """Whether the counts equal those recorded and those of the network built from the file."""
        return self.spec_is_recorded and self.cost == self.then.cost and self.built_params == self.cost.params

    @property
    def verdict(self) -> Verdict:
        """Whether the new interval fits the budget."""
        return self.latency.verdict(self.then.budget.latency_ms)

    @property
    def moved(self) -> float:
        """Relative change of the median."""
        return self.latency.median_ms / self.then.latency.median_ms - 1 if self.then.latency else 0.0

    @property
    def is_beyond_intervals(self) -> bool:
        """Whether the old and the new interval are disjoint."""
        before = self.then.latency
        return before is not None and (
            self.latency.ci_low_ms > before.ci_high_ms or self.latency.ci_high_ms < before.ci_low_ms
        )

    @property
    def holds(self) -> bool:
        """Whether the counts are the same, and the verdict is not that the network does not fit."""
        return self.counts_hold and self.verdict != "does not fit"


@dataclass(frozen=True, slots=True)
class Statistic:
    """A rank correlation with its 90 % bootstrap interval over networks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranked(Displayed):
    """Separate trainings of networks of a search, beside the accuracies of the search.

    Attributes:
        weights: initial weights of all trainings; None for random weights.
        trained: metrics of each trained network on validation images.
        kendall: Kendall's tau-b between the accuracies of the search and of the trainings.
        spearman: Spearman correlation between the same accuracies.
        by_madds: Spearman correlation between multiply-adds and the trained accuracies, for comparison.
    """

    networks: tuple[Evaluation, ...]
    weights: Path | None
    trained: tuple[Metrics, ...]
    epochs: int
    recipe: str
    kendall: Statistic
    spearman: Statistic
    by_madds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Comparison of our artifact of a network with that of the runtime's own converter.

    Attributes:
        converter: name and version of the converter.
        difference: relative RMS difference between the outputs of our artifact and of the PyTorch network.
        converter_difference: the same difference for the converter's artifact.
        tolerance: largest accepted value of either difference.
        ratio: latency of our artifact over that of the converter's artifact, measured interleaved.
        ratio_half_width: half-width of the ratio's 95 % interval.
    """

    name: str
    converter: str
    difference: float
    converter_difference: float
    tolerance: float
    ratio: float
    ratio_half_width: float

    @property
    def answers_agree(self) -> bool:
        """Whether the outputs of both artifacts agree with that of the PyTorch network."""
        return self.difference <= self.tolerance and self.converter_difference <= self.tolerance

    @property
    def speeds_agree(self) -> bool:
        """Whether the latencies of the two artifacts agree within the uncertainty."""
        return abs(self.ratio - 1) <= max(EQUAL_SPEED, self.ratio_half_width)


def write_confirmations(path: Path, confirmations: Sequence[Confirmation]) -> None:
    """Write confirmations as JSON, atomically."""
    rows = [asdict(c) | {"answers_agree": c.answers_agree, "speeds_agree": c.speeds_agree} for c in confirmations]
    write_text(path, json.dumps(rows, indent=2) + "\n")


def read_confirmations(path: Path) -> tuple[Confirmation, ...]:
    """Read confirmations; empty if the file is missing.

    Raises:
        RecordError: the file is not what `write_confirmations` writes.
    """
    import msgspec  # late: start-up must not pay for it

    if not path.exists():
        return ()
    try:
        # a network whose output is not finite has an infinite difference
        return msgspec.convert(read_json(path, max_bytes=MAX_BYTES, finite=False), tuple[Confirmation, ...])
    except (OSError, UnsafeFileError, msgspec.ValidationError) as error:
        raise RecordError(
            f"{path}: cannot be read: {error}", hint="delete it, or restore it from a backup"
        ) from error
