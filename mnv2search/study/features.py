"""Generic features of a network, from which few evaluations already predict accuracy."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from mnv2search.cost import unit_cost
from mnv2search.spec.plan import Plan, Unit

FEATURES = (
    "log_madds",
    "log_body_params",
    "log_activations",
    "log_blocks",
    "depthwise_share",
    "large_kernel_share",
    "mean_log_hidden",
    "log_resolution",
    "log_stage_blocks",
    "log_expansion",
)
LARGE_KERNEL = 5


class _Counts(NamedTuple):
    madds: int
    params: int
    activations: int
    depthwise_madds: int
    blocks: int
    large_kernels: int
    log_hidden: float
    log_expansion: float


def features_of(laid_out: Plan) -> tuple[float, ...]:
    """The features of a network, in the order of `FEATURES`; the classifier is left out.

    Blocks at the same side are a stage: blocks spread evenly over stages are worth more than as many in one.
    """
    counts = [_counts(unit) for unit in laid_out.features]
    madds = sum(c.madds for c in counts)
    blocks = max(1, sum(c.blocks for c in counts))
    stages = Counter(unit.layers[-1].size_out for unit in laid_out.features if unit.kind == "block")
    return (
        math.log(madds),
        math.log(sum(c.params for c in counts)),
        math.log(sum(c.activations for c in counts)),
        math.log(blocks),
        sum(c.depthwise_madds for c in counts) / madds,
        sum(c.large_kernels for c in counts) / blocks,
        sum(c.log_hidden for c in counts) / blocks,
        math.log(math.sqrt(laid_out.spec.size.area)),
        sum(math.log1p(count) for count in stages.values()),
        math.log1p(sum(c.log_expansion for c in counts)),
    )


@lru_cache(maxsize=16_384)
def _counts(unit: Unit) -> _Counts:
    cost = unit_cost(unit)
    depthwise = [layer for layer in unit.layers if layer.role == "depthwise"]
    hidden = max((layer.c_in for layer in unit.layers if layer.role in ("depthwise", "projection")), default=1)
    is_block = unit.kind == "block"
    return _Counts(
        madds=cost.madds,
        params=cost.params,
        activations=sum(layer.c_out * layer.size_out.area for layer in unit.layers),
        depthwise_madds=sum(layer.weights * layer.size_out.area for layer in depthwise),
        blocks=int(is_block),
        large_kernels=int(is_block and any(layer.kernel >= LARGE_KERNEL for layer in unit.layers)),
        log_hidden=math.log(hidden) if is_block else 0.0,
        log_expansion=max(0.0, math.log(hidden / unit.layers[0].c_in)) if is_block else 0.0,
    )
