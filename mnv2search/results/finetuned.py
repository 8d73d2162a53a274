"""Fine-tuned networks of a search, with their figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import Accuracy, Kind
from mnv2search.evaluation import Evaluation
from mnv2search.study.results import front_of

if TYPE_CHECKING:
    from mnv2search.tasks.classification import Figures

__all__ = ["Finetuned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What the trainings came to.

    Attributes:
        recipe: of every training, by name.
        networks: in the order in which they were given.
        held_out: figures of each on the images that the search decides by.
        steps: of each training.
        images: seen in each.
        best: which of them is the most accurate.
        test: its figures on images that played no part in anything before.
        weights: where its weights are.
        metric: what the figures count; those of a detector or a segmenter stand where a classifier's top-1 does.
        details: further figures on the same images, by name.
        notes: what a reader has to know, such as that a training had to end early.
        kept: names of networks that a training made no better, and that keep what they inherited.
    """

    recipe: str
    networks: tuple[Evaluation, ...]
    held_out: tuple[Figures, ...]
    steps: int
    images: int
    best: int
    test: Figures
    weights: Path
    metric: str = "top1"
    details: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[Evaluation, ...]:
        """The networks with what their own trainings came to in place of what they inherited."""
        return tuple(
            replace(e, accuracy=_accuracy(e.accuracy, figures, self.metric, kind=self.kind(e)))
            for e, figures in zip(self.networks, self.held_out, strict=True)
        )

    def kind(self, network: Evaluation) -> Kind:
        """How the figures of a network come about."""
        return "inherited" if network.spec.name in self.kept else "trained"

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """Those of which no other is both as fast and more accurate on the held-out images, fastest first."""
        return front_of(self.trained)


def _accuracy(before: Accuracy | None, figures: Figures, metric: str, *, kind: Kind) -> Accuracy:
    low, high = figures.interval
    return Accuracy(
        value=figures.top1,
        low=low,
        high=high,
        metric=metric,
        kind=kind,
        dataset="" if before is None else before.dataset,
        seed=None if before is None else before.seed,
        commonest=figures.commonest,
    )
