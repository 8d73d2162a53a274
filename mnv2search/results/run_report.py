"""What the page of a run shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.evaluation import Evaluation
from mnv2search.results.finetuning import Finetuned
from mnv2search.results.manifest import Manifest
from mnv2search.study.types import Evaluated, SearchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run with a front.

    Attributes:
        items: all evaluations in order.
        finetuned: results of fine-tuning; None if there was none.
        detail: how the accuracies were determined.
    """

    folder: Path
    manifest: Manifest
    result: SearchResult
    items: tuple[Evaluated, ...] = ()
    finetuned: Finetuned | None = None
    detail: str = ""

    @property
    def shipped(self) -> Evaluation | None:
        """The network to ship, as the search evaluated it."""
        return self.result.ship
