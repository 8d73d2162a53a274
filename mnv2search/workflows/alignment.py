"""Align the blocks of two networks so that similar blocks at the same scale are paired."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import accumulate

from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rows import BlockSpec

# Cost of a block without a counterpart; two blocks are paired if that costs less than leaving both unpaired.
ALONE = 1.0
# Added if only one of the networks halves the resolution, since all later pairs are then at different scales.
PER_STRIDE = 1.0
# Cost of a pair whose channels differ by a factor of e, and for each other field that differs.
PER_FACTOR, PER_FIELD = 0.5, 0.15
_OTHERS = tuple(one.name for one in fields(BlockSpec) if one.name not in ("channels", "repeats", "stride"))


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a network.

    Attributes:
        row: index of the row in the network.
        number: index of the block in its row.
        stride: stride of the row for its first block, else 1.
    """

    row: int
    number: int
    stride: int
    spec: BlockSpec


Pair = tuple[Block | None, Block | None]


def blocks_of(spec: ModelSpec) -> tuple[Block, ...]:
    """The blocks of all rows, in the order of computation."""
    return tuple(
        Block(row, number, 1 if number else block.stride, block)
        for row, block in enumerate(spec.blocks)
        for number in range(block.repeats)
    )


def align(before: ModelSpec, after: ModelSpec) -> tuple[Pair, ...]:
    """The blocks of two networks in pairs, in order; a block without a counterpart is paired with None.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> two, three = (ModelSpec(name="m", blocks=(BlockSpec(channels=24, repeats=n),)) for n in (2, 3))
    >>> [one is None for one, _ in align(two, three)]
    [False, False, True]

    Source: Needleman & Wunsch 1970, J. Mol. Biol. 48.
    """
    ones, others = blocks_of(before), blocks_of(after)
    return tuple(reversed(list(_traced(ones, others, _totals(ones, others)))))


def _totals(ones: tuple[Block, ...], others: tuple[Block, ...]) -> list[list[float]]:
    """The least cost of an alignment of the first i blocks with the first j blocks, by i and j."""
    known: dict[tuple[int, bool, int, bool], float] = {}
    totals = [[0.0, *accumulate(map(_alone, others))]]
    for one in ones:
        above, line = totals[-1], [totals[-1][0] + _alone(one)]
        for column, other in enumerate(others, 1):
            key = (one.row, one.number > 0, other.row, other.number > 0)
            if key not in known:
                known[key] = _cost(one, other)
            alone = min(above[column] + _alone(one), line[-1] + _alone(other))
            line.append(min(above[column - 1] + known[key], alone))
        totals.append(line)
    return totals


def _alone(block: Block) -> float:
    return ALONE + PER_STRIDE * (block.stride > 1)


def _cost(one: Block, other: Block) -> float:
    differing = sum(bool(getattr(one.spec, name) != getattr(other.spec, name)) for name in _OTHERS)
    return (
        PER_STRIDE * (one.stride != other.stride)
        + PER_FACTOR * abs(math.log(one.spec.channels / other.spec.channels))
        + PER_FIELD * differing
    )


def _traced(ones: tuple[Block, ...], others: tuple[Block, ...], totals: list[list[float]]) -> Iterator[Pair]:
    """Yield the cheapest alignment from its end; among equal costs, unpaired blocks come last."""
    row, column = len(ones), len(others)
    while row or column:
        total = totals[row][column]
        if row and math.isclose(total, totals[row - 1][column] + _alone(ones[row - 1])):
            row -= 1
            yield ones[row], None
        elif column and math.isclose(total, totals[row][column - 1] + _alone(others[column - 1])):
            column -= 1
            yield None, others[column]
        else:
            row, column = row - 1, column - 1
            yield ones[row], others[column]
