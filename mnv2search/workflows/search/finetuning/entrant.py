"""A network in the trainings at the end of a search, and the metrics that it is expected to reach."""

from __future__ import annotations

from dataclasses import dataclass

from mnv2search.evaluation import Evaluation
from mnv2search.tasks.metrics import Metrics


@dataclass(slots=True)
class Entrant:
    """A network in training.

    Attributes:
        known: metrics of its best weights so far; None if it has none.
        is_kept: whether its best weights are those of the search.
        seen: number of images seen in the search by its initial weights.
        images_per_s: speed of its last training, without evaluations; 0 before the first.
        after: metrics after each of its trainings; None before the first.
    """

    evaluation: Evaluation
    known: Metrics | None = None
    is_kept: bool = False
    seen: float = 0.0
    images_per_s: float = 0.0
    steps: int = 0
    after: list[Metrics] | None = None

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.evaluation.spec.name

    @property
    def best(self) -> Metrics:
        """Metrics of the best weights so far, after a training."""
        assert self.known is not None
        return self.known

    def expected(
        self, left_s: float, *, batch: int, most: float, exponent: float, by_loss: bool
    ) -> tuple[bool, float]:
        """The expected `merit` after another `left_s` seconds of training.

        Errors are expected to decrease as a power of the number of images seen, up to `most` images.
        """
        seen = self.seen + self.steps * batch
        growth = max(1.0, min(most, seen + left_s * self.images_per_s) / seen) if seen else 1.0
        is_main, value = merit(self.best, by_loss=by_loss)
        highest = 0.0 if by_loss or not is_main else 1.0  # merits are a negative loss, or a ratio
        return is_main, highest - (highest - value) * growth**-exponent


def merit(metrics: Metrics, *, by_loss: bool = False) -> tuple[bool, float]:
    """The main metric, or the negative loss if requested or if the main metric does not beat a trivial answer."""
    if metrics.loss is None or (metrics.beats_trivial and not by_loss):
        return True, metrics.main.value
    return by_loss, -metrics.loss
