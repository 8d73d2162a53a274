"""The parameters, multiply-adds, memory and predicted time of a network, divided among its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mnv2search.cost import Cost, StageCost
from mnv2search.display import Displayed
from mnv2search.latency.types import Latency
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.spec.plan import Plan, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedStages:
    """The predicted latency of a network, divided among its stages.

    Attributes:
        latency: predicted latency of the whole network.
        stages_ms: time of every stage; with `fixed_ms`, these add up to the latency.
        fixed_ms: time of an inference that does not depend on the network.
        networks: number of measured networks that the predictor was fitted to.
        error: mean prediction error of the predictor, by cross-validation.
        extrapolates: whether the network is unlike all measured ones.
    """

    latency: Latency
    stages_ms: tuple[float, ...]
    fixed_ms: float
    networks: int
    error: float
    extrapolates: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation(Displayed):
    """The cost of a network by stage: the stem, every row, the last convolution and the head.

    Attributes:
        precision: precision of the weights and activations in the memory counts.
        predicted: predicted latency; None without a device, or if too few networks have been measured on it.
        measured: measured times of the units; None if they were not asked for, or without a profiler.
    """

    plan: Plan = field(repr=False)
    precision: str
    cost: Cost
    stages: tuple[StageCost, ...] = field(repr=False)
    predicted: PredictedStages | None = field(default=None, repr=False)
    measured: BlockTimes | None = field(default=None, repr=False)

    def units(self, stage: StageCost) -> Sequence[Unit]:
        """The units of a stage."""
        return self.plan.units[stage.units]

    def stage(self, at: str) -> StageCost:
        """The stage at an address, such as ``blocks[2]``.

        Raises:
            KeyError: the network has no such stage.
        """
        for one in self.stages:
            if one.at == at:
                return one
        raise KeyError(at)
