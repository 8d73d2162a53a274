"""Search spaces: specs with choices instead of single values, and the network of each pick of options."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from typing import Literal

from mnv2search.display import Displayed
from mnv2search.errors import OptionError, SpecError, UnknownNameError
from mnv2search.spec import space_rules
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, SsdLite
from mnv2search.spec.rules import changed
from mnv2search.spec.space_rules import Address, Scalar

Pick = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One choice of a search space.

    Attributes:
        at: address, such as ``width``, ``blocks[1].stride`` or, for the second repeat of a row that chooses for
            each repeat separately, ``blocks[1].each[1].expansion``.
        options: two or more different values in the order of the file.
    """

    at: str
    options: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchSpace(Displayed):
    """A spec with axes. A pick, one option index for each of `axes`, describes a network.

    Attributes:
        template: network of all first options; a row with choices for each repeat is still one row.
        axes: axes in the order of the fields of `ModelSpec`, then by row.
    """

    template: ModelSpec
    axes: tuple[Axis, ...]
    _layout: _Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if problems := tuple(space_rules.axis_problems(self.template, [(a.at, a.options) for a in self.axes])):
            raise SpecError.from_problems(problems)
        addressed = sorted(self.axes, key=lambda axis: space_rules.address_of(axis.at).order)
        object.__setattr__(self, "axes", tuple(addressed))
        object.__setattr__(self, "_layout", _layout(self.template, self.axes))

    @property
    def name(self) -> str:
        """The name of the space and of every network resolved from it."""
        return self.template.name

    @property
    def cards(self) -> Pick:
        """The number of options of every axis."""
        return self._layout.cards

    @property
    def size(self) -> int:
        """The number of picks; some coincide, because fewer repeats leave the axes of later repeats unused."""
        return math.prod(self.cards)

    @property
    def distinct(self) -> int:
        """The number of canonical picks, any two of which differ in at least one used option."""
        count = math.prod(len(options) for _, _, _, options in self._layout.top)
        for row in self._layout.rows:
            own = math.prod(len(options) for _, _, options in row.own)
            each = [math.prod(len(options) for _, _, options in repeat) for repeat in row.each]
            count *= own * sum(math.prod(each[:repeats]) for repeats in row.repeats)
        return count


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """A row of the template prepared for `resolve`; compared by identity, so that caching blocks is cheap.

    `own` and `each[i]` contain (axis, field, options); without `each`, the axis of repeats is in `own`.
    """

    template: BlockSpec
    own: tuple[tuple[int, str, tuple[Scalar, ...]], ...]
    each: tuple[tuple[tuple[int, str, tuple[Scalar, ...]], ...], ...]
    repeats_axis: int | None
    repeats: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    top: tuple[tuple[int, str, str, tuple[Scalar, ...]], ...]
    rows: tuple[_Row, ...]
    cards: Pick


def _layout(template: ModelSpec, axes: tuple[Axis, ...]) -> _Layout:
    addresses = [space_rules.address_of(axis.at) for axis in axes]
    top = tuple((i, a.section, a.field, axes[i].options) for i, a in enumerate(addresses) if a.row is None)
    rows = (_row(block, number, addresses, axes) for number, block in enumerate(template.blocks))
    return _Layout(top, tuple(rows), tuple(len(axis.options) for axis in axes))


def _row(block: BlockSpec, number: int, addresses: list[Address], axes: tuple[Axis, ...]) -> _Row:
    mine = [(i, a) for i, a in enumerate(addresses) if a.row == number]
    has_each = any(a.each is not None for _, a in mine)
    repeats_axis = next((i for i, a in mine if a.field == "repeats"), None) if has_each else None
    repeats = (block.repeats,) if repeats_axis is None else tuple(_integers(axes[repeats_axis].options))
    each = [
        tuple((i, a.field, axes[i].options) for i, a in mine if a.each == repeat)
        for repeat in range(max(repeats) if has_each else 0)
    ]
    own = ((i, a.field, axes[i].options) for i, a in mine if a.each is None and i != repeats_axis)
    return _Row(block, tuple(own), tuple(each), repeats_axis, repeats)


def _integers(options: tuple[Scalar, ...]) -> list[int]:
    return [option for option in options if isinstance(option, int)]


def resolve(space: SearchSpace, pick: Sequence[int]) -> ModelSpec:
    """The network of a pick.

    A row with choices for each repeat becomes one row per repeat; the first has the stride.

    Raises:
        OptionError: the pick does not have exactly one valid index for each axis.
        SpecError: the options do not form a valid network.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> template = ModelSpec(name="s", blocks=(BlockSpec(channels=24, stride=2),))
    >>> space = SearchSpace(template=template, axes=(Axis(at="blocks[0].stride", options=(2, 1)),))
    >>> resolve(space, (1,)).blocks[0].stride
    1
    """
    _check_pick(space, pick)
    layout, template = space._layout, space.template
    if not space.axes:
        return template
    values: dict[str, object] = {}
    inner: dict[str, dict[str, Scalar]] = {}
    for axis, section, name, options in layout.top:
        option = options[pick[axis]]
        if section:
            inner.setdefault(section, {})[name] = option
        else:
            values[name] = option
    for section, chosen in inner.items():
        owner = section.partition(".")[0]
        values[owner] = _changed(values.get(owner, getattr(template, owner)), section, chosen)
    return changed(template, {**values, "blocks": _blocks(layout, pick)})


def blocks_of(space: SearchSpace, pick: Sequence[int]) -> tuple[BlockSpec, ...]:
    """The rows of a pick's network; only `resolve` checks that they form a valid network.

    Raises:
        OptionError: the pick does not have exactly one valid index for each axis.
        SpecError: the options do not form valid rows.
    """
    _check_pick(space, pick)
    return _blocks(space._layout, pick) if space.axes else space.template.blocks


def options_beside_rows(space: SearchSpace, pick: Sequence[int]) -> Pick:
    """The part of a pick that sets fields of the whole network, such as its width, rather than of a row."""
    return tuple([pick[axis] for axis, *_ in space._layout.top])


def _blocks(layout: _Layout, pick: Sequence[int]) -> tuple[BlockSpec, ...]:
    blocks: list[BlockSpec] = []
    for row in layout.rows:
        try:
            blocks += _row_blocks(row, pick)
        except SpecError as error:
            at = f"blocks[{len(blocks)}]."
            raise SpecError(
                [replace(d, at=f"{at}{d.at}", message=f"{at}{d.message}") for d in error.diagnostics]
            ) from None
    return tuple(blocks)


def _changed(value: object, section: str, chosen: Mapping[str, Scalar]) -> object:
    """The value of a section with other fields, or with another extra layer of a head."""
    extra = section.partition(".extras[")[2]
    if not extra or not isinstance(value, SsdLite):
        return changed(value, chosen)
    extras, number = list(value.extras), int(extra.removesuffix("]"))
    extras[number] = changed(extras[number], chosen)
    return replace(value, extras=tuple(extras))


def _check_pick(space: SearchSpace, pick: Sequence[int]) -> None:
    if len(pick) != len(space.axes):
        raise OptionError(
            f"the pick has {len(pick)} entries, but {space.name} has {len(space.axes)} axes",
            hint="give one option index for every axis, in the order of space.axes",
        )
    for place, (index, card) in enumerate(zip(pick, space.cards, strict=True)):
        if not 0 <= index < card:
            axis = space.axes[place]
            raise OptionError(
                f"the pick has index {index} for {axis.at}, which has {len(axis.options)} options",
                hint=f"use 0 to {len(axis.options) - 1}",
            )


def _row_blocks(row: _Row, pick: Sequence[int]) -> list[BlockSpec]:
    own = tuple([pick[entry[0]] for entry in row.own])
    if not row.each:
        return [_block(row, own, -1, ()) if own else row.template]
    repeats = enumerate(row.each[: _repeats(row, pick)])
    return [_block(row, own, number, tuple([pick[entry[0]] for entry in each])) for number, each in repeats]


@lru_cache(maxsize=65_536)
def _block(row: _Row, own: Pick, repeat: int, each: Pick) -> BlockSpec:
    """The block of a row; `repeat` is -1 for a row that does not choose for each repeat."""
    values: dict[str, object] = {name: options[i] for (_, name, options), i in zip(row.own, own, strict=True)}
    if repeat >= 0:
        values |= {name: options[i] for (_, name, options), i in zip(row.each[repeat], each, strict=True)}
        values["repeats"] = 1
    if repeat > 0:
        values["stride"] = 1
    return changed(row.template, values)


def origins(space: SearchSpace, pick: Sequence[int]) -> tuple[int, ...]:
    """The index of the template's row for every row of the resolved network."""
    counts = [_repeats(row, pick) or 1 for row in space._layout.rows]
    return tuple(number for number, count in enumerate(counts) for _ in range(count))


def _repeats(row: _Row, pick: Sequence[int]) -> int:
    """The number of repeats of a row that chooses for each repeat, else 0."""
    return row.repeats[0 if row.repeats_axis is None else pick[row.repeats_axis]] if row.each else 0


def _idle(space: SearchSpace, pick: Sequence[int]) -> set[int]:
    """The axes of repeats that the pick does not build."""
    rows = [row for row in space._layout.rows if row.each]
    return {axis for row in rows for repeat in row.each[_repeats(row, pick) :] for axis, _, _ in repeat}


def canonical(space: SearchSpace, pick: Sequence[int]) -> Pick:
    """`pick` with index 0 for every unused axis, so that picks of the same network become equal."""
    _check_pick(space, pick)
    indices = list(pick)
    for axis in _idle(space, pick):
        indices[axis] = 0
    return tuple(indices)


def random_pick(space: SearchSpace, rng: random.Random) -> Pick:
    """A canonical pick with every used option drawn uniformly and independently."""
    return canonical(space, [rng.randrange(card) for card in space.cards])


def resolve_values(
    space: SearchSpace,
    values: Mapping[str, Scalar],
    *,
    rest: Literal["first", "refuse"] | random.Random = "refuse",
) -> ModelSpec:
    """The network with the named options.

    `values` maps an address to a value or to its text. An index may be ``*`` for all, as in
    ``{"blocks[*].each[*].kernel": 5}``; a later entry overrides an earlier one. With `rest="first"`, every axis
    without an entry takes its first option; with a random generator, it takes an option drawn uniformly.

    Raises:
        UnknownNameError: no axis has this address.
        OptionError: the value is not an option of its axis.
        SpecError: an axis that the network uses has no entry, or the options do not form a valid network.
    """
    chosen: dict[int, int] = {}
    for at, value in values.items():
        matching = [i for i, axis in enumerate(space.axes) if space_rules.matches(at, axis.at)]
        if not matching:
            raise UnknownNameError(f"axis of {space.name}", at, (axis.at for axis in space.axes))
        for i in matching:
            chosen[i] = _option_index(space.axes[i], value)
    cards = space.cards
    others = [rest.randrange(card) for card in cards] if isinstance(rest, random.Random) else [0] * len(cards)
    pick = tuple(chosen.get(i, other) for i, other in enumerate(others))
    settled = {*chosen, *_idle(space, pick)}
    left = [(axis.at, axis.options) for i, axis in enumerate(space.axes) if i not in settled]
    if rest == "refuse" and left:
        raise SpecError.from_problems([space_rules.unpicked(space.name, left)])
    return resolve(space, canonical(space, pick))


def _option_index(axis: Axis, value: Scalar) -> int:
    for i, option in enumerate(axis.options):
        same_kind = isinstance(option, bool) == isinstance(value, bool)
        if (same_kind and option == value) or (isinstance(value, str) and space_rules.is_text_of(value, option)):
            return i
    shown = ", ".join(space_rules.text_of(option) for option in axis.options)
    raise OptionError(f"{axis.at} has no option {space_rules.text_of(value)}", hint=f"use one of {shown}")


def pick_of(space: SearchSpace, spec: ModelSpec) -> Pick | None:
    """The canonical pick of the network `spec` (its name is ignored), or None if the space lacks it.

    Rows are compared repeat by repeat, so that a row of two repeats equals two rows of one.
    """
    indices = [0] * len(space.axes)
    for axis, section, name, options in space._layout.top:
        address = space_rules.address_of(f"{section}.{name}" if section else name)
        value = getattr(address.owner(spec), name, ...)
        if value not in options:
            return None
        indices[axis] = options.index(value)
    chosen = {f"{section}.{name}" if section else name for _, section, name, _ in space._layout.top}
    if not _same_elsewhere(space.template, spec, chosen | {"name", "blocks"}):
        return None
    if not _match_rows(space._layout.rows, space_rules.flat(spec.blocks), indices):
        return None
    return canonical(space, indices)


def _same_elsewhere(one: object, other: object, chosen: set[str], prefix: str = "") -> bool:
    """Whether two values of one type, sections included, agree in all fields except the chosen fields."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        owner = prefix.removesuffix(".")
        pairs = enumerate(zip(one, other, strict=True))
        return all(_same_elsewhere(a, b, chosen, f"{owner}[{number}].") for number, (a, b) in pairs)
    if not is_dataclass(one) or type(one) is not type(other):
        return one == other
    return all(
        f"{prefix}{f.name}" in chosen
        or _same_elsewhere(getattr(one, f.name), getattr(other, f.name), chosen, f"{prefix}{f.name}.")
        for f in fields(one)
        if f.compare
    )


def _match_rows(rows: Sequence[_Row], blocks: Sequence[BlockSpec], indices: list[int]) -> bool:
    """Whether some options of `rows` yield exactly `blocks` (one repeat each); writes the options into `indices`."""
    failed: set[tuple[int, int]] = set()

    def match(number: int, start: int) -> bool:
        if number == len(rows):
            return start == len(blocks)
        if (number, start) in failed:
            return False
        row = rows[number]
        named = next((entry for entry in row.own if entry[1] == "repeats"), None)
        lengths = row.repeats if named is None else tuple(_integers(named[2]))
        axis = row.repeats_axis if named is None else named[0]
        for option, length in enumerate(lengths):
            if start + length > len(blocks) or not _match_row(row, blocks[start : start + length], indices):
                continue
            if match(number + 1, start + length):
                if axis is not None:
                    indices[axis] = option
                return True
        failed.add((number, start))
        return False

    return match(0, 0)


def _match_row(row: _Row, blocks: Sequence[BlockSpec], indices: list[int]) -> bool:
    for repeat, block in enumerate(blocks):
        expected: dict[str, object] = {"repeats": 1} if repeat == 0 else {"repeats": 1, "stride": 1}
        for axis, name, options in (*row.own, *(row.each[repeat] if row.each else ())):
            if name == "repeats" or (name == "stride" and repeat):
                continue
            value = getattr(block, name)
            if value not in options or (
                repeat and (axis, name, options) in row.own and indices[axis] != options.index(value)
            ):
                return False
            indices[axis] = options.index(value)
            expected[name] = value
        if changed(row.template, expected) != block:
            return False
    return True
