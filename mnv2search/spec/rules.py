"""Rules of single fields, read from their annotations; a broken rule is a problem with an address and a fix.

A value is a frozen dataclass. The type of a field is a number, a `Literal` word, a boolean, text, another value or a
tuple of these, possibly optional. `Annotated` adds a range, a list of numbers or a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from mnv2search.errors import Problem, SpecError, nearest

T = TypeVar("T")
MAX_CHANNELS = 65_536
MAX_LISTED = 16
OUTPUT_STRIDES = (2, 4, 8, 16, 32)
# Common file systems allow 255 bytes; this leaves room for suffixes and temporary names.
MAX_NAME_BYTES = 120
# The names of a space's networks append a dash and a number.
MAX_SPACE_NAME_BYTES = MAX_NAME_BYTES - 10
# Maximum characters of a value in messages, and of a word in the comparison with known words.
MAX_SHOWN, MAX_WORD = 40, 120


class Range(NamedTuple):
    """The smallest and the largest number; `is_open` excludes the smallest, `is_odd` excludes even numbers."""

    least: float
    most: float
    is_open: bool = False
    is_odd: bool = False


NO_RANGE = Range(0, 0)


class Options(NamedTuple):
    """The allowed numbers of a field, and the fix for any other number."""

    numbers: tuple[int, ...]
    fix: str


class Pattern(NamedTuple):
    """The regular expression that the whole text must match, and the fix for any other text."""

    pattern: str
    fix: str


class Entries(NamedTuple):
    """The minimum and maximum number of entries of a tuple."""

    fewest: int
    most: int = MAX_LISTED


Channels = Annotated[int, Range(1, MAX_CHANNELS)]
Kernel = Annotated[int, Range(1, 31, is_odd=True)]
Stride = Annotated[int, Options((1, 2), "use 1 to keep the resolution or 2 to halve it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The allowed values of a field.

    Attributes:
        kind: kind of the value, or of every entry of a tuple; a `part` is another dataclass.
        entries: allowed number of entries of a tuple; None for a single value.
        options: allowed numbers, instead of a range.
        pattern: pattern of a text; a text without a pattern is a name.
    """

    kind: Literal["integer", "real", "word", "boolean", "text", "part"]
    type: type
    is_optional: bool = False
    entries: Entries | None = None
    range: Range = NO_RANGE
    options: Options | None = None
    words: tuple[str, ...] = ()
    pattern: Pattern | None = None

    @property
    def is_number(self) -> bool:
        """Whether the field takes numbers."""
        return self.kind in ("integer", "real")


def rules_of(kind: type) -> Mapping[str, Rule]:
    """The rule of every field of a dataclass, by name, in the order of the fields."""
    return _cached_rules(kind)


@cache
def _cached_rules(kind: Hashable) -> Mapping[str, Rule]:
    assert isinstance(kind, type)
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _rule(hints[field.name]) for field in fields(kind) if field.init}


def _rule(hint: object) -> Rule:
    markers: dict[type, object] = {}
    is_optional, is_list = False, False
    while (origin := get_origin(hint)) in (Annotated, Union, UnionType, tuple):
        inner = get_args(hint)
        hint = inner[0]
        if origin is Annotated:
            markers |= {type(marker): marker for marker in inner[1:]}
        elif origin is tuple:
            is_list = True
        else:
            is_optional = is_optional or NoneType in inner
    words = get_args(hint) if origin is Literal else ()
    named: Mapping[object, str] = {int: "integer", float: "real", bool: "boolean", str: "text"}
    return Rule(
        kind="word" if words else named.get(hint, "part"),  # type: ignore[arg-type]
        type=hint if isinstance(hint, type) else str,
        is_optional=is_optional,
        entries=markers.get(Entries, Entries(0)) if is_list else None,  # type: ignore[arg-type]
        words=words,
        range=markers.get(Range, NO_RANGE),  # type: ignore[arg-type]
        options=markers.get(Options),  # type: ignore[arg-type]
        pattern=markers.get(Pattern),  # type: ignore[arg-type]
    )


def built(kind: Callable[..., T], values: Mapping[str, object]) -> T:
    """A value of a class from its fields, whose types are checked by the rules of the class.

    Raises:
        SpecError: with every broken rule.
    """
    return kind(**values)


def changed(value: T, values: Mapping[str, object]) -> T:
    """The value with other fields; the counterpart of `built`."""
    return replace(value, **values)  # type: ignore[type-var]


class Checked:
    """A value that checks its rules in the constructor."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check the rules of the fields, and then those of `problems`.

        Raises:
            SpecError: with every broken rule.
        """
        if problems := tuple(_field_problems(self)) or tuple(self.problems()):
            raise SpecError.from_problems(problems)

    def problems(self) -> Iterable[Problem]:
        """The broken rules that relate several fields."""
        return ()


def _field_problems(value: object) -> Iterator[Problem]:
    kind = type(value)
    for name, rule in rules_of(kind).items():
        given = getattr(value, name)
        if rule.entries is not None:
            yield from _list_problems(kind, name, given)
        elif name == "resolution" and isinstance(given, tuple):
            yield from _size_problems(kind, given)
        elif (problem := field_problem(kind, name, given)) is not None:
            yield problem


def _size_problems(kind: type, size: tuple[object, ...]) -> Iterator[Problem]:
    """The broken rules of a resolution given as height and width."""
    if len(size) != 2 or size[0] == size[1]:
        fix = "give a height and a width" if len(size) != 2 else f"write {_shown(size[0])}, the side of the square"
        yield Problem(at="resolution", what=f"resolution is {_shown(size)}", fix=fix)
        return
    for name, side in zip(("height", "width"), size, strict=True):
        if (problem := field_problem(kind, "resolution", side)) is not None:
            yield Problem(at=f"resolution.{name}", what=f"{name} is {_shown(side)}", fix=problem.fix)


def _list_problems(kind: type, name: str, values: object) -> Iterator[Problem]:
    if not isinstance(values, tuple):
        yield Problem(at=name, what=f"{name} is {_shown(values)}", fix="give a tuple")
    elif (problem := list_length_problem(kind, name, len(values))) is not None:
        yield problem
    else:
        for number, entry in enumerate(values):
            if (problem := field_problem(kind, name, entry)) is not None:
                yield Problem(at=f"{name}[{number}]", what=problem.what, fix=problem.fix)


def list_length_problem(kind: type, name: str, length: int) -> Problem | None:
    """The problem of a tuple with too few or too many entries, else None."""
    fewest, most = rules_of(kind)[name].entries or Entries(0)
    if fewest <= length <= most:
        return None
    return Problem(at=name, what=f"{name} has {length} entries", fix=f"write {fewest} to {most} entries")


def field_problem(kind: type, name: str, value: object) -> Problem | None:
    """The broken rule of one field, or of one entry of a tuple; None if the value is valid.

    >>> from mnv2search.spec.rows import BlockSpec
    >>> field_problem(BlockSpec, "stride", 3).fix
    'use 1 to keep the resolution or 2 to halve it'
    """
    rule = rules_of(kind)[name]
    if value is None and rule.is_optional:
        return None
    if rule.kind == "text" and rule.pattern is None:
        return name_problem(value)
    fix = _FIXES[rule.kind](rule, value)
    return Problem(at=name, what=f"{name} is {_shown(value)}", fix=fix) if fix else None


def _integer_fix(rule: Rule, value: object) -> str:
    is_integer = type(value) is int
    if rule.options is not None:
        return "" if is_integer and value in rule.options.numbers else rule.options.fix
    least, most, _, is_odd = rule.range
    if not is_integer or not least <= value <= most:  # type: ignore[operator]
        return f"write a whole number from {least:.0f} to {most:.0f}"
    is_even = value % 2 == 0  # type: ignore[operator]
    return f"use an odd kernel such as {value - 1} or {value + 1}" if is_odd and is_even else ""  # type: ignore[operator]


def _real_fix(rule: Rule, value: object) -> str:
    least, most, is_open, _ = rule.range
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value <= most and not (is_open and value == least):  # type: ignore[operator]
        return ""
    return f"write a number {'above' if is_open else 'from'} {least:g} {'and up to' if is_open else 'to'} {most:g}"


def _word_fix(rule: Rule, value: object) -> str:
    if isinstance(value, str) and value in rule.words:
        return ""
    near = nearest(str(value)[:MAX_WORD], rule.words)
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(rule.words)}"


def _boolean_fix(_: Rule, value: object) -> str:
    return "" if type(value) is bool else "write true or false"


def _text_fix(rule: Rule, value: object) -> str:
    assert rule.pattern is not None
    return "" if isinstance(value, str) and re.fullmatch(rule.pattern.pattern, value) else rule.pattern.fix


def _part_fix(rule: Rule, value: object) -> str:
    return "" if isinstance(value, rule.type) else f"give a {rule.type.__name__}"


_FIXES: Mapping[str, Callable[[Rule, object], str]] = {
    "integer": _integer_fix,
    "real": _real_fix,
    "word": _word_fix,
    "boolean": _boolean_fix,
    "text": _text_fix,
    "part": _part_fix,
}


def name_problem(name: object, *, max_bytes: int = MAX_NAME_BYTES) -> Problem | None:
    r"""The problem of the name of a network or space, else None; names become file names.

    >>> name_problem("mnv2-0031") is None
    True
    >>> name_problem("../victim").fix
    'leave out / and \\: files are named after it'
    """
    fix = ""
    if not (isinstance(name, str) and name.strip() and name.isprintable()):
        fix = f"write 1 to {max_bytes} printable characters"
    elif {"/", "\\"} & set(name):
        fix = "leave out / and \\: files are named after it"
    elif name[0] in ".-":
        fix = "do not start it with a dot or a dash: files are named after it"
    elif (size := len(name.encode())) > max_bytes:
        fix = f"shorten it from {size} to at most {max_bytes} bytes of UTF-8: files are named after it"
    return Problem(at="name", what=f"name is {_shown(name)}", fix=fix) if fix else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
