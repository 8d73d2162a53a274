"""A trained supernet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.accuracy.types import Accuracy
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Built"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a supernet came to.

    Attributes:
        folder: that holds it.
        shown: some of its networks, from the smallest to the largest, with their inherited accuracies.
        notes: how it was trained, and what a reader has to know.
        evaluator: text that opens it again.
    """

    folder: Path
    shown: tuple[tuple[ModelSpec, Accuracy], ...]
    notes: tuple[str, ...]
    evaluator: str
