"""Search for unusable options of a search space, without resolving every pick."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mnv2search.errors import Problem, SpecError
from mnv2search.spec import space_rules
from mnv2search.spec.model_spec import BlockSpec
from mnv2search.spec.space import Axis, Pick, SearchSpace, origins, resolve

# Maximum number of layers planned by the check of a space; a hostile file takes seconds at most.
_CHECKED_LAYERS = 100_000
_ROW = re.compile(r"blocks\[(\d+)\]")


def pick_problems(space: SearchSpace) -> Iterator[Problem]:
    """Problems of each option alone (all other axes at their first options, all repeats used), else of extreme picks.

    If a pick breaks a rule that this check does not reach, `resolve` raises `SpecError` later.
    """
    deepest = tuple(_best(axis, max) if axis.at.endswith(".repeats") else 0 for axis in space.axes)
    layers = sum(block.repeats for block in _rows_of(space, deepest)) + 2
    budget = max(8, _CHECKED_LAYERS // layers)
    if base := tuple(_problems_of(space, deepest, "")):
        yield from base
        return
    seen: set[tuple[str, str]] = set()
    for pick, chosen in _picks(space, deepest):
        budget -= 1
        if budget < 0 or (seen and not chosen):
            return
        for problem in _problems_of(space, pick, chosen):
            key = (problem.at, problem.what)
            if key not in seen:
                seen.add(key)
                yield problem


def _rows_of(space: SearchSpace, pick: Pick) -> tuple[BlockSpec, ...]:
    """The rows of a pick, or of the template if the pick is not valid."""
    try:
        return resolve(space, pick).blocks
    except SpecError:
        return space.template.blocks


def _best(axis: Axis, pick: Callable[[list[float]], float]) -> int:
    """The index of the largest or smallest option; words keep the first."""
    numbers = [float(o) for o in axis.options if isinstance(o, int | float)]
    if len(numbers) < len(axis.options):
        return 0
    return numbers.index(pick(numbers))


def _picks(space: SearchSpace, deepest: Pick) -> Iterator[tuple[Pick, str]]:
    """Picks to try, each with the address that a failure is attributed to; empty if it concerns several axes."""
    for i, axis in enumerate(space.axes):
        for option in range(len(axis.options)):
            if option != deepest[i]:
                yield (*deepest[:i], option, *deepest[i + 1 :]), axis.at
    yield tuple(_best(axis, max) for axis in space.axes), ""
    yield tuple(_best(axis, min) for axis in space.axes), ""
    yield tuple(len(axis.options) - 1 for axis in space.axes), ""


def _problems_of(space: SearchSpace, pick: Pick, chosen: str) -> Iterator[Problem]:
    try:
        resolve(space, pick)
    except SpecError as error:
        rows = origins(space, pick)
        for found in error.diagnostics:
            at = _ROW.sub(lambda match: f"blocks[{rows[int(match[1])]}]", found.at)
            if chosen:
                axis = next(i for i, a in enumerate(space.axes) if a.at == chosen)
                value = space_rules.text_of(space.axes[axis].options[pick[axis]])
                yield Problem(at=chosen, what=f"with {chosen} {value}: {found.message}", fix=found.hint)
            else:
                yield Problem(at=at, what=f"with options together: {found.message}", fix=found.hint)
