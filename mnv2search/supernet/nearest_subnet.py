"""The network of a space that is most similar to another network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from mnv2search.cost import cost_of
from mnv2search.model.elastic import smallest_and_largest
from mnv2search.spec.layers import Layer
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, Unit, plan
from mnv2search.spec.space import Axis, Pick, SearchSpace, canonical, origins, resolve
from mnv2search.supernet.inheritance import corresponds, places_of, row_groups

RESOLUTION, WIDTH, REPEATS = "resolution", "width", "repeats"
# Largest cost of the network, relative to the largest network of the band.
DEARER = 1.2
ROUNDS = 4


def nearest_subnet(space: SearchSpace, old: ModelSpec, *, band: Sequence[Pick]) -> Pick:
    """Find the pick whose network has the largest `likeness` to another network, by coordinate ascent.

    The ascent starts from every width. The resolution is the largest at which the network costs at most 1.2 times as
    much as the largest of the band, or else the smallest. The other network must have as many rows or groups of
    rows as the networks of the space.
    """
    best, _ = most_alike(space, old)
    return canonical(space, _at_a_resolution(space, best, band))


def fitting_subnets(space: SearchSpace, old: ModelSpec, *, fits: Callable[[Pick], bool]) -> tuple[Pick, ...]:
    """For every resolution of a space, the pick most similar to another network, with blocks removed until it fits.

    Blocks with the most multiply-adds are removed first, since all residual blocks of a trained network are worth
    about the same. Resolutions at which no such network fits are left out.
    """
    best, alike = most_alike(space, old)
    index = next((index for index, axis in enumerate(space.axes) if axis.at == RESOLUTION), None)
    sides = [best] if index is None else [_with(best, index, side) for side in range(len(space.axes[index].options))]
    found = [_without_blocks(space, side, fits) for side in sides] if alike else []
    return tuple(dict.fromkeys(canonical(space, pick) for pick in found if pick is not None))


def _without_blocks(space: SearchSpace, pick: Pick, fits: Callable[[Pick], bool]) -> Pick | None:
    def madds_of(pick: Pick) -> int:
        return cost_of(resolve(space, pick)).madds

    while not fits(pick):
        fewer = [
            _with(pick, index, axis.options.index(lower))
            for index, axis in enumerate(space.axes)
            if axis.at.endswith(REPEATS) and (lower := _next_lower(axis, pick[index])) is not None
        ]
        if not fewer:
            return None
        pick = min(fewer, key=madds_of)
    return pick


def _next_lower(axis: Axis, option: int) -> int | None:
    """The largest number of repeats below that of an option; None if there is none."""
    numbers = [value for value in axis.options if isinstance(value, int)]
    return max((value for value in numbers if value < numbers[option]), default=None)


@lru_cache(maxsize=8)
def most_alike(space: SearchSpace, old: ModelSpec) -> tuple[Pick, float]:
    """The pick with the largest `likeness` to another network, and this likeness; resolutions are ignored."""
    other, axes = plan(old), space.axes
    # numbers of blocks come last, after each block has become as similar as possible
    sized = sorted(
        (index for index, axis in enumerate(axes) if axis.at not in (RESOLUTION, WIDTH)),
        key=lambda index: axes[index].at.endswith(REPEATS),
    )
    widths = next((index for index, axis in enumerate(axes) if axis.at == WIDTH), None)
    _, largest = smallest_and_largest(space)
    starts = [largest] if widths is None else [_with(largest, widths, i) for i in range(len(axes[widths].options))]
    ends = [_ascended(space, start, sized, other) for start in starts]
    return max(ends, key=lambda end: end[1])  # the first of equals


def _ascended(space: SearchSpace, pick: Pick, sized: Sequence[int], other: Plan) -> tuple[Pick, float]:
    """The pick after all changes of single axes that increase the likeness, and its likeness."""

    def likeness_of(pick: Pick) -> float:
        return likeness(plan(resolve(space, pick)), other, rows=origins(space, pick))

    value = likeness_of(pick)
    for _ in range(ROUNDS):
        before = value
        for index in sized:
            for option in range(len(space.axes[index].options)):
                changed = _with(pick, index, option)
                if (found := likeness_of(changed)) > value:
                    pick, value = changed, found
        if value == before:
            break
    return pick, value


def likeness(new: Plan, old: Plan, *, rows: Sequence[int] | None = None) -> float:
    """Intersection over union of the weights of two networks, 0 to 1, matched by rows or else by groups of rows.

    `rows` are the numbers to use for the rows of the new network, by default 0, 1, 2 and so on.
    """
    shared, whole = weights_in_common(new, old, rows=rows)
    return shared / (whole - shared)


def weights_in_common(new: Plan, old: Plan, *, rows: Sequence[int] | None = None) -> tuple[int, int]:
    """Number of weights that two networks have in common, and the sum of the weights of both; see `likeness`.

    Heads and norms do not count. Networks with different numbers of rows and groups of rows have none in common.
    """
    rows = rows or range(len(new.spec.blocks))
    firsts = [new.spec.blocks[rows.index(row)] for row in sorted(set(rows))]
    merged = replace(new.spec, blocks=tuple(firsts))
    if not corresponds(merged, old.spec):
        return 0, 1
    if len(firsts) == len(old.spec.blocks):
        ours, theirs = places_of(new, rows), places_of(old, range(len(firsts)))
    else:
        of_row = row_groups(merged)
        ours, theirs = places_of(new, [of_row[row] for row in rows]), places_of(old, row_groups(old.spec))
    shared = sum(
        _shared(new.units[one], old.units[other])
        for place, units in ours.items()
        for one, other in zip(units, theirs.get(place, ()), strict=False)
    )
    return shared, _weights_of(new, ours) + _weights_of(old, theirs)


def _weights_of(laid_out: Plan, places: dict[str, list[int]]) -> int:
    return sum(_weights(layer) for units in places.values() for at in units for layer in laid_out.units[at].layers)


def _shared(one: Unit, other: Unit) -> int:
    ours, theirs = ({layer.role: layer for layer in unit.layers} for unit in (one, other))
    if ("expansion" in ours) != ("expansion" in theirs):
        return 0  # channels do not correspond
    return sum(_weights(layer, theirs[role]) for role, layer in ours.items() if role in theirs)


def _weights(layer: Layer, other: Layer | None = None) -> int:
    """Number of weights of a layer, or of its intersection with another."""
    other = other or layer
    ins = min(layer.c_in // layer.groups, other.c_in // other.groups)
    return min(layer.c_out, other.c_out) * ins * min(layer.kernel, other.kernel) ** 2


def _at_a_resolution(space: SearchSpace, pick: Pick, band: Sequence[Pick]) -> Pick:
    index = next((index for index, axis in enumerate(space.axes) if axis.at == RESOLUTION), None)
    if index is None:
        return pick
    most = DEARER * max(cost_of(resolve(space, other)).madds for other in band)
    picks = [_with(pick, index, option) for option in range(len(space.axes[index].options))]
    by_cost = sorted((cost_of(resolve(space, other)).madds, other) for other in picks)
    return max((found for found in by_cost if found[0] <= most), default=by_cost[0])[1]


def _with(pick: Pick, index: int, option: int) -> Pick:
    return (*pick[:index], option, *pick[index + 1 :])
