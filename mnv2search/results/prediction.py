"""Predictions of a network for images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.tasks.prediction import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction for an image, in the order of the scores, and the PNG file that shows it."""

    image: Path
    drawn: Path
    found: tuple[Found, ...]
