"""A trained supernet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.accuracy.types import Accuracy
from mnv2search.spec.model_spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetReport:
    """The result of a supernet's training.

    Attributes:
        shown: some of the networks, from the smallest to the largest, with their inherited accuracies.
        evaluator: text that opens the evaluator with these weights.
    """

    folder: Path
    shown: tuple[tuple[ModelSpec, Accuracy], ...]
    notes: tuple[str, ...]
    evaluator: str
