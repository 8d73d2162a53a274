"""Addresses of choices, and the rules for the axes of a search space."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mnv2search.errors import Problem, nearest
from mnv2search.spec import model_spec as ms
from mnv2search.spec.heads.registry import known_heads
from mnv2search.spec.rules import MAX_SPACE_NAME_BYTES, field_problem, name_problem, rules_of

Scalar = int | float | str | bool | None

MAX_AXES = 4096
MAX_OPTIONS = 1000

_ADDRESS = re.compile(
    r"(?:blocks\[(?P<row>\d{1,6})\](?:\.each\[(?P<each>\d{1,6})\])?\."
    r"|head\.extras\[(?P<extra>\d{1,6})\]\.|(?P<section>stem|head|batch_norm)\.)?(?P<field>\w+)"
)
_WHOLE = ("name", "blocks", "stem", "head", "batch_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parsed address of a field in a spec.

    Attributes:
        each: index of the repeat.
        section: `stem`, `head`, `batch_norm`, `head.extras[1]` or empty.
        extra: index of a detector's extra layer.
        order: sort key by the order of the fields.
    """

    row: int | None
    each: int | None
    section: str
    extra: int | None
    field: str
    order: tuple[int, int, int, int]

    @property
    def kinds(self) -> tuple[type, ...]:
        """The classes that can have the field."""
        if self.row is not None:
            return (ms.BlockSpec,)
        if self.extra is not None:
            return (ms.ExtraLayer,)
        if self.section == "head":
            return known_heads()
        return ({"stem": ms.Stem, "batch_norm": ms.BatchNorm}.get(self.section, ms.ModelSpec),)

    def owner(self, spec: ms.ModelSpec) -> object:
        """The part of `spec` that has the field, or None if there is none."""
        if self.row is not None:
            return spec.blocks[self.row] if self.row < len(spec.blocks) else None
        if self.extra is not None:
            extras = spec.head.extras if isinstance(spec.head, ms.SsdLite) else ()
            return extras[self.extra] if self.extra < len(extras) else None
        owner = getattr(spec, self.section) if self.section else spec
        return owner if owner is not None and self.field in rules_of(type(owner)) else None


@lru_cache(maxsize=16_384)
def address_of(at: str) -> Address:
    """The parts of an address.

    >>> address_of("blocks[1].each[2].kernel").each
    2

    Raises:
        ValueError: `at` does not have the form of an address, or its field does not exist.
    """
    found = _ADDRESS.fullmatch(at)
    if found is None:
        raise ValueError(at)
    row, each, extra = (None if found[part] is None else int(found[part]) for part in ("row", "each", "extra"))
    section, name = found["section"] or ("" if extra is None else f"head.extras[{extra}]"), found["field"]
    address = Address(row=row, each=each, section=section, extra=extra, field=name, order=(0, 0, 0, 0))
    names = _choosable(address.kinds)
    if name not in names or (not section and row is None and name in _WHOLE):
        raise ValueError(at)
    top = list(rules_of(ms.ModelSpec)).index(section.partition(".")[0] or name) if row is None else 0
    inner = next((index for index in (each, extra) if index is not None), -1)
    return replace(address, order=(-1 if row is None else row, top, inner, names.index(name)))


def _choosable(kinds: Iterable[type]) -> list[str]:
    """The fields of the classes, except lists."""
    rules = [item for kind in kinds for item in rules_of(kind).items()]
    listed = {field for field, rule in rules if rule.entries is not None}
    return list(dict.fromkeys(field for field, _ in rules if field not in listed))


def matches(pattern: str, at: str) -> bool:
    """Whether `at` matches `pattern`, in which an index may be ``*``.

    >>> matches("blocks[*].kernel", "blocks[3].kernel")
    True
    """
    return re.fullmatch(re.escape(pattern).replace(r"\[\*\]", r"\[\d+\]"), at) is not None


def text_of(value: Scalar) -> str:
    """A scalar as written in YAML and on the command line."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_text_of(text: str, option: Scalar) -> bool:
    """Whether `text` spells `option`; numbers are compared by value.

    >>> is_text_of("6.0", 6), is_text_of("none", None), is_text_of("1", True)
    (True, True, False)
    """
    if text == text_of(option):
        return True
    if isinstance(option, bool) or not isinstance(option, int | float):
        return False
    try:
        return float(text) == option
    except ValueError:
        return False


def unpicked(name: str, axes: Sequence[tuple[str, tuple[Scalar, ...]]]) -> Problem:
    """The problem of a search space where a network is needed; its fix says how to choose."""
    at, options = axes[0]
    more = f" and {len(axes) - 1} more" if len(axes) > 1 else ""
    fix = f"choose with --pick {at}={text_of(options[0])}, or take every first option with --first"
    if at == "resolution" and len(options) == 2:
        height, width = map(text_of, options)
        fix += f"; a rectangle is written {{height: {height}, width: {width}}}"
    return Problem(at=at, what=f"{name} is a search space, with choices still open: {at}{more}", fix=fix)


def flat(blocks: Iterable[ms.BlockSpec]) -> tuple[ms.BlockSpec, ...]:
    """The rows expanded to one repeat each; only the first repeat of a row has its stride."""
    single: list[ms.BlockSpec] = []
    for block in blocks:
        first = block if block.repeats == 1 else replace(block, repeats=1)
        again = [replace(first, stride=1)] * (block.repeats - 1) if block.repeats > 1 else []
        single += [first, *again]
    return tuple(single)


def axis_problems(template: ms.ModelSpec, axes: Sequence[tuple[str, tuple[Scalar, ...]]]) -> Iterator[Problem]:
    """The broken rules of the axes of a space, given as (address, options)."""
    if len(axes) > MAX_AXES:
        yield Problem(at="", what=f"the space has {len(axes)} axes", fix=f"at most {MAX_AXES} are searched")
        return
    if axes and (problem := name_problem(template.name, max_bytes=MAX_SPACE_NAME_BYTES)) is not None:
        yield problem
    seen: dict[str, tuple[Scalar, ...]] = {}
    for at, options in axes:
        if (address := _address(at)) is None:
            near = nearest(at, [field for field in rules_of(ms.ModelSpec) if field not in _WHOLE])
            hint = f"did you mean {' or '.join(near)}?" if near else "write it as width or blocks[1].stride"
            yield Problem(at=at, what=f"{at[:80]} is not a place for a choice", fix=hint)
            continue
        if at in seen:
            yield Problem(at=at, what=f"{at} has two axes", fix="put all options into one")
        seen[at] = options
        yield from _place_problems(template, at, address)
        yield from _option_problems(at, address, address.owner(template), options)
    if all(_address(at) is not None for at, _ in axes):
        yield from _first_problems(template, axes)
        yield from _each_problems(template, seen)


def _address(at: str) -> Address | None:
    try:
        return address_of(at)
    except ValueError:
        return None


def _place_problems(template: ms.ModelSpec, at: str, address: Address) -> Iterator[Problem]:
    if address.row is not None and address.row >= len(template.blocks):
        yield Problem(at=at, what=f"{at} names a row beyond the last", fix=f"there are {len(template.blocks)} rows")
    if address.each is not None and address.field in ("repeats", "stride"):
        yield Problem(
            at=at,
            what=f"{address.field} is chosen for each repeat",
            fix=f"{address.field} belongs to the row: put its options there",
        )
    if address.section.startswith("head") and address.owner(template) is None:
        word = "none" if template.head is None else template.head.word
        yield Problem(at=at, what=f"{at} is chosen, but head is {word}", fix="give the network a head that has it")


def _option_problems(at: str, address: Address, owner: object, options: tuple[Scalar, ...]) -> Iterator[Problem]:
    name = address.field
    kind = type(owner) if owner is not None else next(kind for kind in address.kinds if name in rules_of(kind))
    if not 2 <= len(options) <= MAX_OPTIONS:
        yield Problem(at=at, what=f"{at} has {len(options)} options", fix=f"write 2 to {MAX_OPTIONS} options")
    if len({(isinstance(o, bool), o) for o in options}) < len(options):
        yield Problem(at=at, what=f"{at} has an option twice", fix="write every option once")
    for option in options:
        if option is None and rules_of(kind)[name].kind != "integer":
            yield Problem(at=at, what=f"{name} has the option None", fix="write the value itself")
        elif (problem := field_problem(kind, name, option)) is not None:
            yield Problem(at=at, what=problem.what, fix=problem.fix)


def _first_problems(template: ms.ModelSpec, axes: Sequence[tuple[str, tuple[Scalar, ...]]]) -> Iterator[Problem]:
    for at, options in axes:
        address = address_of(at)
        owner = address.owner(template)
        if owner is not None and options and getattr(owner, address.field) != options[0]:
            yield Problem(
                at=at,
                what=f"the template has {text_of(getattr(owner, address.field))} for {at}",
                fix=f"give the template the first option, {text_of(options[0])}",
            )


def _each_problems(template: ms.ModelSpec, axes: dict[str, tuple[Scalar, ...]]) -> Iterator[Problem]:
    """Problems of repeats with different options, and of a field chosen both by row and by repeat."""
    for row, name in sorted(
        {(a.row, a.field) for a in map(address_of, axes) if a.row is not None and a.each is not None}
    ):
        if row >= len(template.blocks):
            continue
        counts = axes.get(f"blocks[{row}].repeats", (template.blocks[row].repeats,))
        repeats = max(c for c in counts if isinstance(c, int))
        wanted = {f"blocks[{row}].each[{i}].{name}" for i in range(repeats)}
        given = {at for at in axes if matches(f"blocks[{row}].each[*].{name}", at)}
        at = f"blocks[{row}].each[0].{name}"
        if wanted != given or len({axes[one] for one in given}) > 1:
            yield Problem(
                at=at,
                what=f"blocks[{row}] does not choose {name} alike for each of {repeats} repeats",
                fix="give every repeat an axis with the same options",
            )
        if f"blocks[{row}].{name}" in axes:
            yield Problem(at=at, what=f"{name} is chosen by the row and for each repeat", fix="choose in one place")
