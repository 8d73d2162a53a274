"""The data of the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from mnv2search.evaluation import Evaluation
from mnv2search.results.checks import Confirmation
from mnv2search.results.finetuning import Finetuned
from mnv2search.results.manifest import Manifest
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.study.types import Evaluated, SearchResult

T = TypeVar("T")


class Importance(NamedTuple):
    """Importance of an axis of the search space for the accuracy, and the accuracies by option.

    Attributes:
        at: address of the axis, such as ``blocks[2].repeats``.
        share: importance, from 0 to 1.
        options: options of the axis as text, in the order of the space.
        points: (option as text, accuracy) of every network with an accuracy.
    """

    at: str
    share: float
    options: tuple[str, ...]
    points: tuple[tuple[str, float], ...]


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` items, at regular intervals.

    >>> evenly(range(10), 5)
    range(0, 10, 2)
    """
    return items[:: -(-len(items) // most)] if len(items) > most else items


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run with a front.

    Attributes:
        items: all evaluations in order.
        finetuned: results of fine-tuning; None without fine-tuning.
        confirmations: comparisons of the front with the runtime's own converter; empty without a comparison.
        block_times: measured times of blocks; empty if the runtime has no profiler, and in runs of earlier versions.
        importances: importances of the axes of the space, highest first; empty if too few networks have an accuracy.
    """

    folder: Path
    manifest: Manifest
    result: SearchResult
    items: tuple[Evaluated, ...] = ()
    finetuned: Finetuned | None = None
    confirmations: tuple[Confirmation, ...] = ()
    block_times: tuple[BlockTimes, ...] = ()
    importances: tuple[Importance, ...] = ()

    @property
    def shipped(self) -> Evaluation | None:
        """The network to ship, with its accuracy after a separate training if there was one."""
        return self.result.ship if self.finetuned is None else self.finetuned.trained[self.finetuned.best]
