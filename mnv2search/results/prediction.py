"""Predictions of a network for images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Found", "Prediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A predicted class.

    Attributes:
        score: 0 to 1; for segmentation, the share of the image.
        box: corners in px of the image; None except for detectors.
    """

    name: str
    score: float
    box: tuple[float, float, float, float] | None = None

    def __str__(self) -> str:
        """The class with its score in percent.

        >>> str(Found(name="t_shirt", score=0.174))
        't_shirt 17 %'
        """
        return f"{self.name} {100 * self.score:.0f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction for an image, in the order of the scores, and the PNG file that shows it."""

    image: Path
    drawn: Path
    found: tuple[Found, ...]
