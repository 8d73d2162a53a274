"""The head of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mnv2search.spec.heads.base import Backbone, Head
from mnv2search.spec.layers import Unit
from mnv2search.spec.layout import classifier_unit
from mnv2search.spec.rules import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier(Head):
    """Global average pool, dropout and a linear layer with bias."""

    word: ClassVar[str] = "classifier"

    classes: Annotated[int, Range(1, 1_000_000)] = 1000
    dropout: Annotated[float, Range(0, 0.99)] = 0.2

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """The classifier, the head's only unit."""
        last = backbone.last
        yield "head", classifier_unit(last.channels, self.classes, last.size)
