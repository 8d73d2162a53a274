"""ImageNet top-1 without data, estimated from published results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from mnv2search.accuracy import estimate
from mnv2search.accuracy.estimate import Array, Features
from mnv2search.accuracy.evaluator import Evaluator, Method, Report
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.cost import layer_params
from mnv2search.errors import EvaluatorError, OptionError, SpecError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import Plan, Unit, plan
from mnv2search.spec.space import SearchSpace, resolve

CLASSES = 1000
SMALLEST_SIDE_PX = 96
SMALLEST_STRIDE = 16
USUAL_STRIDE = 32
GATES = ("squeeze", "excite")
LARGE_KERNEL = 5
# Block used for units that are not blocks; it has no unusual properties.
PLAIN = BlockSpec(channels=8)
USUAL_ACTIVATIONS = ("relu6", "relu", "none")


class ImagenetEvaluator(Evaluator):
    """Estimates ImageNet top-1 by arithmetic, in microseconds per network; has no options."""

    method: Method = "arithmetic"

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the estimates."""
        detail = "ImageNet top-1 after a standard training, estimated from published results; not measured"
        dataset, metric = estimate.DATASET, estimate.METRIC
        return EvaluatorInfo(name="imagenet", kind="estimated", dataset=dataset, metric=metric, detail=detail)

    def evaluate(self, spec: ModelSpec, *, seed: int = 0, report: Report | None = None) -> Accuracy:
        """The estimated top-1 of `spec`."""
        del seed, report
        return estimate.estimate(features_of(plan(spec)))

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space of detectors or segmenters, or of small images; each option is checked separately."""
        others = [(at, index) for at, axis in enumerate(space.axes) for index in range(1, len(axis.options))]
        for at, index in [(0, 0), *others]:
            pick = [index if place == at else 0 for place in range(len(space.axes))]
            try:
                features_of(plan(resolve(space, pick)))
            except SpecError:
                continue  # incompatible options do not make a network
            except EvaluatorError as error:
                raise OptionError(error.message, hint=error.hint) from error

    def lower_bounds(self, plans: Sequence[Plan]) -> Array:
        """The lower ends of the intervals of `evaluate`, (N,), in about 30 us per network."""
        return estimate.ranking_bound_many([features_of(laid_out) for laid_out in plans])


def features_of(laid_out: Plan) -> Features:
    """The features of a network on which the estimate is based.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> rows = (BlockSpec(channels=16, expansion=1), *(BlockSpec(channels=c, stride=2) for c in (24, 32, 64, 160)))
    >>> features_of(plan(ModelSpec(name="five", blocks=rows))).blocks
    5

    Raises:
        EvaluatorError: the resolution is below 96 px or not square, the total stride is below 16, or the head is not
            a classifier.
    """
    units = laid_out.features
    stride = math.prod(unit.stride for unit in units)
    side = _checked_side(laid_out, stride)
    counts = [_counts(unit) for unit in units]
    blocks = [count for count in counts if count.is_block]
    share = 1 / max(1, len(blocks))
    whole = {f"total stride {stride}": stride != USUAL_STRIDE, "no last convolution": units[-1].kind != "last"}
    unusual = frozenset(text for text, holds in whole.items() if holds).union(*(count.unusual for count in counts))
    return Features(
        madds=sum(count.madds for count in counts) + units[-1].c_out * CLASSES,
        body_params=sum(count.body_params for count in counts),
        blocks=max(1, len(blocks)),
        resolution=side,
        large_kernel_share=share * sum(count.kernel >= LARGE_KERNEL for count in blocks),
        se_share=share * sum(count.is_gated for count in blocks),
        unexpanded_share=_unexpanded_share(blocks),
        largest_kernel=max((count.kernel for count in blocks), default=1),
        other_activation=any(count.other_activation for count in counts),
        unusual=", ".join(sorted(unusual)),
    )


class _Counts(NamedTuple):
    is_block: bool
    madds: int
    body_params: int
    c_out: int
    kernel: int
    is_expanded: bool
    is_gated: bool
    other_activation: bool
    unusual: frozenset[str]


@lru_cache(maxsize=16_384)
def _counts(unit: Unit) -> _Counts:
    """Counts of a unit without its squeeze-excite layers; cached, since units recur across networks."""
    layers = [layer for layer in unit.layers if layer.role not in GATES]
    spatial = [layer.kernel for layer in layers if layer.kernel > 1]
    return _Counts(
        is_block=unit.kind == "block",
        madds=sum(layer.weights * layer.size_out.area for layer in layers),
        body_params=sum(layer_params(layer) for layer in layers),
        c_out=unit.c_out,
        kernel=max(spatial, default=1),
        is_expanded=any(layer.role == "expansion" for layer in layers),
        is_gated=len(layers) < len(unit.layers),
        other_activation=any(layer.activation not in USUAL_ACTIVATIONS for layer in layers),
        unusual=frozenset(_unusual(unit)),
    )


def _unusual(unit: Unit) -> list[str]:
    """Properties without an example in the published tables."""
    block = unit.block or PLAIN
    claims = {
        "dilated convolutions": any(layer.dilation > 1 for layer in unit.layers),
        "split convolutions": any(layer.parts for layer in unit.layers),
        "no batch norm": any(layer.normalizer != "batch" for layer in unit.layers if layer.role not in GATES),
        "depthwise elsewhere than after the expansion": block.depthwise_location != "expansion"
        and block.operator != "fused",
        "depthwise multiplier": block.depthwise_multiplier > 1,
        f"residual {block.residual}": block.residual != "auto",
    }
    return [text for text, holds in claims.items() if holds]


def _unexpanded_share(blocks: list[_Counts]) -> float:
    """Share of blocks without expansion, averaged over the runs of blocks with equal channels after the first."""
    runs = [[not count.is_expanded for count in run] for _, run in groupby(blocks, key=lambda count: count.c_out)]
    later = runs[1:]
    return sum(sum(run) / len(run) for run in later) / max(1, len(later))


def _checked_side(laid_out: Plan, stride: int) -> int:
    side, network = laid_out.spec.resolution, laid_out.spec.name
    hint = "give images (--data), or ask a program: --accuracy 'command:PROGRAM {spec}'"
    if laid_out.dense:
        why = "its head is not a classifier"
    elif not isinstance(side, int):
        why = f"it is based on networks with square inputs, and this network takes {laid_out.spec.size} px"
        hint = "write its resolution as one number, or ask a program: --accuracy 'command:PROGRAM {spec}'"
    elif side >= SMALLEST_SIDE_PX and stride >= SMALLEST_STRIDE:
        return side
    else:
        small = f"total stride {stride} is below {SMALLEST_STRIDE}"
        if side < SMALLEST_SIDE_PX:
            small = f"resolution {side} px is below {SMALLEST_SIDE_PX} px"
        network, unlike = "this network", "tend to be less accurate, unlike on ImageNet"
        why = f"{small}; on small images, networks with more parameters at equal cost {unlike}"
    raise EvaluatorError(f"no ImageNet estimate for {network}: {why}", hint=hint)
