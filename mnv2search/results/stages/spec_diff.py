"""The differences between two networks, row by row, and the effect on their costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mnv2search.cost import Cost
from mnv2search.display import Displayed
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec


class Change(NamedTuple):
    """A field whose values differ.

    Attributes:
        key: key of the field in YAML, such as ``t``.
        before: first value, as YAML; likewise `after`.
    """

    field: str
    key: str
    before: str
    after: str


class Part(NamedTuple):
    """Blocks of one row, or another stage of a network.

    Attributes:
        at: address in the spec, such as ``blocks[2]``.
        text: stage as YAML.
        first: number of the first block within its row, from 1; likewise `last`.
        blocks: number of blocks of the row; 0 for a stage that is not a row.
    """

    at: str
    text: str
    params: int
    madds: int
    first: int = 0
    last: int = 0
    blocks: int = 0

    @property
    def label(self) -> str:
        """The address, with the numbers of the blocks if the row has others too.

        >>> Part("blocks[2]", "", 0, 0, first=2, last=3, blocks=3).label
        'blocks[2] 2-3/3'
        """
        if self.last - self.first + 1 >= self.blocks:
            return self.at
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.at} {span}/{self.blocks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDiff:
    """A stage of one network beside its counterpart in the other; None if it has no counterpart."""

    before: Part | None
    after: Part | None
    changes: tuple[Change, ...] = ()

    @property
    def params(self) -> int:
        """Parameters after minus before."""
        return (self.after.params if self.after else 0) - (self.before.params if self.before else 0)

    @property
    def madds(self) -> int:
        """Multiply-adds after minus before."""
        return (self.after.madds if self.after else 0) - (self.before.madds if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SpecDiff(Displayed):
    """The differences between two networks.

    Attributes:
        changes: differences of fields of the whole network, such as the resolution.
        stages: stem, rows, last convolution and head; their differences add up to those of the networks.
        costs: cost of each network.
        latencies: predicted latency of each network; empty without a device, or if too few networks have been
            measured on it.
        error: mean prediction error of the predictor, by cross-validation; None without predictions.
    """

    before: ModelSpec = field(repr=False)
    after: ModelSpec = field(repr=False)
    precision: str
    changes: tuple[Change, ...]
    stages: tuple[StageDiff, ...] = field(repr=False)
    costs: tuple[Cost, Cost]
    latencies: tuple[Latency, ...] = ()
    error: float | None = None

    @property
    def is_same(self) -> bool:
        """Whether the networks are equal except for their names."""
        return not self.changes and all(s.before and s.after and not s.changes for s in self.stages)
